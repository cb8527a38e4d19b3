//! Short ways to write down what flows, for tests and examples.

use crate::dead_letter::{DeadLetter, Original};
use crate::element::Element;
use crate::error::BadRecord;
use crate::record::{Origin, Partition, Record, Topic};
use crate::time::Timestamp;

/// The time this many milliseconds after 1970.
#[must_use]
pub const fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// A record that was read nowhere, with its event time in milliseconds.
///
/// ```
/// use rtbflow::testing::builders::{at, record};
///
/// assert_eq!(record("click", 42).timestamp, at(42));
/// ```
#[must_use]
pub const fn record<T>(value: T, ms: i64) -> Record<T> {
    Record { value, timestamp: at(ms), origin: None }
}

/// A record as a source hands it over: of partition 0 of the topic `test`, at this offset.
#[must_use]
pub fn read<T>(value: T, ms: i64, offset: i64) -> Record<T> {
    let partition = Partition::new(Topic::new("test"), 0);
    Record { value, timestamp: at(ms), origin: Some(Origin::new(partition, offset)) }
}

/// A record that flows, before any watermark.
#[must_use]
pub const fn element<T>(value: T, ms: i64) -> Element<T> {
    Element::Record(record(value, ms), Timestamp::MIN)
}

/// A watermark that flows.
#[must_use]
pub const fn watermark<T>(ms: i64) -> Element<T> {
    Element::Watermark(at(ms))
}

/// A dead letter of the record at an offset, without bytes and without a reason.
#[must_use]
pub fn letter(topic: &str, partition: i32, offset: i64) -> DeadLetter {
    let origin = Origin::new(Partition::new(Topic::new(topic), partition), offset);
    let reason = BadRecord::new("");
    DeadLetter::record(origin, Original::default(), reason)
}
