//! What stands in the changelog: one partition a task, with its positions and its state.
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
use rtbflow::epoch::{Epoch, Log, Position, Step};
use rtbflow::source::RawRecord;
use rtbflow::state::{Change, Chunk, Reader, Writer};
use rtbflow::{Error, Partition, Result, Timestamp, Topic};

use crate::producer::batch::RecordBatch;

/// The key of the positions.
const POSITIONS: &[u8] = b"positions";
/// The version of what is written of positions, that of positions that do not say where they stood when they were
/// claimed, and that of those that do not name their logs either.
const POSITIONS_VERSION: u16 = 3;
const WITHOUT_CLAIMS: u16 = 2;
const WITHOUT_LOGS: u16 = 1;
/// The first byte of a piece: its format, and whether another piece of the same chunk follows.
const LAST: u8 = 0x10;
const MORE: u8 = 0x11;
/// The largest piece: with its key and its frame it is below what a topic takes unless it says otherwise.
const MOST_BYTES: usize = 768 << 10;

/// Positions as they stand, and as they stood when another owner claimed them last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    stand: BTreeMap<Partition, Position>,
    /// Only the number of commits and the owner.
    claimed_at: BTreeMap<Partition, Position>,
}

impl Positions {
    pub(crate) fn get(&self, partition: &Partition) -> Option<&Position> {
        self.stand.get(partition)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Partition, &Position)> {
        self.stand.iter()
    }

    pub(crate) fn extend(&mut self, positions: impl IntoIterator<Item = (Partition, Position)>) {
        self.stand.extend(positions);
    }

    /// A partition gets this owner.
    pub(crate) fn claim(&mut self, partition: Partition, owner: u64) {
        let position = self.stand.entry(partition).or_default();
        let Position { commit, owner: former, .. } = *position;
        (position.commit, position.owner) = (commit + 1, owner);
        if former != owner {
            let stood = Position { commit, owner: former, ..Position::default() };
            self.claimed_at.insert(partition, stood);
        }
    }

    /// What it means for an epoch that the place stands here. One that was applied just before another owner came
    /// is applied.
    pub(crate) fn step(&self, epoch: &Epoch) -> Step {
        match epoch.step(|partition| self.stand.get(&partition)) {
            Step::Fenced if epoch.was_applied_before(|at| self.claimed_at.get(&at)) => {
                Step::Applied
            }
            step @ (Step::Apply | Step::Applied | Step::Fenced) => step,
        }
    }
}

/// An operator and one of its buckets.
type Bucket = (Arc<str>, i64);

/// How long the log of each bucket is, in pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lengths(BTreeMap<Bucket, u32>);

/// What chunks make of the logs: the lengths that change.
#[derive(Debug, Default)]
pub(crate) struct Lengthened(Vec<(Bucket, u32)>);

/// What becomes of a bucket in one epoch.
#[derive(Default)]
struct Folded {
    clears: bool,
    rows: Vec<Bytes>,
}

/// The changes folded to what remains of them: a bucket that is replaced or dropped needs nothing of what
/// came before.
fn folded(chunks: &[Chunk]) -> BTreeMap<Bucket, Folded> {
    let mut logs: BTreeMap<Bucket, Folded> = BTreeMap::new();
    for chunk in chunks {
        let log = logs.entry((Arc::clone(&chunk.operator), chunk.bucket)).or_default();
        match &chunk.change {
            Change::Append(bytes) => log.rows.push(bytes.clone()),
            Change::Replace(bytes) => *log = Folded { clears: true, rows: vec![bytes.clone()] },
            Change::Drop => *log = Folded { clears: true, rows: Vec::new() },
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

impl Lengths {
    /// The records that these changes of state are, put behind others.
    pub(crate) fn write(&self, chunks: &[Chunk], out: &mut RecordBatch) -> Lengthened {
        let mut lengthened = Vec::new();
        for (bucket, log) in folded(chunks) {
            let before = self.0.get(&bucket).copied().unwrap_or(0);
            let mut next = if log.clears { 0 } else { before };
            for row in &log.rows {
                let mut pieces = row.chunks(MOST_BYTES).peekable();
                loop {
                    let piece = pieces.next().unwrap_or_default();
                    let more = pieces.peek().is_some();
                    let mark = if more { MORE } else { LAST };
                    let key = piece_key(&bucket.0, bucket.1, next);
                    out.put(key.as_bytes(), Some(&[&[mark], piece]));
                    next += 1;
                    if !more {
                        break;
                    }
                }
            }
            for number in next..before {
                out.put(piece_key(&bucket.0, bucket.1, number).as_bytes(), None);
            }
            lengthened.push((bucket, next));
        }
        Lengthened(lengthened)
    }

    /// How many buckets have a log.
    pub(crate) fn buckets(&self) -> usize {
        self.0.len()
    }

    /// The records are committed.
    pub(crate) fn apply(&mut self, lengthened: Lengthened) {
        for (bucket, length) in lengthened.0 {
            if length == 0 {
                self.0.remove(&bucket);
            } else {
                self.0.insert(bucket, length);
            }
        }
    }
}

/// A position as it is written: topic, partition, offset, event time in ms, commits, owner.
type Written = (String, i32, Option<i64>, Option<i64>, u64, u64);
/// And behind it which log it is of: the topic's id and the leader's term.
type WrittenLog = Option<(String, Option<i32>)>;
/// And where it stood when another owner claimed it last: commits and owner.
type WrittenClaim = Option<(u64, u64)>;

/// Puts the positions behind other records.
pub(crate) fn write_positions(positions: &Positions, out: &mut RecordBatch) -> Result<()> {
    let mut writer = Writer::new(POSITIONS_VERSION);
    for (partition, at) in &positions.stand {
        let time = at.event_time.map(Timestamp::as_millis);
        let topic = partition.topic.name();
        let log: WrittenLog = at.log.map(|log| (log.topic_id.to_string(), log.leader_epoch));
        let position = (topic, partition.number, at.offset, time, at.commit, at.owner);
        let claimed_at = positions.claimed_at.get(partition).map(|at| (at.commit, at.owner));
        writer.put_as::<(Written, WrittenLog, WrittenClaim)>(&(position, log, claimed_at));
    }
    out.put(POSITIONS, Some(&[&writer.finish()?]));
    Ok(())
}

/// The positions in a record; `None` if it is about something else.
///
/// # Errors
/// If the record is damaged, or of another version.
pub(crate) fn read_positions(record: &RawRecord<'_>) -> Result<Option<Positions>> {
    if record.key != Some(POSITIONS) {
        return Ok(None);
    }
    let bytes = Bytes::copy_from_slice(record.value.unwrap_or_default());
    let chunk = Chunk { operator: "positions".into(), bucket: 0, change: Change::Append(bytes) };
    let written = Reader::stored_version(&chunk);
    let earlier = [WITHOUT_LOGS, WITHOUT_CLAIMS].into_iter().find(|of| written == Some(*of));
    let version = earlier.unwrap_or(POSITIONS_VERSION);
    let mut reader = Reader::open(&chunk, version)?;
    let mut positions = Positions::default();
    let mut next = || match version {
        WITHOUT_LOGS => Ok(reader.next_entry::<Written>()?.map(|at| (at, None, None))),
        WITHOUT_CLAIMS => {
            Ok(reader.next_entry::<(Written, WrittenLog)>()?.map(|(at, log)| (at, log, None)))
        }
        _ => reader.next_entry::<(Written, WrittenLog, WrittenClaim)>(),
    };
    while let Some(((topic, number, offset, time, commit, owner), log, claimed_at)) = next()? {
        let event_time = time.map(Timestamp::from_millis);
        let log = log.map(|(topic_id, leader_epoch)| {
            Ok::<_, Error>(Log { topic_id: topic_id.parse()?, leader_epoch })
        });
        let log = log.transpose()?;
        let position = Position { offset, event_time, commit, owner, log };
        let partition = Partition::new(Topic::new(&topic), number);
        positions.stand.insert(partition, position);
        if let Some((commit, owner)) = claimed_at {
            let stood = Position { commit, owner, ..Position::default() };
            positions.claimed_at.insert(partition, stood);
        }
    }
    Ok(Some(positions))
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
            self.positions = positions;
            return Ok(());
        }
        let foreign = || {
            let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
            Error::config(format!("read a record with the key {key:?}: no job has written it so"))
        };
        let key = record.key.and_then(read_piece_key);
        let (operator, bucket, number) = key.ok_or_else(foreign)?;
        let Some(value) = record.value else {
            if let Some(buckets) = self.operators.get_mut(operator) {
                let pieces = buckets.entry(bucket).or_default();
                pieces.remove(&number);
                if pieces.is_empty() {
                    buckets.remove(&bucket);
                }
            }
            return Ok(());
        };
        let (mark, bytes) = value.split_first().ok_or_else(foreign)?;
        if ![LAST, MORE].contains(mark) {
            return Err(foreign());
        }
        if !self.operators.contains_key(operator) {
            self.operators.insert(operator.into(), BTreeMap::new());
        }
        if let Some(buckets) = self.operators.get_mut(operator) {
            let piece = (*mark, Bytes::copy_from_slice(bytes));
            buckets.entry(bucket).or_default().insert(number, piece);
        }
        Ok(())
    }

    /// The chunks, in the order of operators and buckets, and how long each log is.
    ///
    /// # Errors
    /// If a piece is missing: it names the operator and the bucket.
    pub(crate) fn finish(self) -> Result<(Lengths, Vec<Chunk>)> {
        let (mut lengths, mut chunks) = (Lengths::default(), Vec::new());
        for (operator, buckets) in self.operators {
            for (bucket, pieces) in buckets {
                let mut next = 0;
                let mut begun: Vec<u8> = Vec::new();
                let mut open = false;
                for (number, (mark, bytes)) in pieces {
                    if number != next {
                        return Err(torn(&operator, bucket, next));
                    }
                    next += 1;
                    let whole = !open && mark == LAST;
                    if !whole {
                        begun.extend_from_slice(&bytes);
                    }
                    open = mark == MORE;
                    if !open {
                        let bytes = if whole { bytes } else { std::mem::take(&mut begun).into() };
                        let (operator, change) = (Arc::clone(&operator), Change::Append(bytes));
                        chunks.push(Chunk { operator, bucket, change });
                    }
                }
                if open {
                    return Err(torn(&operator, bucket, next));
                }
                lengths.0.insert((Arc::clone(&operator), bucket), next);
            }
        }
        Ok((lengths, chunks))
    }
}

#[cold]
fn torn(operator: &str, bucket: i64, number: u32) -> Error {
    Error::permanent(format!(
        "restore state of operator {operator:?}, bucket {bucket}: piece {number} of its log is missing"
    ))
}

#[cfg(test)]
mod tests {
    use rtbflow::epoch::TopicId;

    use super::*;

    const PARTITION: i32 = 3;

    fn chunk(operator: &str, bucket: i64, change: Change) -> Chunk {
        Chunk { operator: operator.into(), bucket, change }
    }

    fn append(bucket: i64, bytes: impl Into<Bytes>) -> Chunk {
        chunk("a:b", bucket, Change::Append(bytes.into()))
    }

    fn scan<'a>(records: impl IntoIterator<Item = &'a RecordBatch>) -> Result<Scan> {
        let mut scan = Scan::default();
        for message in records.into_iter().flat_map(RecordBatch::messages) {
            scan.take(&RawRecord {
                offset: 0,
                timestamp: Timestamp::default(),
                key: message.key,
                value: message.value,
            })?;
        }
        Ok(scan)
    }

    /// Writes the groups of chunks one after the other; what is read back of all of them.
    fn check(groups: &[Vec<Chunk>]) -> (Vec<RecordBatch>, Vec<Chunk>) {
        let (mut lengths, mut written) = (Lengths::default(), Vec::new());
        for chunks in groups {
            let mut out = RecordBatch::default();
            let lengthened = lengths.write(chunks, &mut out);
            lengths.apply(lengthened);
            written.push(out);
        }
        let (found, chunks) = scan(&written).unwrap().finish().unwrap();
        assert_eq!(found, lengths, "lengths are read from the log as they were kept");
        (written, chunks)
    }

    #[test]
    fn a_log_grows_is_replaced_and_ends() {
        let replace = |bytes| chunk("a:b", 7, Change::Replace(Bytes::from_static(bytes)));
        let groups = [
            vec![append(7, "1"), append(7, "2")],
            vec![append(7, "3"), append(i64::MIN, "x")],
            vec![replace(b"4")],
            vec![append(7, "5")],
        ];
        let (written, chunks) = check(&groups);
        assert_eq!(chunks, [append(i64::MIN, "x"), append(7, "4"), append(7, "5")]);
        assert_eq!(written[2].len(), 3, "one piece, and two that are deleted");
        let ended =
            vec![chunk("a:b", 7, Change::Drop), append(8, "new"), chunk("a:b", 8, Change::Drop)];
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

    #[test]
    fn positions_come_back_and_damage_is_noticed() {
        let at = |offset, time: Option<i64>, commit, owner| Position {
            offset,
            event_time: time.map(Timestamp::from_millis),
            commit,
            owner,
            log: offset.map(|_| Log { topic_id: TopicId::new(u128::MAX), leader_epoch: Some(7) }),
        };
        let partition = |number| Partition::new(Topic::new("ads"), number);
        let mut positions = Positions::default();
        positions.extend([
            (partition(PARTITION), at(Some(i64::MAX), Some(i64::MIN), u64::MAX - 1, 1 << 63)),
            (partition(i32::MAX), at(None, None, 1, 0)),
        ]);
        positions.claim(partition(PARTITION), u64::MAX);
        let mut out = RecordBatch::default();
        write_positions(&positions, &mut out).unwrap();
        assert_eq!(scan([&out]).unwrap().positions, positions);
        // As a build before the logs had names wrote it, in the format of that time.
        let before = b"\x00\x01\xf5\x43\xac\x5a\x96\xa3ads\x03\x09\xc0\x02\x05";
        let mut old = RecordBatch::default();
        old.put(POSITIONS, Some(&[before]));
        let stood = Position { offset: Some(9), commit: 2, owner: 5, ..Position::default() };
        let mut before = Positions::default();
        before.extend([(partition(3), stood)]);
        assert_eq!(scan([&old]).unwrap().positions, before);
        let mut writer = Writer::new(WITHOUT_CLAIMS);
        let at: Written = ("ads".to_owned(), 3, Some(9), None, 2, 5);
        writer.put_as::<(Written, WrittenLog)>(&(at, WrittenLog::None));
        let mut old = RecordBatch::default();
        old.put(POSITIONS, Some(&[&writer.finish().unwrap()]));
        assert_eq!(scan([&old]).unwrap().positions, before);
        let value = out.messages().next().unwrap().value.unwrap().to_vec();
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 1;
            let mut out = RecordBatch::default();
            out.put(POSITIONS, Some(&[&damaged]));
            assert!(scan([&out]).is_err(), "byte {at}");
        }
    }
}
