//! How far a pipeline is, by the positions that it committed beside its results.

use std::collections::HashMap;
use std::time::Duration;

use rtbflow::Timestamp;

use crate::view::PipelineMoment;

/// The pipelines allow for so much disorder, unless they are told otherwise.
const OUT_OF_ORDERNESS: Duration = Duration::from_secs(5);

/// A partition's position: the next offset, and the highest event time so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PartitionPosition {
    pub(crate) next: i64,
    pub(crate) event_time: Option<Timestamp>,
}

/// The positions of one pipeline in ad-events, by partition.
pub(crate) type Positions = HashMap<i32, PartitionPosition>;

/// A pipeline that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its consumer group, under which it keeps its positions.
    pub(crate) group: String,
    lag: Option<u64>,
}

impl Watched {
    /// A pipeline, from now on.
    pub(crate) fn new(name: &'static str, group: String) -> Self {
        Self { name, group, lag: None }
    }

    /// Compares positions with the ends of the partitions, of which `sent` more were stored since the
    /// last time.
    pub(crate) fn moment(
        &mut self,
        positions: &Positions,
        ends: &HashMap<i32, i64>,
        sent: u64,
        since: Duration,
    ) -> PipelineMoment {
        let lag = ends.iter().map(|(partition, end)| {
            let next = positions.get(partition).map_or(0, |position| position.next);
            u64::try_from(end - next).unwrap_or(0)
        });
        let lag: u64 = lag.sum();
        let read = (self.lag.unwrap_or(0) + sent).saturating_sub(lag);
        self.lag = Some(lag);
        PipelineMoment {
            name: self.name,
            rate: rate(read, since),
            lag,
            watermark: watermark(positions, ends).map(|at| at.to_string()),
        }
    }
}

/// The lowest of the partitions that have records; those of other tasks count too.
fn watermark(positions: &Positions, ends: &HashMap<i32, i64>) -> Option<Timestamp> {
    let event_time = |partition| positions.get(partition).and_then(|position| position.event_time);
    let lowest = ends.keys().map(event_time).min()??;
    Some(lowest - OUT_OF_ORDERNESS)
}

/// So many in a second.
pub(crate) fn rate(count: u64, since: Duration) -> u64 {
    let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000) / ms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(list: &[(i32, i64, i64)]) -> Positions {
        let position = |&(partition, next, ms)| {
            let event_time = Some(Timestamp::from_millis(ms));
            (partition, PartitionPosition { next, event_time })
        };
        list.iter().map(position).collect()
    }

    #[test]
    fn lag_rate_and_watermark_follow_from_positions() {
        let mut watched = Watched::new("w", "g".to_owned());
        let second = Duration::from_secs(1);
        let ends = HashMap::from([(0, 10), (1, 20)]);
        let moment = watched.moment(&positions(&[(0, 4, 9_000)]), &ends, 30, second);
        assert_eq!((moment.rate, moment.lag, moment.watermark), (4, 26, None));
        let both = positions(&[(0, 10, 9_000), (1, 18, 8_000)]);
        let moment = watched.moment(&both, &ends, 0, second);
        assert_eq!((moment.rate, moment.lag), (24, 2));
        assert_eq!(moment.watermark.as_deref(), Some("1970-01-01T00:00:03Z"));
    }
}
