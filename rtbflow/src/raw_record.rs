//! One record as it is on the wire.

use std::fmt;

use crate::time::Timestamp;

/// One record, as it is on the wire.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct RawRecord<'a> {
    /// The offset.
    pub offset: i64,
    /// The time that the transport gives the record.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
}

impl<'a> RawRecord<'a> {
    /// A record at this offset, with the time of its transport.
    #[inline]
    #[must_use]
    pub fn new(
        offset: i64,
        timestamp: Timestamp,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
    ) -> Self {
        Self { offset, timestamp, key, value }
    }
}

impl fmt::Debug for RawRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawRecord(offset {}, {:?} bytes)", self.offset, self.value.map(<[u8]>::len))
    }
}

/// A header of a record: its name and its value.
pub type RawHeader<'a> = (&'a str, Option<&'a [u8]>);
