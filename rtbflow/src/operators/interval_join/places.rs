//! Where held records were read, kept small: a number for the partition, and the offset.

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::record::{Origin, Partition, Topic};

/// The number of no partition: an operator made the record.
const NOWHERE: u16 = u16::MAX;

/// Where a record was read, or for one that was read nowhere a number that grows with each: what tells apart
/// records of the same time, and orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordPlace {
    pub(super) partition: u16,
    pub(super) offset: i64,
}

/// The partitions that records came from; they are few.
#[derive(Debug, Default)]
pub(super) struct Places {
    partitions: Vec<Partition>,
    /// Records so far that were read nowhere.
    made: i64,
}

impl Places {
    #[inline]
    pub(super) fn of(&mut self, origin: Option<Origin>) -> RecordPlace {
        let Some(origin) = origin else {
            self.made += 1;
            return RecordPlace { partition: NOWHERE, offset: self.made };
        };
        RecordPlace { partition: self.number(origin.partition()), offset: origin.offset() }
    }

    fn number(&mut self, partition: Partition) -> u16 {
        let known = self.partitions.iter().position(|known| *known == partition);
        let number = known.unwrap_or_else(|| {
            self.partitions.push(partition);
            self.partitions.len() - 1
        });
        match u16::try_from(number) {
            Ok(number) if number < NOWHERE => number,
            Ok(_) | Err(_) => too_many(number),
        }
    }

    /// Which of two records of the same time is the older: made ones are, then it goes by partition and
    /// offset.
    #[inline]
    pub(super) fn order(&self, one: RecordPlace, other: RecordPlace) -> Ordering {
        let partition = |place: RecordPlace| self.partitions.get(usize::from(place.partition));
        let by_partition = || partition(one).cmp(&partition(other));
        let same = one.partition == other.partition;
        let order = if same { Ordering::Equal } else { by_partition() };
        order.then(one.offset.cmp(&other.offset))
    }

    /// All partitions, for the log.
    pub(super) fn written(&self) -> Vec<(&'static str, i32)> {
        self.partitions.iter().map(|known| (known.topic.name(), known.number)).collect()
    }

    /// The numbers here of partitions as the log has them.
    pub(super) fn numbers(&mut self, written: &[(String, i32)]) -> Vec<u16> {
        let partition =
            |(topic, number): &(String, i32)| Partition::new(Topic::new(topic), *number);
        written.iter().map(|written| self.number(partition(written))).collect()
    }

    /// A place from the log, whose partitions have these numbers here.
    ///
    /// # Errors
    /// If it is of a partition that the log does not name.
    pub(super) fn restored(
        &mut self,
        partition: u16,
        offset: i64,
        numbers: &[u16],
    ) -> Result<RecordPlace> {
        if partition == NOWHERE {
            self.made = self.made.max(offset);
            return Ok(RecordPlace { partition, offset });
        }
        let known = numbers.get(usize::from(partition)).copied();
        let partition = known.ok_or_else(|| {
            Error::broken("a stored record is of a partition that its chunk does not name")
        })?;
        Ok(RecordPlace { partition, offset })
    }
}

/// A task has a few partitions, not tens of thousands: the epoch of one that has them is not committed.
#[cold]
fn too_many(number: usize) -> u16 {
    Error::config(format!(
        "join the records of {number} partitions in one task, of at most {NOWHERE}: let the source have more tasks"
    ))
    .spoil_epoch();
    NOWHERE
}
