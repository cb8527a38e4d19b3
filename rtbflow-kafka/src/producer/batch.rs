//! A batch of records for a topic, packed into one buffer.

use std::ops::Range;
use std::sync::Arc;

/// What Kafka adds to a record that is alone in its batch, at most: the batch's header and the
/// record's own lengths.
pub(crate) const FRAME_BYTES: usize = 128;
/// What it adds to a header, at most.
pub(crate) const HEADER_BYTES: usize = 10;

/// The records of one sink for one epoch.
#[derive(Debug, Default, Clone)]
pub(crate) struct RecordBatch {
    bytes: Vec<u8>,
    headers: Vec<(Arc<str>, Option<Range<usize>>)>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
    timestamp_ms: Option<i64>,
}

/// One record of it.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl Message<'_> {
    /// What it takes of what a topic takes, at most.
    pub(crate) fn bytes(&self) -> usize {
        let piece = |piece: Option<&[u8]>| piece.map_or(0, <[u8]>::len);
        let headers =
            self.headers.iter().map(|(name, value)| name.len() + HEADER_BYTES + piece(*value));
        piece(self.key) + piece(self.value) + headers.sum::<usize>() + FRAME_BYTES
    }
}

impl RecordBatch {
    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of all records.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, _)| name.len() + HEADER_BYTES);
        self.bytes.len() + self.rows.len() * FRAME_BYTES + headers.sum::<usize>()
    }

    /// Removes all records; the capacity stays.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.headers.clear();
        self.rows.clear();
    }

    /// Adds a record. What `key` and `value` write is that key or value; `false` means none. A header without a value
    /// is one, too.
    pub(crate) fn push<'a, E>(
        &mut self,
        timestamp_ms: Option<i64>,
        key: impl FnOnce(&mut Vec<u8>) -> bool,
        value: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
        headers: impl IntoIterator<Item = (&'a Arc<str>, Option<Vec<u8>>)>,
    ) -> Result<(), E> {
        let from = self.bytes.len();
        let key = key(&mut self.bytes).then_some(from..self.bytes.len());
        let from = self.bytes.len();
        // Should it fail, what it has written belongs to no row: it is never sent.
        let value = value(&mut self.bytes)?.then_some(from..self.bytes.len());
        let first = self.headers.len();
        for (name, value) in headers {
            let from = self.bytes.len();
            self.bytes.extend_from_slice(value.as_deref().unwrap_or_default());
            self.headers.push((Arc::clone(name), value.map(|_| from..self.bytes.len())));
        }
        self.rows.push(Row { key, value, headers: first..self.headers.len(), timestamp_ms });
        Ok(())
    }

    /// Adds a record whose key and value are there already; the value may come in pieces.
    pub(crate) fn put(&mut self, key: &[u8], value: Option<&[&[u8]]>) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let key = Some(from..self.bytes.len());
        let from = self.bytes.len();
        value.iter().copied().flatten().for_each(|piece| self.bytes.extend_from_slice(piece));
        let value = value.map(|_| from..self.bytes.len());
        let at = self.headers.len();
        self.rows.push(Row { key, value, headers: at..at, timestamp_ms: None });
    }

    /// Moves all records of another batch behind these.
    pub(crate) fn append(&mut self, other: &Self) {
        let (bytes, headers) = (self.bytes.len(), self.headers.len());
        let by = |range: &Range<usize>, by: usize| range.start + by..range.end + by;
        self.bytes.extend_from_slice(&other.bytes);
        let moved = |range: &Option<Range<usize>>| range.as_ref().map(|range| by(range, bytes));
        let names = other.headers.iter();
        self.headers.extend(names.map(|(name, value)| (Arc::clone(name), moved(value))));
        self.rows.extend(other.rows.iter().map(|row| Row {
            key: moved(&row.key),
            value: moved(&row.value),
            headers: by(&row.headers, headers),
            timestamp_ms: row.timestamp_ms,
        }));
    }

    fn piece(&self, range: Option<&Range<usize>>) -> Option<&[u8]> {
        // Ranges are made here, of bytes that go only together with them.
        range.map(|range| self.bytes.get(range.clone()).unwrap_or_default())
    }

    /// The records, in order.
    pub(crate) fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        self.rows.iter().map(|row| {
            // Ranges are made here, of headers that go only together with them.
            let headers = self.headers.get(row.headers.clone()).unwrap_or_default().iter();
            Message {
                key: self.piece(row.key.as_ref()),
                value: self.piece(row.value.as_ref()),
                timestamp_ms: row.timestamp_ms,
                headers: headers
                    .map(|(name, value)| (&**name, self.piece(value.as_ref())))
                    .collect(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn one(
        key: Option<&str>,
        value: Option<&str>,
        headers: &[(Arc<str>, Option<&[u8]>)],
    ) -> RecordBatch {
        let mut batch = RecordBatch::default();
        let put = |text: Option<&str>, out: &mut Vec<u8>| {
            out.extend_from_slice(text.unwrap_or_default().as_bytes());
            text.is_some()
        };
        let headers = headers.iter().map(|(name, value)| (name, value.map(<[u8]>::to_vec)));
        let pushed: Result<(), Infallible> =
            batch.push(Some(7), |out| put(key, out), |out| Ok(put(value, out)), headers);
        pushed.unwrap();
        batch
    }

    #[test]
    fn records_come_back_as_they_were_also_behind_others() {
        let mut batch = one(Some("k"), Some("v"), &[]);
        batch.append(&one(None, None, &[("trace".into(), Some(b"\xff")), ("none".into(), None)]));
        batch.append(&one(Some(""), Some(""), &[]));
        let all: Vec<_> = batch.messages().collect();
        assert_eq!((all[0].key, all[0].value), (Some(b"k".as_slice()), Some(b"v".as_slice())));
        assert!(all[0].headers.is_empty());
        assert_eq!((all[1].key, all[1].value), (None, None));
        assert_eq!(all[1].headers, [("trace", Some(b"\xff".as_slice())), ("none", None)]);
        assert_eq!((all[2].key, all[2].value), (Some(b"".as_slice()), Some(b"".as_slice())));
        assert_eq!((batch.len(), all[2].timestamp_ms), (3, Some(7)));
    }
}
