//! The log that is read: partitions of records, with everything that a real one has in it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::dead_letter::{DeadLetter, Original};
use crate::either::Either;
use crate::error::BadRecord;
use crate::log::TopicId;
use crate::position::Task;
use crate::record::{Origin, Partition, Topic};
use crate::source::{Batch, Content, Incoming};
use crate::testing::sim::Chance;
use crate::testing::sim::topic_id::id_of;
use crate::time::Timestamp;

/// Topics in memory: the same for all instances of a simulation. Clones share them.
#[derive(Clone)]
pub struct SimLog<T> {
    tasks: u32,
    out_of_orderness: Duration,
    partitions: Arc<Vec<SimPartition<T>>>,
    /// Which of these a partition is, and which partitions a task has.
    index: Arc<BTreeMap<Partition, usize>>,
    of_tasks: Arc<Vec<Vec<Partition>>>,
    /// What the topics hold once they were made anew.
    anew: Option<Arc<Self>>,
}

/// A partition and its records.
#[derive(Clone)]
struct SimPartition<T> {
    partition: Partition,
    topic_id: TopicId,
    records: Vec<Incoming<T>>,
    /// The next offset to be written: behind the last record, and behind the markers that follow it.
    end: i64,
    /// The leaders' terms, and where each began.
    terms: Vec<(i64, i32)>,
}

impl<T> fmt::Debug for SimLog<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.partitions.iter().map(|lane| (lane.partition, lane.records.len()));
        let lengths: Vec<_> = lengths.collect();
        write!(f, "SimLog(records {lengths:?}, {} tasks)", self.tasks)
    }
}

impl<T: Clone + Send + Sync + 'static> SimLog<T> {
    /// A log of these partitions; partition p belongs to task p mod `tasks`. Event times may be out of
    /// order by this much.
    #[must_use]
    pub fn new(
        topic: &str,
        tasks: u32,
        out_of_orderness: Duration,
        partitions: Vec<Vec<Incoming<T>>>,
    ) -> Self {
        let end = |records: &Vec<Incoming<T>>| records.last().map_or(0, |last| last.offset + 1);
        let partitions = partitions.into_iter().map(|records| (end(&records), Vec::new(), records));
        Self::of(topic, tasks, out_of_orderness, partitions.collect())
    }

    /// Partitions with their ends, their leaders' terms and their records.
    fn of(
        topic: &str,
        tasks: u32,
        out_of_orderness: Duration,
        partitions: Vec<(i64, Vec<(i64, i32)>, Vec<Incoming<T>>)>,
    ) -> Self {
        let topic = Topic::new(topic);
        let topic_id = id_of(topic.name());
        let lane = |(number, (end, terms, records))| {
            let partition = Partition::new(topic, number);
            SimPartition { partition, topic_id, records, end, terms }
        };
        let partitions = (0_i32..).zip(partitions).map(lane).collect();
        Self::assembled(tasks.max(1), out_of_orderness, partitions)
    }

    fn assembled(tasks: u32, out_of_orderness: Duration, partitions: Vec<SimPartition<T>>) -> Self {
        let index = partitions.iter().enumerate().map(|(index, lane)| (lane.partition, index));
        let index = Arc::new(index.collect());
        let of = |task: u32| {
            let own = |partition: &Partition| {
                u32::try_from(partition.number).is_ok_and(|number| number % tasks == task)
            };
            partitions.iter().map(|lane| lane.partition).filter(own).collect()
        };
        let of_tasks = Arc::new((0..tasks).map(of).collect());
        let partitions = Arc::new(partitions);
        Self { tasks, out_of_orderness, partitions, index, of_tasks, anew: None }
    }

    /// The same topics, which are deleted at some time and made anew with what another log holds: it must have the
    /// same topics, partitions and tasks, and other values. Whoever reads begins anew then, by choice, and each
    /// record of the second must be applied; of the first, those that were committed by then.
    ///
    /// For pipelines without state: what a window holds of the first depends on when that was.
    #[must_use]
    pub fn made_anew(self, other: Self) -> Self {
        let anew = |lane: &SimPartition<T>| {
            let topic_id = TopicId::new(lane.topic_id.bits() ^ 1 << 127);
            SimPartition { topic_id, ..lane.clone() }
        };
        let partitions = other.partitions.iter().map(anew).collect();
        let other = Self::assembled(other.tasks, other.out_of_orderness, partitions);
        Self { anew: Some(Arc::new(other)), ..self }
    }

    /// Values that were made before, laid out as a real log is: some offsets are missing, here and there
    /// stands a tombstone or a record that does not decode, leaders' terms begin, and behind the last record stand
    /// markers.
    #[must_use]
    pub fn laid_out(
        chance: &Chance,
        topic: &str,
        tasks: u32,
        out_of_orderness: Duration,
        values: Vec<Vec<(T, Timestamp)>>,
    ) -> Self {
        let lay_out = |values: Vec<(T, Timestamp)>| {
            let mut offset = i64::from(chance.one_in(3)) * 100;
            let mut records = Vec::new();
            let mut put = |offset: &mut i64, content| {
                records.push(Incoming { offset: *offset, content });
                *offset += 1 + i64::from(chance.one_in(8)) * 3;
            };
            for (value, at) in values {
                if chance.one_in(25) {
                    put(&mut offset, Content::Tombstone);
                }
                if chance.one_in(25) {
                    put(&mut offset, Content::Bad(BadRecord::new("does not decode")));
                }
                put(&mut offset, Content::Value(value, at));
            }
            // The markers of transactions, of which those that were aborted leave nothing else.
            let last = records.last().map_or(0, |last| last.offset + 1);
            let end = last + chance.pick([0, 0, 1, 2, 40]);
            let count = chance.pick([0, 1, 2, 4]);
            let from = |_| i64::try_from(chance.between(0..end.unsigned_abs() + 1)).unwrap_or(0);
            let mut froms: Vec<i64> = (1..count).map(from).collect();
            froms.sort_unstable();
            let froms = std::iter::once(0).chain(froms).take(count);
            let terms = froms.zip((0..).step_by(3));
            (end, terms.collect(), records)
        };
        let partitions = values.into_iter().map(lay_out).collect();
        Self::of(topic, tasks, out_of_orderness, partitions)
    }

    /// Records in all partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.partitions.iter().map(|lane| lane.records.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the topics.
    pub(crate) fn topics(&self) -> Vec<String> {
        let mut topics: Vec<Topic> =
            self.partitions.iter().map(|lane| lane.partition.topic).collect();
        topics.dedup();
        topics.into_iter().map(|topic| topic.to_string()).collect()
    }

    pub(crate) fn tasks(&self) -> u32 {
        self.tasks
    }

    pub(crate) fn out_of_orderness(&self) -> Duration {
        self.out_of_orderness
    }

    /// The log as it is once it was made anew this often.
    pub(crate) fn generation(&self, number: usize) -> &Self {
        match &self.anew {
            Some(anew) if number > 0 => anew,
            _ => self,
        }
    }

    /// Whether it is made anew one day.
    pub(crate) fn is_made_anew(&self) -> bool {
        self.anew.is_some()
    }

    /// All partitions.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        self.partitions.iter().map(|lane| lane.partition)
    }

    /// The task with this number, and its partitions.
    pub(crate) fn task(&self, number: u32) -> (Task, Vec<Partition>) {
        let partitions = usize::try_from(number).ok().and_then(|task| self.of_tasks.get(task));
        (Task { number, of: self.tasks }, partitions.cloned().unwrap_or_default())
    }

    fn lane(&self, partition: Partition) -> Option<&SimPartition<T>> {
        self.index.get(&partition).and_then(|index| self.partitions.get(*index))
    }

    fn records(&self, partition: Partition) -> &[Incoming<T>] {
        self.lane(partition).map(|lane| lane.records.as_slice()).unwrap_or_default()
    }

    /// The topic's id.
    pub(crate) fn topic_id(&self, partition: Partition) -> Option<TopicId> {
        self.lane(partition).map(|lane| lane.topic_id)
    }

    /// The records from an offset on and below another, at most this many.
    pub(crate) fn batch(
        &self,
        partition: Partition,
        from: i64,
        below: i64,
        most: usize,
    ) -> SimBatch<T> {
        let records = self.records(partition);
        let first = records.partition_point(|record| record.offset < from);
        let records = records.iter().skip(first).take(most);
        SimBatch(records.take_while(|record| record.offset < below).cloned().collect())
    }

    /// The offset of the first record from this one on.
    pub(crate) fn next_record(&self, partition: Partition, from: i64) -> Option<i64> {
        let records = self.records(partition);
        let first = records.partition_point(|record| record.offset < from);
        records.get(first).map(|record| record.offset)
    }

    /// The offset of the last record below this one.
    pub(crate) fn last_below(&self, partition: Partition, offset: i64) -> Option<i64> {
        let records = self.records(partition);
        let last = records.partition_point(|record| record.offset < offset).checked_sub(1)?;
        records.get(last).map(|record| record.offset)
    }

    /// How many records are below an offset.
    pub(crate) fn below(&self, partition: Partition, offset: i64) -> u64 {
        self.records(partition).partition_point(|record| record.offset < offset) as u64
    }

    /// The offsets below another of the records that do not decode.
    pub(crate) fn bad_below(
        &self,
        partition: Partition,
        from: i64,
        below: i64,
    ) -> impl Iterator<Item = i64> + '_ {
        let records = self.records(partition);
        let first = records.partition_point(|record| record.offset < from);
        let records = records.iter().skip(first).take_while(move |record| record.offset < below);
        let bad = records.filter(|record| matches!(record.content, Content::Bad(_)));
        bad.map(|record| record.offset)
    }

    /// The leader's term in which the record at an offset was written; `None` where the log knows no terms.
    pub(crate) fn term(&self, partition: Partition, offset: i64) -> Option<i32> {
        let terms = &self.lane(partition)?.terms;
        let last = terms.partition_point(|(from, _)| *from <= offset).checked_sub(1)?;
        terms.get(last).map(|(_, epoch)| *epoch)
    }

    /// Where the term ends in which the record at an offset was written.
    pub(crate) fn term_end(&self, partition: Partition, offset: i64) -> i64 {
        let terms = self.lane(partition).map(|lane| lane.terms.as_slice()).unwrap_or_default();
        let next = terms.get(terms.partition_point(|(from, _)| *from <= offset));
        next.map_or(i64::MAX, |(from, _)| *from)
    }

    /// The next offset to be written.
    pub(crate) fn end(&self, partition: Partition) -> i64 {
        self.lane(partition).map_or(0, |lane| lane.end)
    }
}

impl<L, R> SimLog<Either<L, R>>
where
    L: Clone + Send + Sync + 'static,
    R: Clone + Send + Sync + 'static,
{
    /// Two topics that are read together: a task has the partitions that it has of each.
    ///
    /// # Panics
    /// If they are laid out for different numbers of tasks, or have the same name.
    #[must_use]
    pub fn co_grouped(left: &SimLog<L>, right: &SimLog<R>) -> Self {
        assert_eq!(left.tasks, right.tasks, "co-grouped topics have the same tasks");
        let (lefts, rights) = (left.topics(), right.topics());
        assert!(!lefts.iter().any(|topic| rights.contains(topic)), "two topics have two names");
        let left_lanes = left.partitions.iter().map(|lane| lane.map(Either::Left));
        let lanes = left_lanes.chain(right.partitions.iter().map(|lane| lane.map(Either::Right)));
        let out_of_orderness = left.out_of_orderness.max(right.out_of_orderness);
        Self::assembled(left.tasks, out_of_orderness, lanes.collect())
    }
}

impl<T: Clone> SimPartition<T> {
    fn map<U>(&self, f: impl Fn(T) -> U) -> SimPartition<U> {
        let map = |record: &Incoming<T>| {
            let content = match record.content.clone() {
                Content::Value(value, at) => Content::Value(f(value), at),
                Content::Bad(reason) => Content::Bad(reason),
                Content::Tombstone => Content::Tombstone,
            };
            Incoming { offset: record.offset, content }
        };
        let records = self.records.iter().map(map).collect();
        let (partition, topic_id, end) = (self.partition, self.topic_id, self.end);
        SimPartition { partition, topic_id, records, end, terms: self.terms.clone() }
    }
}

/// Some records of one partition, on their way into a task.
pub struct SimBatch<T>(Vec<Incoming<T>>);

impl<T> fmt::Debug for SimBatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimBatch({} records)", self.0.len())
    }
}

impl<T> SimBatch<T> {
    /// The offset after the last of them.
    pub(crate) fn end(&self) -> Option<i64> {
        self.0.last().map(|record| record.offset + 1)
    }
}

impl<T: Clone + Send + Sync + 'static> Batch for SimBatch<T> {
    type Value = T;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Option<Incoming<T>> {
        self.0.get(index).cloned()
    }

    fn dead_letter(
        &self,
        partition: Partition,
        offset: i64,
        reason: BadRecord,
    ) -> Option<DeadLetter> {
        self.0.iter().find(|record| record.offset == offset)?;
        let origin = Origin::new(partition, offset);
        Some(DeadLetter::record(origin, Original::default(), reason))
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Incoming<T>>()
    }
}
