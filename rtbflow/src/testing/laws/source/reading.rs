//! One life of a source: opened, all partitions assigned, read.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, select};

use crate::clock::{Clock, SystemClock};
use crate::position::{JobName, Position};
use crate::record::Partition;
use crate::source::{
    Assignment, Batch, Context, Delivery, Feed, PartitionInput, Source, SourceEvent, TaskInput,
};

/// An offset for each partition.
pub(super) type Offsets = BTreeMap<Partition, i64>;

/// An opened source that has all its partitions.
pub(super) struct Reading<S: Source> {
    feed: S::Feed,
    assignments: Vec<Assignment<S::Batch>>,
}

/// How far to read.
#[derive(Clone, Copy)]
pub(super) enum Until<'a> {
    /// Until each partition has ended.
    Finished,
    /// Until each partition has ended or has been proved to stand at its end.
    AtEnd,
    /// Up to these offsets.
    Offsets(&'a Offsets),
}

/// What a source is given when it is opened, with a job that is new.
#[expect(clippy::expect_used, reason = "the name is legal: letters, a dash and hexadecimal digits")]
pub(super) fn context(until_end: bool) -> Context {
    let job = format!("laws-{:016x}", rand::random::<u64>());
    Context {
        job: JobName::new(job).expect("a legal name"),
        clock: Arc::new(SystemClock),
        until_end,
        idle_timeout: Duration::from_secs(1),
        instance: None,
    }
}

impl<S: Source<Batch: Batch>> Reading<S> {
    /// Opens the source and waits until all partitions are assigned.
    #[expect(clippy::panic, reason = "a law that is broken panics")]
    pub(super) async fn open(source: &S, until_end: bool, all: Vec<Partition>) -> Self {
        let mut seen: HashSet<Partition> = HashSet::new();
        let mut feed = match source.open(context(until_end)).await {
            Ok(feed) => feed,
            Err(error) => panic!("open: {error:?}"),
        };
        let mut assignments: Vec<Assignment<S::Batch>> = Vec::new();
        while !all.iter().all(|partition| seen.contains(partition)) {
            match feed.next().await {
                Ok(SourceEvent::Assigned(assignment)) => {
                    assignment.tasks.iter().for_each(|input| note_assigned(input, &mut seen));
                    assignments.push(assignment);
                }
                Ok(SourceEvent::Revoked(_)) => {
                    assignments.clear();
                    seen.clear();
                }
                Err(error) => panic!("wait for an assignment: {error:?}"),
            }
        }
        let reading = Self { feed, assignments };
        reading.has_each_task_once();
        reading
    }

    fn has_each_task_once(&self) {
        let tasks = self.assignments.iter().flat_map(|one| &one.tasks).map(|input| input.task);
        let mut seen = HashSet::new();
        tasks.for_each(|task| assert!(seen.insert(task), "task {task} twice"));
    }

    /// Starts the reading; a partition that is not named starts where nothing was committed.
    pub(super) fn begin(&mut self, from: &Offsets) {
        for assignment in &mut self.assignments {
            let partitions = assignment.tasks.iter().flat_map(|input| &input.partitions);
            let positions = partitions.map(|input| {
                let offset = from.get(&input.partition).copied();
                (input.partition, Position { offset, commit: 1, owner: 1, ..Position::default() })
            });
            let positions = positions.collect();
            assignment.begin(positions);
        }
    }

    /// All partitions.
    pub(super) fn inputs(&mut self) -> impl Iterator<Item = &mut PartitionInput<S::Batch>> {
        let tasks = self.assignments.iter_mut().flat_map(|assignment| &mut assignment.tasks);
        tasks.flat_map(|input| &mut input.partitions)
    }

    /// The offsets that are read of each partition that has any.
    pub(super) async fn read(&mut self, until: Until<'_>) -> BTreeMap<Partition, Vec<i64>> {
        let Self { feed, assignments } = self;
        let tasks = assignments.iter_mut().flat_map(|assignment| &mut assignment.tasks);
        let inputs = tasks.flat_map(|input| &mut input.partitions);
        let all = inputs.map(|input| async move { (input.partition, read(input, until).await) });
        let all = futures::future::join_all(all);
        let read = while_listening(feed, all).await.into_iter();
        read.filter(|(_, offsets)| !offsets.is_empty()).collect()
    }

    pub(super) async fn close(self) {
        drop(self.assignments);
        self.feed.close().await;
    }
}

async fn read<B: Batch>(input: &mut PartitionInput<B>, until: Until<'_>) -> Vec<i64> {
    let partition = input.partition;
    let mut offsets: Vec<i64> = Vec::new();
    let beyond = |offset: i64| match until {
        Until::Finished | Until::AtEnd => false,
        Until::Offsets(to) => to.get(&partition).is_none_or(|to| offset >= *to),
    };
    loop {
        let delivery = next(input).await;
        stands_behind(partition, &offsets, &delivery);
        match delivery {
            Delivery::Batch(batch) => {
                if !note_batch(partition, &batch, &mut offsets, beyond) {
                    return offsets;
                }
            }
            Delivery::AtEnd { .. } if matches!(until, Until::AtEnd) => return offsets,
            Delivery::AtEnd { .. } | Delivery::Reached { .. } => {}
            Delivery::Finished => {
                // Nothing follows: neither a delivery nor an error.
                let after = input.deliveries.next().await.map(|_| "more");
                assert!(after.is_none(), "{partition}: {after:?}");
                return offsets;
            }
        }
    }
}

/// A task is given its partitions, which no other has.
fn note_assigned<B>(input: &TaskInput<B>, seen: &mut HashSet<Partition>) {
    assert!(input.task.number < input.task.of, "task {}", input.task);
    for input in &input.partitions {
        assert!(seen.insert(input.partition), "{} twice", input.partition);
    }
}

/// The next delivery of a partition, which says when it is finished.
#[expect(clippy::panic, reason = "a law that is broken panics")]
async fn next<B: Batch>(input: &mut PartitionInput<B>) -> Delivery<B> {
    let partition = input.partition;
    match input.deliveries.next().await {
        Some(Ok(delivery)) => delivery,
        Some(Err(error)) => panic!("read {partition}: {error:?}"),
        None => panic!("{partition} ended without saying that it is finished"),
    }
}

/// Notes the offsets of a batch, which ascend; false where one lies beyond what is to be read.
fn note_batch<B: Batch>(
    partition: Partition,
    batch: &B,
    offsets: &mut Vec<i64>,
    beyond: impl Fn(i64) -> bool,
) -> bool {
    for incoming in (0..batch.len()).map_while(|index| batch.get(index)) {
        let (last, offset) = (offsets.last().copied(), incoming.offset);
        if beyond(offset) {
            return false;
        }
        assert!(Some(offset) > last, "{partition}: offset {offset} after {last:?}");
        offsets.push(offset);
    }
    true
}

/// Where a partition says that it stands, or ends, is not before what was read of it.
fn stands_behind<B>(partition: Partition, offsets: &[i64], delivery: &Delivery<B>) {
    let read = offsets.last().map_or(i64::MIN, |last| last + 1);
    match delivery {
        Delivery::AtEnd { asked, offset } => {
            let read = read.max(0);
            assert!(*offset >= read, "{partition}: the end at {offset}, behind {read}");
            assert!(*asked <= now(), "{partition}: the end was asked for in the future");
        }
        Delivery::Reached { offset, .. } => {
            assert!(*offset >= read, "{partition}: it stands at {offset}, behind {read}");
        }
        Delivery::Batch(_) | Delivery::Finished => {}
    }
}

/// The time now, for proofs of the end that the source makes with the same clock.
pub(super) fn now() -> crate::Timestamp {
    SystemClock.now()
}

/// Waits for a future while events are listened to, as a job does.
pub(super) async fn while_listening<F: Feed, T>(
    feed: &mut F,
    future: impl Future<Output = T>,
) -> T {
    let mut future = pin!(future);
    loop {
        match select(pin!(feed.next()), &mut future).await {
            Either::Right((answer, _)) => return answer,
            Either::Left((event, _)) => {
                assert!(event.is_ok(), "next, while reading: {event:?}", event = event.err());
            }
        }
    }
}
