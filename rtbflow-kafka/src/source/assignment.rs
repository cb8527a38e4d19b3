//! What the group has assigned to this instance: tasks, with a reader for each of their partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::epoch::{JobName, Position, Task};
use rtbflow::source::{Layout, PartitionInput, RawBatch, TaskInput};
use rtbflow::{Error, Partition, Result};
use tracing::{info, warn};

use crate::client::native::Queue;
use crate::client::offsets::Offsets;
use crate::source::mailbox::{Begin, EndOffsets, ReaderMailbox, StartOffsets};
use crate::source::partition_reader::{PartitionReader, Served};
use crate::source::range::{Beginning, LogRange, begin_at};
use crate::source::truncation::OffsetAndEpoch;
use crate::source::watchdog::Advice;

/// What the group has assigned, from one rebalance to the next.
pub(crate) struct Assigned {
    /// The number of the assignment.
    pub(crate) generation: u64,
    /// The tasks.
    pub(crate) tasks: Vec<Task>,
    readers: Vec<PartitionReader>,
    /// The claimed positions, until reading begins.
    positions: Option<BTreeMap<Partition, Position>>,
}

/// What one pass over the partitions has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    /// Whether there may be more.
    pub(crate) served: Served,
    /// Whether an offset turned out to be out of range: where the logs begin has to be asked.
    pub(crate) out_of_range: bool,
}

/// Whether reading has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// There was nothing to begin.
    Nothing,
    /// Where some partition begins or ends is not known: it has to be asked again.
    Unknown,
    /// All partitions know where they begin.
    All,
}

impl Assigned {
    /// Takes over tasks by their numbers; returns what they read too.
    ///
    /// # Errors
    /// If there is no such task: a topic has got more partitions.
    pub(crate) fn new(
        generation: u64,
        numbers: &[i32],
        layout: &Layout,
        open: impl Fn(Partition) -> (PartitionReader, PartitionInput<RawBatch>),
    ) -> Result<(Self, Vec<TaskInput<RawBatch>>)> {
        let (mut tasks, mut readers, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
        for number in numbers {
            // A number that is none of a task is treated as one that is not there yet: the topics are counted anew.
            let found = u32::try_from(*number).ok().and_then(|number| layout.task(number));
            let (task, members) = found.ok_or_else(|| {
                let tasks = layout.tasks();
                Error::transient(format!(
                    "read Kafka: the group hands out partition {number}, and there were {tasks} when the \
                     source was opened"
                ))
            })?;
            let opened = members.into_iter().map(&open);
            let (opened, partitions): (Vec<_>, Vec<_>) = opened.unzip();
            readers.extend(opened);
            tasks.push(task);
            inputs.push(TaskInput::new(task, partitions));
        }
        Ok((Self { generation, tasks, readers, positions: None }, inputs))
    }

    /// All its partitions.
    pub(crate) fn partitions(&self) -> Vec<Partition> {
        self.readers.iter().map(|reader| reader.partition).collect()
    }

    /// Notes the offsets below which everything is committed.
    pub(crate) fn committed(&mut self, offsets: &Offsets) {
        for reader in &mut self.readers {
            if let Some(offset) = offsets.get(&reader.partition) {
                reader.committed(*offset);
            }
        }
    }

    /// The positions that reading is to begin at or stands at, where their leader epochs are known, of topics that
    /// are still the same as far as is known.
    pub(crate) fn offsets_to_validate(&self) -> BTreeMap<Partition, OffsetAndEpoch> {
        let to_validate = |reader: &PartitionReader| {
            // Without an offset or a leader epoch there is nothing to compare.
            let at = match &self.positions {
                Some(positions) => *positions.get(&reader.partition)?,
                None => reader.position(),
            };
            let (offset, leader_epoch) = (at.offset?, at.log?.leader_epoch?);
            Some((reader.partition, OffsetAndEpoch { offset, leader_epoch }))
        };
        self.readers.iter().filter_map(to_validate).collect()
    }

    /// Takes the claimed positions. Whether they are for this assignment and of any use.
    pub(crate) fn prepare(&mut self, begin: Begin) -> bool {
        let ours = self.generation == begin.generation && !self.readers.is_empty();
        if ours {
            self.positions = Some(begin.positions.into_iter().collect());
        }
        ours
    }

    /// Lets every partition begin where it is to, once positions, starts and ends are known.
    ///
    /// # Errors
    /// If a queue cannot be made.
    pub(crate) fn begin(
        &mut self,
        starts: &StartOffsets,
        ends: &Offsets,
        anew: bool,
        queue: impl Fn() -> Result<Queue>,
    ) -> Result<Begun> {
        // It has begun already: the starts were asked for by a partition that was out of range.
        let Some(positions) = self.positions.take() else { return Ok(Begun::Nothing) };
        let partitions = self.readers.iter().map(|reader| reader.partition);
        let ranges = partitions.map(|partition| range(starts, ends, partition));
        let Some(ranges) = ranges.collect::<Option<Vec<_>>>() else {
            // All begin together: the positions of a task that reads several partitions are claimed as one.
            self.positions = Some(positions);
            return Ok(Begun::Unknown);
        };
        for (reader, range) in self.readers.iter_mut().zip(ranges) {
            let partition = reader.partition;
            // One that stood nowhere yet has a position, too: it says so. One without any was not claimed, and is not
            // read: it was revoked meanwhile.
            let Some(position) = positions.get(&partition) else {
                reader.close();
                continue;
            };
            match begin_at(partition, position, &range, anew) {
                Err(error) => reader.fail(error),
                Ok(beginning) => {
                    let Beginning { from, .. } = beginning;
                    info!(%partition, from, end = range.end, "begin to read");
                    reader.begin(beginning, queue()?);
                }
            }
        }
        Ok(Begun::All)
    }

    /// Fails the partitions whose offset was out of range while they were read. Whether that is decided for all of
    /// them: of one without a leader it is not known where its log begins and ends.
    pub(crate) fn fail_out_of_range(
        &mut self,
        starts: &StartOffsets,
        ends: &Offsets,
        anew: bool,
    ) -> bool {
        let mut decided = true;
        for reader in self.readers.iter_mut().filter(|reader| reader.out_of_range) {
            let Some(range) = range(starts, ends, reader.partition) else {
                decided = false;
                continue;
            };
            let error = match begin_at(reader.partition, &reader.position(), &range, false).err() {
                // By choice reading begins anew, when the source is opened again.
                Some(error) if !anew => error,
                error => begin_again(reader, &range, error),
            };
            reader.out_of_range = false;
            reader.fail(error);
        }
        decided
    }

    /// Notes where the partitions end; `positions` are what came out of the native queues.
    /// Returns what has to be done for all of them.
    pub(crate) fn note_ends(&mut self, ends: &EndOffsets, positions: &Offsets) -> Advice {
        let mut worst = Advice::Nothing;
        for reader in &mut self.readers {
            // Without a leader there is no end, and no answer proves nothing: neither that the partition is quiet
            // nor that it stands still.
            let Some(end) = ends.ends.get(&reader.partition) else { continue };
            let position = positions.get(&reader.partition).copied();
            let leader_epoch = ends.leader_epochs.get(&reader.partition).copied();
            let advice = reader.note_end(*end, leader_epoch, position, ends.asked);
            match advice {
                Advice::Nothing => {}
                Advice::Forward => reader.forward(),
                Advice::Assign | Advice::Reopen => {
                    warn!(partition = %reader.partition, at = reader.next, end,
                        "the partition has records, but librdkafka delivers none");
                    worst = if worst == Advice::Reopen { worst } else { advice };
                }
            }
        }
        worst
    }

    fn open(&self) -> impl Iterator<Item = &PartitionReader> {
        self.readers.iter().filter(|reader| reader.is_open())
    }

    /// The open partitions, each where it stands.
    ///
    /// # Errors
    /// If an offset cannot be put into the list.
    pub(crate) fn list(&self) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for reader in self.open() {
            let Partition { topic, number } = reader.partition;
            list.add_partition_offset(topic.name(), number, Offset::Offset(reader.next))?;
        }
        Ok(list)
    }

    /// Forwards the open partitions to their own queues.
    pub(crate) fn forward(&self) {
        self.open().for_each(PartitionReader::forward);
    }

    /// Forwards nothing more.
    pub(crate) fn unforward(&self) {
        self.readers.iter().for_each(PartitionReader::unforward);
    }

    /// Delivers what the tasks have capacity for.
    pub(crate) fn serve(&mut self, most_records: usize) -> Round {
        let mut round = Round { served: Served::Idle, out_of_range: false };
        for reader in &mut self.readers {
            let before = reader.out_of_range;
            if reader.serve(most_records) == Served::Busy {
                round.served = Served::Busy;
            }
            round.out_of_range |= reader.out_of_range && !before;
        }
        round
    }

    /// Whether something may have come out of the native queues that is never delivered.
    pub(crate) fn may_have_skipped(&self) -> bool {
        self.readers.iter().any(PartitionReader::may_have_skipped)
    }

    /// Notes where partitions have skipped what is never delivered: transaction markers and aborted records.
    pub(crate) fn skip_to(&mut self, positions: &Offsets) {
        for reader in self.readers.iter_mut().filter(|reader| reader.may_have_skipped()) {
            if let Some(position) = positions.get(&reader.partition) {
                reader.skip_to(*position);
            }
        }
    }
}

/// A reader of a partition that ends at `until`, and what its task reads.
pub(crate) fn open(
    job: &JobName,
    partition: Partition,
    until: Option<i64>,
    patience: u32,
    mailbox: &Arc<ReaderMailbox>,
) -> (PartitionReader, PartitionInput<RawBatch>) {
    // Without an end it is read for ever.
    let until = until.unwrap_or(i64::MAX);
    let (reader, deliveries) =
        PartitionReader::new(job, partition, until, patience, Arc::clone(mailbox));
    (reader, PartitionInput::new(partition, deliveries))
}

/// The error of a partition whose offset the broker does not find, although the log has it, or reading begins anew.
fn begin_again(reader: &PartitionReader, range: &LogRange, error: Option<Error>) -> Error {
    let LogRange { start, end, .. } = range;
    let attempt = format!(
        "read {} from offset {}: the broker does not find it, and the log goes from {start} to {end}: begin again \
         where it was committed",
        reader.partition, reader.next
    );
    match error {
        Some(error) => Error::transient(attempt).because(error),
        None => Error::transient(attempt),
    }
}

/// The log of a partition as it is; `None` where it is not known where it begins or ends.
fn range(starts: &StartOffsets, ends: &Offsets, partition: Partition) -> Option<LogRange> {
    Some(LogRange {
        topic_id: starts.ids.get(&partition.topic).copied(),
        start: *starts.offsets.get(&partition)?,
        end: *ends.get(&partition)?,
        cut: starts.cuts.get(&partition).copied(),
    })
}

#[cfg(test)]
mod tests {
    use rtbflow::Topic;

    use super::*;

    #[test]
    fn an_offset_out_of_range_is_decided_once_it_is_known_where_its_log_begins_and_ends() {
        let (job, mailbox) = (JobName::new("clicks").unwrap(), Arc::default());
        let layout = Layout::new(vec![(Topic::new("ads"), 1)]).unwrap();
        let open = |partition| open(&job, partition, None, 2, &mailbox);
        let (mut assigned, _inputs) = Assigned::new(1, &[0], &layout, open).unwrap();
        let partition = assigned.partitions()[0];
        assigned.readers[0].out_of_range = true;
        let starts = |offsets| StartOffsets {
            generation: 1,
            offsets,
            ids: BTreeMap::new(),
            cuts: Offsets::new(),
        };
        let without_leader = starts(Offsets::new());
        assert!(!assigned.fail_out_of_range(&without_leader, &Offsets::new(), false));
        assert!(assigned.readers[0].out_of_range, "it is asked for again");
        let ends = Offsets::from([(partition, 9)]);
        assert!(assigned.fail_out_of_range(&starts(Offsets::from([(partition, 7)])), &ends, false));
        assert!(!assigned.readers[0].is_open(), "retention has removed what was not read");
    }
}
