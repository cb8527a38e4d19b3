//! When records arrived in Kafka, so that a pipeline's position says how far behind it is in time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::progress::{At, Ends, Positions};

/// Of records that arrive together one is remembered.
const TOGETHER: Duration = Duration::from_millis(10);
/// As long as this is remembered at the most: a minute.
const MOST_REMEMBERED: usize = 6_000;

/// The newest arrivals of each partition.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(HashMap<At, VecDeque<(i64, Instant)>>);

impl Arrivals {
    /// A record has arrived.
    pub(crate) fn note(&mut self, at: At, offset: i64, when: Instant) {
        let known = self.0.entry(at).or_default();
        let is_new = known.back().is_none_or(|(last, last_when)| {
            *last < offset && when.saturating_duration_since(*last_when) >= TOGETHER
        });
        if is_new {
            known.push_back((offset, when));
        }
        if known.len() > MOST_REMEMBERED {
            known.pop_front();
        }
    }

    /// For how long the oldest record has been waiting that is not committed; none, if nothing waits.
    pub(crate) fn behind(&self, positions: &Positions, ends: &Ends, now: Instant) -> Duration {
        let waiting = ends.iter().filter_map(|(at, end)| {
            let next = positions.get(at).map_or(0, |position| position.next);
            let known = self.0.get(at).filter(|_| next < *end)?;
            let first = known.partition_point(|(offset, _)| *offset < next);
            let (_, arrived) = known.get(first).or_else(|| known.back())?;
            Some(now.saturating_duration_since(*arrived))
        });
        waiting.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use rtbflow_examples::topics::SystemTopic;

    use super::*;
    use crate::progress::PartitionPosition;

    const AT: At = (SystemTopic::AdEvents, 0);
    const OTHER: At = (SystemTopic::AdEvents, 1);

    fn positions(next: i64) -> Positions {
        Positions::from([(AT, PartitionPosition { next, ..PartitionPosition::default() })])
    }

    #[test]
    fn the_oldest_record_that_is_not_committed_counts() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut arrivals = Arrivals::default();
        for (offset, seconds) in [(0, 1), (10, 2), (20, 3)] {
            arrivals.note(AT, offset, after(seconds));
        }
        arrivals.note(OTHER, 0, after(4));
        let behind = |next, ends: &[(At, i64)]| {
            let ends = ends.iter().copied().collect();
            arrivals.behind(&positions(next), &ends, after(10)).as_secs()
        };
        assert_eq!(behind(0, &[(AT, 21)]), 9);
        assert_eq!(behind(5, &[(AT, 21)]), 8, "what arrived between two that are remembered");
        assert_eq!(behind(21, &[(AT, 22)]), 7, "what arrived together with the last");
        assert_eq!(behind(21, &[(AT, 21)]), 0);
        assert_eq!(behind(21, &[(AT, 21), (OTHER, 1)]), 6, "a partition that was not read");
    }

    #[test]
    fn what_arrives_together_is_remembered_once() {
        let begun = Instant::now();
        let mut arrivals = Arrivals::default();
        for offset in 0..100 {
            arrivals.note(AT, offset, begun + Duration::from_millis(offset.unsigned_abs()));
        }
        assert_eq!(arrivals.0[&AT].len(), 10);
    }
}
