//! Tests of the task loop and its intake: records as they would come, written down.

mod ahead;
mod commits;
mod ending;
mod events;
mod follow_ups;
mod measured;
mod older;
mod portions;
mod said;
mod taking;
mod turns;

use std::time::Duration;

use crate::dead_letter::DeadLetter;
use crate::error::BadRecord;
use crate::job::intake::Bounds;
use crate::position::Position;
use crate::record::{Partition, Topic};
use crate::source::{Batch, Content, Incoming};
use crate::testing::builders::{at, letter};

/// A batch that was written down: offsets with what stands there.
pub(super) struct Written {
    records: Vec<(i64, Content<i64>)>,
    bytes: usize,
}

impl Written {
    /// Records from an offset on; each value is its event time in milliseconds.
    fn from(first: i64, times: impl IntoIterator<Item = i64>) -> Self {
        let values = times.into_iter().map(|ms| Content::Value(ms, at(ms)));
        Self { records: (first..).zip(values).collect(), bytes: 1 }
    }

    fn of_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }
}

impl Batch for Written {
    type Value = i64;

    fn len(&self) -> usize {
        self.records.len()
    }

    fn get(&self, index: usize) -> Option<Incoming<i64>> {
        let (offset, content) = self.records.get(index)?.clone();
        Some(Incoming { offset, content })
    }

    fn dead_letter(&self, partition: Partition, offset: i64, _: BadRecord) -> Option<DeadLetter> {
        let held = self.records.iter().any(|(at, _)| *at == offset);
        held.then(|| letter(partition.topic.name(), partition.number, offset))
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Positions of this many partitions, at these offsets and event times.
fn positions(of: &[(Option<i64>, Option<i64>)]) -> Vec<(Partition, Position)> {
    let position = |((offset, ms), number): (&(Option<i64>, Option<i64>), i32)| {
        let event_time = ms.map(at);
        let position = Position { offset: *offset, event_time, commit: 1, owner: 7, log: None };
        (Partition::new(Topic::new("test"), number), position)
    };
    of.iter().zip(0..).map(position).collect()
}

/// Idle after a second, any time will do.
const BOUNDS: Bounds = Bounds { idle_timeout: Duration::from_secs(1), max_ahead: None };
