//! Records on their way into a task: the contract of a batch.

use crate::dead_letter::{DeadLetter, Originals};
use crate::error::BadRecord;
use crate::record::Partition;
use crate::time::Timestamp;

/// A batch whose records a task can take one by one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no values yet, only bytes",
    label = "records are not decoded",
    note = "decode them: `.json::<T>()` or `.decode(…)` of the source"
)]
pub trait Batch: Send + Sync + 'static {
    /// The values of its records.
    type Value: Send + 'static;

    /// How many records there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the record with this index, in order of the offsets; `None` from [`len`](Self::len) on, and before it
    /// never: a record that is missing ends the job. A task asks once for each.
    fn get(&self, index: usize) -> Option<Incoming<Self::Value>>;

    /// The record at an offset of this batch, unchanged as it was read; `None` if it is not in it.
    fn dead_letter(
        &self,
        partition: Partition,
        offset: i64,
        reason: BadRecord,
    ) -> Option<DeadLetter>;

    /// Bytes that the batch holds on to.
    fn bytes(&self) -> usize;
}

impl<B: Batch> Originals for B {
    fn letter(&self, partition: Partition, offset: i64, reason: BadRecord) -> Option<DeadLetter> {
        self.dead_letter(partition, offset, reason)
    }
}

/// A record that comes out of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incoming<T> {
    /// Its offset.
    pub offset: i64,
    /// What it turned out to be.
    pub content: Content<T>,
}

impl<T> Incoming<T> {
    /// The record at this offset.
    #[inline]
    #[must_use]
    pub fn new(offset: i64, content: Content<T>) -> Self {
        Self { offset, content }
    }
}

/// What a record turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<T> {
    /// A value with its event time.
    Value(T, Timestamp),
    /// It does not decode.
    Bad(BadRecord),
    /// It has no value.
    Tombstone,
}
