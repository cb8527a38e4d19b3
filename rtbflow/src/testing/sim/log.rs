//! The log that is read: partitions of records, with everything that a real one has in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::dead_letter::{DeadLetter, Original};
use crate::either::Either;
use crate::error::BadRecord;
use crate::position::Task;
use crate::record::{Origin, Partition, Topic};
use crate::source::{Batch, Content, Incoming};
use crate::testing::sim::Chance;
use crate::time::Timestamp;

/// Topics in memory: the same for all instances of a simulation. Clones share them.
#[derive(Clone)]
pub struct SimLog<T> {
    tasks: u32,
    out_of_orderness: Duration,
    partitions: Arc<Vec<SimPartition<T>>>,
}

/// A partition and its records.
#[derive(Clone)]
struct SimPartition<T> {
    partition: Partition,
    records: Vec<Incoming<T>>,
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
        let topic = Topic::new(topic);
        let lane =
            |(number, records)| SimPartition { partition: Partition::new(topic, number), records };
        let partitions = Arc::new((0_i32..).zip(partitions).map(lane).collect());
        Self { tasks: tasks.max(1), out_of_orderness, partitions }
    }

    /// Values that were made before, laid out as a real log is: some offsets are missing, and here and
    /// there stands a tombstone or a record that does not decode.
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
            records
        };
        let partitions = values.into_iter().map(lay_out).collect();
        Self::new(topic, tasks, out_of_orderness, partitions)
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

    /// The task with this number, and its partitions.
    pub(crate) fn task(&self, number: u32) -> (Task, Vec<Partition>) {
        let own = |partition: &Partition| {
            u32::try_from(partition.number).is_ok_and(|partition| partition % self.tasks == number)
        };
        let partitions = self.partitions.iter().map(|lane| lane.partition).filter(own);
        (Task { number, of: self.tasks }, partitions.collect())
    }

    fn records(&self, partition: Partition) -> &[Incoming<T>] {
        let lane = self.partitions.iter().find(|lane| lane.partition == partition);
        lane.map(|lane| lane.records.as_slice()).unwrap_or_default()
    }

    /// The records from an offset on, at most this many.
    pub(crate) fn batch(&self, partition: Partition, from: i64, most: usize) -> SimBatch<T> {
        let records = self.records(partition);
        let first = records.partition_point(|record| record.offset < from);
        SimBatch(records.iter().skip(first).take(most).cloned().collect())
    }

    /// The offset after the last record.
    pub(crate) fn end(&self, partition: Partition) -> i64 {
        self.records(partition).last().map_or(0, |record| record.offset + 1)
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
        Self {
            tasks: left.tasks,
            out_of_orderness: left.out_of_orderness.max(right.out_of_orderness),
            partitions: Arc::new(lanes.collect()),
        }
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
        SimPartition { partition: self.partition, records: self.records.iter().map(map).collect() }
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
