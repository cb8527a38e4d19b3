//! The changelog: one partition per task, with its positions and its state.
//!
//! ```text
//!   key                          value
//!   positions                    where the partitions of the task stand: the last record of every commit
//!   {bucket}:{number}:{operator} a piece of the bucket's log; none once the log has become shorter
//! ```
//!
//! A bucket's log is numbered from 0. To append is to write the next number; to replace is to write from
//! 0 again and to delete what is left of the old one; to drop is to delete all. So the newest record of
//! each key is the state, and compaction may remove the others. A chunk that is larger than a record may
//! be is cut into pieces, each but the last of which is marked.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rtbflow::source::RawRecord;
use rtbflow::state::{BucketChange, Chunk};
use rtbflow::{Error, Result};

use crate::anchor::positions::{Positions, read_positions};
use crate::producer::batch::RecordBatch;

/// The first byte of a piece: its format, and whether another piece of the same chunk follows.
const LAST: u8 = 0x10;
const MORE: u8 = 0x11;
/// The largest piece: with its key and its frame it is below what a topic takes unless it says otherwise.
const MOST_BYTES: usize = 768 << 10;

/// An operator and one of its buckets.
type BucketId = (Arc<str>, i64);

/// How long the log of each bucket is, in pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lengths(BTreeMap<BucketId, u32>);

/// The lengths that change by an epoch.
#[derive(Debug, Default)]
pub(crate) struct LengthChanges(Vec<(BucketId, u32)>);

/// What changes in a bucket in one epoch.
#[derive(Default)]
struct FoldedBucket {
    clears: bool,
    rows: Vec<Bytes>,
}

/// The changes per bucket: one that is replaced or dropped needs nothing of what came before.
fn fold(chunks: &[Chunk]) -> BTreeMap<BucketId, FoldedBucket> {
    let mut logs: BTreeMap<BucketId, FoldedBucket> = BTreeMap::new();
    for chunk in chunks {
        let log = logs.entry((Arc::clone(&chunk.operator), chunk.bucket)).or_default();
        match &chunk.change {
            BucketChange::Append(bytes) => log.rows.push(bytes.clone()),
            BucketChange::Replace(bytes) => {
                *log = FoldedBucket { clears: true, rows: vec![bytes.clone()] }
            }
            BucketChange::Drop => *log = FoldedBucket { clears: true, rows: Vec::new() },
        }
    }
    logs
}

fn piece_key(operator: &str, bucket: i64, number: u32) -> String {
    format!("{bucket}:{number}:{operator}")
}

fn read_piece_key(key: &[u8]) -> Option<(&str, i64, u32)> {
    let (bucket, rest) = std::str::from_utf8(key).ok()?.split_once(':')?;
    let (number, operator) = rest.split_once(':')?;
    Some((operator, bucket.parse().ok()?, number.parse().ok()?))
}

/// Appends the pieces of a row, numbered from `next` on; returns the number behind the last.
fn write_row(bucket: &BucketId, mut next: u32, row: &[u8], out: &mut RecordBatch) -> u32 {
    let mut rest = row;
    loop {
        let (piece, behind) = rest.split_at(rest.len().min(MOST_BYTES));
        let mark = if behind.is_empty() { LAST } else { MORE };
        let key = piece_key(&bucket.0, bucket.1, next);
        out.put(key.as_bytes(), Some(&[&[mark], piece]));
        next += 1;
        // Behind the first piece, so that a row without bytes has one as well.
        if behind.is_empty() {
            return next;
        }
        rest = behind;
    }
}

impl Lengths {
    /// Appends the records of these changes of state to others.
    pub(crate) fn write(&self, chunks: &[Chunk], out: &mut RecordBatch) -> LengthChanges {
        let mut changes = Vec::new();
        for (bucket, log) in fold(chunks) {
            // A bucket without a log begins one.
            let before = self.0.get(&bucket).copied().unwrap_or(0);
            let mut next = if log.clears { 0 } else { before };
            for row in &log.rows {
                next = write_row(&bucket, next, row, out);
            }
            // What is left of a longer log that was replaced: compaction keeps the newest record of each key, and
            // would keep these for ever.
            for number in next..before {
                out.put(piece_key(&bucket.0, bucket.1, number).as_bytes(), None);
            }
            changes.push((bucket, next));
        }
        LengthChanges(changes)
    }

    /// How many buckets have a log.
    pub(crate) fn buckets(&self) -> usize {
        self.0.len()
    }

    /// Notes that the records are committed.
    pub(crate) fn apply(&mut self, changes: LengthChanges) {
        for (bucket, length) in changes.0 {
            if length == 0 {
                self.0.remove(&bucket);
            } else {
                self.0.insert(bucket, length);
            }
        }
    }
}

/// A partition of the changelog as it is read from its beginning.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) positions: Positions,
    operators: BTreeMap<Arc<str>, BTreeMap<i64, Pieces>>,
}

/// The pieces of a bucket's log by their numbers.
type Pieces = BTreeMap<u32, (u8, Bytes)>;

impl Scan {
    /// Takes the next record.
    ///
    /// # Errors
    /// If it is damaged or none of ours.
    pub(crate) fn take(&mut self, record: &RawRecord<'_>) -> Result<()> {
        if let Some(positions) = read_positions(record)? {
            // Records come in their order: the last are those that hold.
            self.positions = positions;
            return Ok(());
        }
        let key = record.key.and_then(read_piece_key);
        let (operator, bucket, number) = key.ok_or_else(|| foreign(record))?;
        let Some(value) = record.value else {
            self.remove(operator, bucket, number);
            return Ok(());
        };
        let (mark, bytes) = value.split_first().ok_or_else(|| foreign(record))?;
        if ![LAST, MORE].contains(mark) {
            return Err(foreign(record));
        }
        let buckets = match self.operators.get_mut(operator) {
            Some(buckets) => buckets,
            None => self.operators.entry(operator.into()).or_default(),
        };
        let piece = (*mark, Bytes::copy_from_slice(bytes));
        buckets.entry(bucket).or_default().insert(number, piece);
        Ok(())
    }

    fn remove(&mut self, operator: &str, bucket: i64, number: u32) {
        // What is deleted may be compacted away already.
        let Some(buckets) = self.operators.get_mut(operator) else { return };
        let pieces = buckets.entry(bucket).or_default();
        pieces.remove(&number);
        // A log without pieces is none: it would count as one that is kept.
        if pieces.is_empty() {
            buckets.remove(&bucket);
        }
    }

    /// The chunks, in the order of operators and buckets, and how long each log is.
    ///
    /// # Errors
    /// If a piece is missing: it names the operator and the bucket.
    pub(crate) fn finish(self) -> Result<(Lengths, Vec<Chunk>)> {
        let (mut lengths, mut chunks) = (Lengths::default(), Vec::new());
        for (operator, buckets) in self.operators {
            for (bucket, pieces) in buckets {
                let length = join(&operator, bucket, pieces, &mut chunks)?;
                lengths.0.insert((Arc::clone(&operator), bucket), length);
            }
        }
        Ok((lengths, chunks))
    }
}

/// Puts the pieces of a bucket's log together, behind other chunks; returns how many there are.
fn join(operator: &Arc<str>, bucket: i64, pieces: Pieces, chunks: &mut Vec<Chunk>) -> Result<u32> {
    let mut next = 0;
    let mut begun: Vec<u8> = Vec::new();
    let mut open = false;
    for (number, (mark, bytes)) in pieces {
        if number != next {
            return Err(missing_piece(operator, bucket, next));
        }
        next += 1;
        // Most chunks are one piece, which is not copied.
        let whole = !open && mark == LAST;
        if !whole {
            begun.extend_from_slice(&bytes);
        }
        open = mark == MORE;
        if !open {
            let bytes = if whole { bytes } else { std::mem::take(&mut begun).into() };
            let (operator, change) = (Arc::clone(operator), BucketChange::Append(bytes));
            chunks.push(Chunk { operator, bucket, change });
        }
    }
    // A commit is whole, so that a log whose last piece says that more follow was not written by one.
    if open { Err(missing_piece(operator, bucket, next)) } else { Ok(next) }
}

/// The error of a record that no commit has written so.
#[cold]
fn foreign(record: &RawRecord<'_>) -> Error {
    let key = String::from_utf8_lossy(record.key.unwrap_or_default());
    Error::config(format!(
        "read a record with the key {key:?}: it is neither positions nor a piece of state; another program writes to \
         the changelog, and has to stop that"
    ))
}

#[cold]
fn missing_piece(operator: &str, bucket: i64, number: u32) -> Error {
    Error::permanent(format!(
        "restore state of operator {operator:?}, bucket {bucket}: piece {number} of its log is missing; the \
         changelog has lost records. Put it back from a copy, or reset the job"
    ))
}

#[cfg(test)]
mod tests {
    use rtbflow::Timestamp;

    use super::*;

    fn chunk(operator: &str, bucket: i64, change: BucketChange) -> Chunk {
        Chunk { operator: operator.into(), bucket, change }
    }

    fn append(bucket: i64, bytes: impl Into<Bytes>) -> Chunk {
        chunk("a:b", bucket, BucketChange::Append(bytes.into()))
    }

    fn scan<'a>(records: impl IntoIterator<Item = &'a RecordBatch>) -> Result<Scan> {
        let mut scan = Scan::default();
        for message in records.into_iter().flat_map(RecordBatch::messages) {
            scan.take(&RawRecord::new(0, Timestamp::default(), message.key, message.value))?;
        }
        Ok(scan)
    }

    /// Writes the groups of chunks one after the other; what is read back of all of them.
    fn check(groups: &[Vec<Chunk>]) -> (Vec<RecordBatch>, Vec<Chunk>) {
        let (mut lengths, mut written) = (Lengths::default(), Vec::new());
        for chunks in groups {
            let mut out = RecordBatch::default();
            let changes = lengths.write(chunks, &mut out);
            lengths.apply(changes);
            written.push(out);
        }
        let (found, chunks) = scan(&written).unwrap().finish().unwrap();
        assert_eq!(found, lengths, "lengths are read from the log as they were kept");
        (written, chunks)
    }

    #[test]
    fn a_log_grows_is_replaced_and_ends() {
        let replace = |bytes| chunk("a:b", 7, BucketChange::Replace(Bytes::from_static(bytes)));
        let groups = [
            vec![append(7, "1"), append(7, "2")],
            vec![append(7, "3"), append(i64::MIN, "x")],
            vec![replace(b"4")],
            vec![append(7, "5")],
        ];
        let (written, chunks) = check(&groups);
        assert_eq!(chunks, [append(i64::MIN, "x"), append(7, "4"), append(7, "5")]);
        assert_eq!(written[2].len(), 3, "one piece, and two that are deleted");
        let ended = vec![
            chunk("a:b", 7, BucketChange::Drop),
            append(8, "new"),
            chunk("a:b", 8, BucketChange::Drop),
        ];
        let (written, chunks) = check(&[groups.to_vec(), vec![ended]].concat());
        assert_eq!(chunks, [append(i64::MIN, "x")]);
        assert_eq!(written[4].len(), 2, "a bucket that came and went leaves nothing");
    }

    #[test]
    fn a_large_chunk_is_cut_and_comes_back_whole() {
        let large: Vec<u8> = (0..3 * MOST_BYTES + 1).map(|n| n.to_le_bytes()[0]).collect();
        let exact = vec![1; MOST_BYTES];
        let all = vec![append(1, large), append(1, Bytes::new()), append(1, exact)];
        let (written, chunks) = check(std::slice::from_ref(&all));
        assert_eq!((written[0].len(), chunks), (4 + 1 + 1, all));
        assert!(
            written[0].messages().all(|message| message.value.unwrap().len() <= MOST_BYTES + 1)
        );
    }

    #[test]
    fn a_missing_piece_and_a_foreign_record_are_errors_that_name_them() {
        let mut out = RecordBatch::default();
        Lengths::default().write(&[append(1, vec![0; MOST_BYTES + 1]), append(1, "2")], &mut out);
        for missing in 0..3 {
            let mut torn = out.clone();
            let key = piece_key("a:b", 1, missing);
            torn.put(key.as_bytes(), None);
            let read = scan([&torn]).unwrap().finish();
            // Without its last record the log is merely shorter: only commits write, and they are whole.
            assert_eq!(read.is_ok(), missing == 2, "{missing}");
            let message = read.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(
                missing == 2 || message.contains("a:b") && message.contains("bucket 1"),
                "{message}"
            );
        }
        for (key, value) in [
            (&b"1:x:a"[..], &b"\x10"[..]),
            (b"other", b"\x10"),
            (b"1:0:a", b""),
            (b"1:0:a", b"\x20"),
        ] {
            let mut foreign = RecordBatch::default();
            foreign.put(key, Some(&[value]));
            let error = scan([&foreign]).unwrap_err();
            assert!(error.is_config() && error.to_string().contains("key"), "{error:?}");
        }
    }
}
