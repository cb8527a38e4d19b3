//! Records as they are on the wire, many at a time.

use std::cmp::Ordering;
use std::fmt;

use crate::dead_letter::{DeadLetter, Original};
use crate::error::{BadRecord, Error};
use crate::raw_record::{RawHeader, RawRecord};
use crate::record::Origin;
use crate::record::Partition;
use crate::time::Timestamp;

/// Records of one partition, as a transport has them: copied into a [`RawBuffer`], or in its own memory.
///
/// # Examples
/// A transport whose records are lines:
/// ```
/// use rtbflow::Timestamp;
/// use rtbflow::source::{Headers, RawBatch, RawRecord, RawRecords};
///
/// struct Lines(Vec<String>);
///
/// impl RawRecords for Lines {
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///     fn get(&self, index: usize) -> Option<RawRecord<'_>> {
///         let line = self.0.get(index)?;
///         let (offset, timestamp) = (i64::try_from(index).ok()?, Timestamp::MIN);
///         Some(RawRecord::new(offset, timestamp, None, Some(line.as_bytes())))
///     }
///     fn headers(&self, _index: usize) -> Headers {
///         Headers::new()
///     }
///     fn bytes(&self) -> usize {
///         self.0.iter().map(String::capacity).sum()
///     }
/// }
///
/// let batch = RawBatch::new(Lines(vec!["a".into(), "b".into()]));
/// assert_eq!(batch.get(1).unwrap().value, Some(b"b".as_slice()));
/// ```
pub trait RawRecords: Send + Sync + 'static {
    /// How many records there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record with this index; their offsets rise.
    fn get(&self, index: usize) -> Option<RawRecord<'_>>;

    /// The headers of the record with this index, in order. They are asked for where a record becomes a
    /// dead letter, and nowhere else.
    fn headers(&self, index: usize) -> Headers;

    /// About how many bytes the records take: what is at hand in a task is bounded by it.
    fn bytes(&self) -> usize;
}

/// The headers of a record: names and values.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// What a transport hands over: [`RawRecords`] of any kind.
pub struct RawBatch(Box<dyn RawRecords>);

impl RawBatch {
    /// A batch of these records.
    #[must_use]
    pub fn new(records: impl RawRecords) -> Self {
        Self(Box::new(records))
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About how many bytes its records take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The record with this index.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<RawRecord<'_>> {
        self.0.get(index)
    }

    /// The headers of the record with this index, in order.
    #[must_use]
    pub fn headers(&self, index: usize) -> Headers {
        self.0.headers(index)
    }

    /// The record at an offset, unchanged, as a dead letter.
    #[must_use]
    pub fn dead_letter(
        &self,
        partition: Partition,
        offset: i64,
        reason: BadRecord,
    ) -> Option<DeadLetter> {
        let index = self.index_of(offset)?;
        let record = self.get(index)?;
        let original = Original {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: self.headers(index),
        };
        Some(DeadLetter::record(Origin::new(partition, offset), original, reason))
    }

    fn index_of(&self, offset: i64) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle)?.offset.cmp(&offset) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(middle),
                Ordering::Greater => high = middle,
            }
        }
        None
    }
}

impl fmt::Debug for RawBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawBatch({} records, {} bytes)", self.len(), self.bytes())
    }
}

/// Records of one partition, copied into one buffer: nothing is allocated for a single record.
#[derive(Default)]
pub struct RawBuffer {
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

impl RawBuffer {
    /// An empty buffer with room for this many records and bytes.
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
        // More than this is refused once the whole record is here.
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (short(from), short(self.bytes.len()))
    }

    /// Adds a record. Offsets must rise.
    ///
    /// # Panics
    /// If the buffer would hold 4 GiB.
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

    fn piece(&self, (from, to): (u32, u32)) -> &[u8] {
        self.bytes.get(from as usize..to as usize).unwrap_or_else(|| {
            Error::broken("a piece of a record lies outside of its batch").spoil_epoch();
            &[]
        })
    }
}

impl RawRecords for RawBuffer {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn get(&self, index: usize) -> Option<RawRecord<'_>> {
        let entry = self.records.get(index)?;
        Some(RawRecord {
            offset: entry.offset,
            timestamp: entry.timestamp,
            key: entry.key.map(|piece| self.piece(piece)),
            value: entry.value.map(|piece| self.piece(piece)),
        })
    }

    fn headers(&self, index: usize) -> Headers {
        let (from, to) = self.records.get(index).map_or((0, 0), |entry| entry.headers);
        let entries = self.headers.get(from as usize..to as usize).unwrap_or_else(|| {
            Error::broken("headers of a record lie outside of its batch").spoil_epoch();
            &[]
        });
        let header = |header: &HeaderEntry| {
            let name = String::from_utf8_lossy(self.piece(header.name)).into_owned();
            (name, header.value.map(|piece| self.piece(piece).to_vec()))
        };
        entries.iter().map(header).collect()
    }

    fn bytes(&self) -> usize {
        self.bytes.capacity() + self.records.capacity() * size_of::<Entry>()
    }
}

impl From<RawBuffer> for RawBatch {
    fn from(buffer: RawBuffer) -> Self {
        Self::new(buffer)
    }
}

impl fmt::Debug for RawBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawBuffer({} records, {} bytes)", self.len(), self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Topic;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let mut batch = RawBuffer::with_capacity(2, 64);
        let at = Timestamp::from_millis(5);
        let record = |offset, key, value| RawRecord { offset, timestamp: at, key, value };
        batch.push(record(7, None, None), []);
        let headers = [("trace", Some(b"\xff".as_slice())), ("none", None), ("trace", Some(b""))];
        batch.push(record(9, Some(b"k"), Some(b"v")), headers);
        let batch = RawBatch::from(batch);
        assert_eq!(batch.get(0).unwrap().value, None);
        assert_eq!(batch.get(1).unwrap().value, Some(b"v".as_slice()));
        let owned = |(name, value): (&str, Option<&[u8]>)| (name.into(), value.map(<[u8]>::to_vec));
        assert_eq!(batch.headers(1), headers.map(owned));
        let partition = Partition::new(Topic::new("t"), 0);
        let letter = batch.dead_letter(partition, 9, BadRecord::new("why")).unwrap();
        assert_eq!((letter.key, letter.value), (Some(b"k".to_vec()), Some(b"v".to_vec())));
        assert_eq!(letter.headers.len(), 3);
        for missing in [6, 8, 10] {
            assert!(batch.dead_letter(partition, missing, BadRecord::new("why")).is_none());
        }
    }
}
