//! How far a pipeline is, by the positions that it committed beside its results.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rtbflow::Timestamp;
use rtbflow_examples::topics::SystemTopic;

use crate::pipelines::Role;
use crate::view::PipelineMoment;

/// The disorder that the pipelines allow for, unless an option says otherwise.
const OUT_OF_ORDERNESS: Duration = Duration::from_secs(5);

/// A partition's position: the next offset, the highest event time so far, and which process holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PartitionPosition {
    pub(crate) next: i64,
    pub(crate) event_time: Option<Timestamp>,
    /// The mark of the process that has it, where the place says so.
    pub(crate) owner: Option<u64>,
}

/// A partition of the system's topics.
pub(crate) type At = (SystemTopic, i32);
/// The positions of one pipeline.
pub(crate) type Positions = HashMap<At, PartitionPosition>;
/// The offset after the last record of each partition.
pub(crate) type Ends = HashMap<At, i64>;

/// Numbers over time, as many as the line of a wide terminal shows.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<u64>);

impl History {
    const LONGEST: usize = 80;

    /// Adds the newest; all of them.
    pub(crate) fn add(&mut self, number: u64) -> Vec<u64> {
        if self.0.len() == Self::LONGEST {
            self.0.pop_front();
        }
        self.0.push_back(number);
        self.0.iter().copied().collect()
    }
}

/// A pipeline that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    /// What is known of it.
    pub(crate) role: Role,
    read: u64,
    rates: History,
    lags: History,
    behind_ms: History,
}

impl Watched {
    /// A pipeline, from now on.
    pub(crate) fn new(role: Role) -> Self {
        let (rates, lags, behind_ms) = Default::default();
        Self { role, read: 0, rates, lags, behind_ms }
    }

    /// Compares positions with the ends of its partitions; `behind` is how old what it has yet to commit is.
    pub(crate) fn moment(
        &mut self,
        positions: &Positions,
        ends: &Ends,
        behind: Duration,
        since: Duration,
    ) -> PipelineMoment {
        let read = ends.keys().map(|at| count(next(positions, at))).sum();
        let more = u64::saturating_sub(read, std::mem::replace(&mut self.read, read));
        PipelineMoment {
            name: self.role.name(),
            rates: self.rates.add(rate(more, since)),
            lags: self.lags.add(lag(positions, ends)),
            behind_ms: self.behind_ms.add(u64::try_from(behind.as_millis()).unwrap_or(u64::MAX)),
            watermark: watermark(positions, ends).map(|at| at.to_string()),
        }
    }
}

/// How many records the positions leave unread.
pub(crate) fn lag(positions: &Positions, ends: &Ends) -> u64 {
    ends.iter().map(|(at, end)| count(end - next(positions, at))).sum()
}

fn next(positions: &Positions, at: &At) -> i64 {
    positions.get(at).map_or(0, |position| position.next)
}

fn count(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

/// The lowest of the partitions that have records and that the pipeline has read of.
fn watermark(positions: &Positions, ends: &Ends) -> Option<Timestamp> {
    let with_records = positions.iter().filter(|(at, _)| ends.get(at).is_some_and(|end| *end > 0));
    let lowest = with_records.map(|(_, position)| position.event_time).min()??;
    Some(lowest - OUT_OF_ORDERNESS)
}

/// A rate, as a number a second.
pub(crate) fn rate(count: u64, since: Duration) -> u64 {
    let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000) / ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADS: SystemTopic = SystemTopic::AdEvents;

    fn positions(list: &[(i32, i64, i64)]) -> Positions {
        let position = |&(partition, next, ms)| {
            let event_time = Some(Timestamp::from_millis(ms));
            ((ADS, partition), PartitionPosition { next, event_time, owner: None })
        };
        list.iter().map(position).collect()
    }

    #[test]
    fn lag_rate_and_watermark_follow_from_positions() {
        let mut watched = Watched::new(Role::of(rtbflow_examples::pipeline::BALANCE));
        let second = Duration::from_secs(1);
        let other = (SystemTopic::CampaignEvents, 0);
        let ends = watched.role.own(&Ends::from([((ADS, 0), 10), ((ADS, 1), 20), (other, 7)]));
        let moment = watched.moment(&positions(&[(0, 4, 9_000)]), &ends, second / 2, second);
        assert_eq!((moment.rates, moment.lags, moment.behind_ms), (vec![4], vec![26], vec![500]));
        let both = positions(&[(0, 10, 9_000), (1, 18, 8_000)]);
        let moment = watched.moment(&both, &ends, Duration::ZERO, second);
        assert_eq!((moment.rates, moment.lags), (vec![4, 24], vec![26, 2]));
        assert_eq!(moment.behind_ms, [500, 0]);
        assert_eq!(moment.watermark.as_deref(), Some("1970-01-01T00:00:03Z"));
    }

    #[test]
    fn a_history_keeps_the_newest() {
        let mut history = History::default();
        for number in 0..99 {
            history.add(number);
        }
        assert_eq!(history.add(99), (20..100).collect::<Vec<u64>>());
    }
}
