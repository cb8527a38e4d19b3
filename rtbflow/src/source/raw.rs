//! Records as they are on the wire, many in one buffer.

use std::fmt;

use crate::element::Origin;
use crate::element::Partition;
use crate::epoch::DeadLetter;
use crate::error::BadRecord;
use crate::time::Timestamp;

/// Records of one partition in one buffer: what a transport hands over.
///
/// Keys, values and headers are copied into the buffer as they arrive, so that the transport's own
/// memory is free at once and nothing is allocated for a single record.
#[derive(Default)]
pub struct RawBatch {
    bytes: Vec<u8>,
    records: Vec<Entry>,
    headers: Vec<HeaderEntry>,
}

/// Where a piece lies in the buffer; `None` is a null.
type Piece = Option<(u32, u32)>;

struct Entry {
    offset: i64,
    timestamp: Timestamp,
    key: Piece,
    value: Piece,
    headers: (u32, u32),
}

struct HeaderEntry {
    name: (u32, u32),
    value: Piece,
}

/// One record of a [`RawBatch`].
#[derive(Clone, Copy)]
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

impl fmt::Debug for RawRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawRecord(offset {}, {:?} bytes)", self.offset, self.value.map(<[u8]>::len))
    }
}

/// A header of a record: its name and its value.
pub type RawHeader<'a> = (&'a str, Option<&'a [u8]>);

impl RawBatch {
    /// An empty batch with room for so many records and bytes.
    #[must_use]
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            records: Vec::with_capacity(records),
            headers: Vec::new(),
        }
    }

    fn keep(&mut self, piece: &[u8]) -> (u32, u32) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (short(from), short(self.bytes.len()))
    }

    /// Adds a record. Offsets must rise.
    ///
    /// # Panics
    /// If the batch would hold 4 GiB.
    #[expect(clippy::panic, reason = "a transport that bounds nothing is a bug")]
    pub fn push<'h>(
        &mut self,
        record: RawRecord<'_>,
        headers: impl IntoIterator<Item = RawHeader<'h>>,
    ) {
        let first = self.headers.len();
        for (name, value) in headers {
            let name = self.keep(name.as_bytes());
            let value = value.map(|value| self.keep(value));
            self.headers.push(HeaderEntry { name, value });
        }
        let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(self.headers.len()))
        else {
            panic!("a batch of 4 billion headers");
        };
        let key = record.key.map(|key| self.keep(key));
        let value = record.value.map(|value| self.keep(value));
        assert!(u32::try_from(self.bytes.len()).is_ok(), "a batch of 4 GiB");
        let (offset, timestamp) = (record.offset, record.timestamp);
        self.records.push(Entry { offset, timestamp, key, value, headers: (first, last) });
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes that the batch holds on to.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.capacity() + self.records.capacity() * size_of::<Entry>()
    }

    fn piece(&self, (from, to): (u32, u32)) -> &[u8] {
        self.bytes.get(from as usize..to as usize).unwrap_or_default()
    }

    /// The record with this index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<RawRecord<'_>> {
        let entry = self.records.get(index)?;
        Some(RawRecord {
            offset: entry.offset,
            timestamp: entry.timestamp,
            key: entry.key.map(|piece| self.piece(piece)),
            value: entry.value.map(|piece| self.piece(piece)),
        })
    }

    /// The headers of the record with this index, in order.
    pub fn headers(&self, index: usize) -> impl Iterator<Item = RawHeader<'_>> {
        let (from, to) = self.records.get(index).map_or((0, 0), |entry| entry.headers);
        self.headers.get(from as usize..to as usize).unwrap_or_default().iter().map(|header| {
            let name = std::str::from_utf8(self.piece(header.name)).unwrap_or_default();
            (name, header.value.map(|piece| self.piece(piece)))
        })
    }

    /// The record at an offset, unchanged, as a dead letter.
    #[must_use]
    pub fn dead_letter(
        &self,
        partition: Partition,
        offset: i64,
        reason: BadRecord,
    ) -> Option<DeadLetter> {
        let index = self.records.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        let record = self.get(index)?;
        Some(DeadLetter {
            origin: Origin::new(partition, offset),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: self
                .headers(index)
                .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
            reason,
        })
    }
}

impl fmt::Debug for RawBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawBatch({} records, {} bytes)", self.len(), self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Topic;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let mut batch = RawBatch::with_capacity(2, 64);
        let at = Timestamp::from_millis(5);
        let record = |offset, key, value| RawRecord { offset, timestamp: at, key, value };
        batch.push(record(7, None, None), []);
        let headers = [("trace", Some(b"\xff".as_slice())), ("none", None), ("trace", Some(b""))];
        batch.push(record(9, Some(b"k"), Some(b"v")), headers);
        assert_eq!(batch.get(0).unwrap().value, None);
        assert_eq!(batch.get(1).unwrap().value, Some(b"v".as_slice()));
        assert_eq!(batch.headers(1).collect::<Vec<_>>(), headers);
        let partition = Partition::new(Topic::new("t"), 0);
        let letter = batch.dead_letter(partition, 9, BadRecord::new("why")).unwrap();
        assert_eq!((letter.key, letter.value), (Some(b"k".to_vec()), Some(b"v".to_vec())));
        assert_eq!(letter.headers.len(), 3);
        assert!(batch.dead_letter(partition, 8, BadRecord::new("why")).is_none());
    }
}
