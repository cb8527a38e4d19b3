//! How far a pipeline is, by the positions that it committed beside its results.

use std::collections::HashMap;
use std::time::Duration;

use rtbflow::Timestamp;
use rtbflow_examples::pipeline::Pipeline;
use rtbflow_examples::topics::SystemTopic;

use crate::view::PipelineMoment;

/// The disorder that the pipelines allow for, unless an option says otherwise.
const OUT_OF_ORDERNESS: Duration = Duration::from_secs(5);

/// A partition's position: the next offset, and the highest event time so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PartitionPosition {
    pub(crate) next: i64,
    pub(crate) event_time: Option<Timestamp>,
}

/// A partition of the system's topics.
pub(crate) type At = (SystemTopic, i32);
/// The positions of one pipeline.
pub(crate) type Positions = HashMap<At, PartitionPosition>;
/// The offset after the last record of each partition.
pub(crate) type Ends = HashMap<At, i64>;

/// A pipeline that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    /// What is known of it.
    pub(crate) pipeline: Pipeline,
    /// Its consumer group, under which it keeps its positions.
    pub(crate) group: String,
    read: u64,
}

impl Watched {
    /// A pipeline, from now on.
    pub(crate) fn new(pipeline: Pipeline, group: String) -> Self {
        Self { pipeline, group, read: 0 }
    }

    /// Compares positions with the ends of the partitions.
    pub(crate) fn moment(
        &mut self,
        positions: &Positions,
        ends: &Ends,
        since: Duration,
    ) -> PipelineMoment {
        let own = |at: &At| self.pipeline.reads.contains(&at.0);
        let next = |at| positions.get(at).map_or(0, |position| position.next);
        let read: u64 = ends.keys().filter(|at| own(at)).map(|at| count(next(at))).sum();
        let lag = ends.iter().filter(|(at, _)| own(at)).map(|(at, end)| count(end - next(at)));
        let lag = lag.sum();
        let more = read.saturating_sub(std::mem::replace(&mut self.read, read));
        let watermark = watermark(positions, ends).map(|at| at.to_string());
        PipelineMoment { name: self.pipeline.name, rate: rate(more, since), lag, watermark }
    }
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
            ((ADS, partition), PartitionPosition { next, event_time })
        };
        list.iter().map(position).collect()
    }

    #[test]
    fn lag_rate_and_watermark_follow_from_positions() {
        let mut watched = Watched::new(rtbflow_examples::pipeline::BALANCE, "g".to_owned());
        let second = Duration::from_secs(1);
        let other = (SystemTopic::CampaignEvents, 0);
        let ends = HashMap::from([((ADS, 0), 10), ((ADS, 1), 20), (other, 7)]);
        let moment = watched.moment(&positions(&[(0, 4, 9_000)]), &ends, second);
        assert_eq!((moment.rate, moment.lag), (4, 26));
        let both = positions(&[(0, 10, 9_000), (1, 18, 8_000)]);
        let moment = watched.moment(&both, &ends, second);
        assert_eq!((moment.rate, moment.lag), (24, 2));
        assert_eq!(moment.watermark.as_deref(), Some("1970-01-01T00:00:03Z"));
    }
}
