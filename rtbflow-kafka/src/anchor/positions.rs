//! Positions as they stand in the changelog: one record for all partitions of a task, the last of each commit.

use std::collections::BTreeMap;

use bytes::Bytes;
use rtbflow::epoch::{Epoch, Log, Position, Step};
use rtbflow::source::RawRecord;
use rtbflow::state::{BucketChange, Chunk, ChunkReader, ChunkWriter};
use rtbflow::{Error, Partition, Result, Timestamp, Topic};

use crate::producer::batch::RecordBatch;

/// The key of the positions.
const POSITIONS: &[u8] = b"positions";
/// The version in which positions are written, and the earlier ones that can still be read: without where a
/// partition stood when it was claimed, and without the log that its offset is of either.
const POSITIONS_VERSION: u16 = 3;
const WITHOUT_CLAIMS: u16 = 2;
const WITHOUT_LOGS: u16 = 1;

/// Positions as they stand, and as they stood when another owner claimed them last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    current: BTreeMap<Partition, Position>,
    /// Only the number of commits and the owner.
    claimed_at: BTreeMap<Partition, Position>,
}

impl Positions {
    pub(crate) fn get(&self, partition: &Partition) -> Option<&Position> {
        self.current.get(partition)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Partition, &Position)> {
        self.current.iter()
    }

    pub(crate) fn extend(&mut self, positions: impl IntoIterator<Item = (Partition, Position)>) {
        self.current.extend(positions);
    }

    /// Gives a partition this owner.
    pub(crate) fn claim(&mut self, partition: Partition, owner: u64) {
        let position = self.current.entry(partition).or_default();
        let Position { commit, owner: former, .. } = *position;
        (position.commit, position.owner) = (commit + 1, owner);
        // Claimed again by the same owner, whose last epoch is still to be found behind the claim before.
        if former != owner {
            let stood = Position { commit, owner: former, ..Position::default() };
            self.claimed_at.insert(partition, stood);
        }
    }

    /// Adds a partition as it was written.
    fn add(&mut self, at: Written, log: WrittenLog, claimed_at: WrittenClaim) -> Result<()> {
        let (topic, number, offset, time, commit, owner) = at;
        let event_time = time.map(Timestamp::from_millis);
        let log = log.map(|(topic_id, leader_epoch)| {
            Ok::<_, Error>(Log { topic_id: topic_id.parse()?, leader_epoch })
        });
        let position = Position { offset, event_time, commit, owner, log: log.transpose()? };
        let partition = Partition::new(Topic::new(&topic), number);
        self.current.insert(partition, position);
        let stood =
            claimed_at.map(|(commit, owner)| Position { commit, owner, ..Position::default() });
        self.claimed_at.extend(stood.map(|stood| (partition, stood)));
        Ok(())
    }

    /// What it means for an epoch that the place stands here. One that was applied just before another owner
    /// claimed the task counts as applied.
    pub(crate) fn step(&self, epoch: &Epoch) -> Step {
        match epoch.step(|partition| self.current.get(&partition)) {
            Step::Fenced if epoch.was_applied_before(|at| self.claimed_at.get(&at)) => {
                Step::Applied
            }
            step @ (Step::Apply | Step::Applied | Step::Fenced) => step,
        }
    }
}

/// A position as it is written: topic, partition, offset, event time in ms, commits, owner.
type Written = (String, i32, Option<i64>, Option<i64>, u64, u64);
/// And behind it which log it is of: the topic's id and the leader epoch.
type WrittenLog = Option<(String, Option<i32>)>;
/// And where it stood when another owner claimed it last: commits and owner.
type WrittenClaim = Option<(u64, u64)>;

/// Appends the positions to other records.
pub(crate) fn write_positions(positions: &Positions, out: &mut RecordBatch) -> Result<()> {
    let mut writer = ChunkWriter::new(POSITIONS_VERSION);
    for (partition, at) in &positions.current {
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
    // Nobody deletes positions: a record without a value is refused by the reader, for want of bytes.
    let bytes = Bytes::copy_from_slice(record.value.unwrap_or_default());
    let chunk =
        Chunk { operator: "positions".into(), bucket: 0, change: BucketChange::Append(bytes) };
    let written = ChunkReader::stored_version(&chunk);
    let earlier = [WITHOUT_LOGS, WITHOUT_CLAIMS].into_iter().find(|of| written == Some(*of));
    // One that is none of these is refused by the reader, which names it.
    let version = earlier.unwrap_or(POSITIONS_VERSION);
    let mut reader = ChunkReader::open(&chunk, version)?;
    let mut positions = Positions::default();
    let mut next = || match version {
        WITHOUT_LOGS => Ok(reader.next_entry::<Written>()?.map(|at| (at, None, None))),
        WITHOUT_CLAIMS => {
            Ok(reader.next_entry::<(Written, WrittenLog)>()?.map(|(at, log)| (at, log, None)))
        }
        _ => reader.next_entry::<(Written, WrittenLog, WrittenClaim)>(),
    };
    while let Some((at, log, claimed_at)) = next()? {
        positions.add(at, log, claimed_at)?;
    }
    Ok(Some(positions))
}

#[cfg(test)]
mod tests {
    use rtbflow::epoch::TopicId;

    use super::*;

    const PARTITION: i32 = 3;

    /// The positions in the only record of a batch.
    fn read(batch: &RecordBatch) -> Result<Option<Positions>> {
        let message = batch.messages().next().unwrap();
        let (offset, timestamp) = (0, Timestamp::default());
        read_positions(&RawRecord::new(offset, timestamp, message.key, message.value))
    }

    #[test]
    fn positions_come_back_and_so_do_those_of_earlier_builds() {
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
        assert_eq!(read(&out).unwrap(), Some(positions));
        // As a build before the logs had names wrote it, in the format of that time.
        let before = b"\x00\x01\xf5\x43\xac\x5a\x96\xa3ads\x03\x09\xc0\x02\x05";
        let mut old = RecordBatch::default();
        old.put(POSITIONS, Some(&[before]));
        let stood = Position { offset: Some(9), commit: 2, owner: 5, ..Position::default() };
        let mut before = Positions::default();
        before.extend([(partition(3), stood)]);
        assert_eq!(read(&old).unwrap().as_ref(), Some(&before));
        let mut writer = ChunkWriter::new(WITHOUT_CLAIMS);
        let at: Written = ("ads".to_owned(), 3, Some(9), None, 2, 5);
        writer.put_as::<(Written, WrittenLog)>(&(at, WrittenLog::None));
        let mut old = RecordBatch::default();
        old.put(POSITIONS, Some(&[&writer.finish().unwrap()]));
        assert_eq!(read(&old).unwrap().as_ref(), Some(&before));
    }
}
