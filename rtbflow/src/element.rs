//! What flows through a pipeline: records, watermarks and barriers.

use crate::barrier::Barrier;
use crate::record::Record;
use crate::time::Timestamp;

/// What flows through a pipeline.
// The tag has a word of its own. Without `repr` it would be kept in a spare byte in the middle of a record,
// and each hand-over would copy the record in pieces around that byte, which the processor cannot
// forward from one copy to the next.
#[derive(Debug, Clone)]
#[repr(u64)]
pub enum Element<T> {
    /// One record, and the watermark that holds before it.
    ///
    /// The watermark may rise with every record: it travels along, instead of doubling the number of
    /// elements.
    Record(Record<T>, Timestamp),
    /// The watermark has risen, and no record follows at the moment.
    ///
    /// A watermark says that all records of earlier event time have been seen: a window `[start, end)` is
    /// complete when the watermark reaches its `end`. It never falls.
    Watermark(Timestamp),
    /// The border between two epochs.
    Barrier(Barrier),
}

impl<T> Element<T> {
    /// The record and its watermark, or what is the same in a flow of other values.
    pub(crate) fn into_record<U>(self) -> Result<(Record<T>, Timestamp), Element<U>> {
        match self {
            Self::Record(record, watermark) => Ok((record, watermark)),
            Self::Watermark(watermark) => Err(Element::Watermark(watermark)),
            Self::Barrier(barrier) => Err(Element::Barrier(barrier)),
        }
    }
}
