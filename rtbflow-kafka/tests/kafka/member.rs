//! A member of a group that does what a job does, and no more: claims, reads, commits by compare-and-set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::select_all;
use rtbflow::barrier::Gathered;
use rtbflow::clock::SystemClock;
use rtbflow::epoch::{Advance, Anchor, Claim, Epoch, JobName, Memory, Position, Task, Verdict};
use rtbflow::record::{Partition, Record};
use rtbflow::sink::{Collected, Sink};
use rtbflow::source::{Context, Delivery, Feed, PartitionInput, RawBatch, Source, SourceEvent};
use rtbflow_kafka::{KafkaFeed, KafkaTopic};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::server::SOON;

pub(crate) fn context(job: &str, until_end: bool) -> Context {
    Context::new(JobName::new(job).unwrap(), Arc::new(SystemClock))
        .until_end(until_end)
        .idle_timeout(Duration::from_millis(400))
}

pub(crate) async fn open(topic: &KafkaTopic, job: &str, until_end: bool) -> KafkaFeed {
    topic.open(context(job, until_end)).await.unwrap()
}

pub(crate) async fn event(feed: &mut KafkaFeed) -> SourceEvent<RawBatch> {
    timeout(SOON, feed.next()).await.expect("an event in time").unwrap()
}

pub(crate) type Input = PartitionInput<RawBatch>;

/// The inputs of the next assignment, begun at these offsets (at the beginning where there is none).
pub(crate) async fn begin(feed: &mut KafkaFeed, from: &[(i32, i64)]) -> BTreeMap<i32, Input> {
    let SourceEvent::Assigned(mut assignment) = event(feed).await else {
        panic!("an assignment was expected");
    };
    let tasks = std::mem::take(&mut assignment.tasks);
    let inputs: Vec<Input> = tasks.into_iter().flat_map(|task| task.partitions).collect();
    let positions = inputs.iter().map(|input| {
        let offset = from.iter().find(|(number, _)| *number == input.partition.number);
        let offset = offset.map(|(_, offset)| *offset);
        (input.partition, Position { offset, ..Position::default() })
    });
    assignment.begin(positions.collect());
    inputs.into_iter().map(|input| (input.partition.number, input)).collect()
}

pub(crate) async fn delivery(input: &mut Input) -> rtbflow::Result<Delivery<RawBatch>> {
    let next = timeout(SOON, input.deliveries.next()).await;
    next.unwrap_or_else(|_| panic!("a delivery of {} in time", input.partition)).unwrap()
}

pub(crate) fn offsets(batch: &RawBatch) -> Vec<i64> {
    (0..batch.len()).map(|index| batch.get(index).unwrap().offset).collect()
}

pub(crate) fn value(batch: &RawBatch, index: usize) -> u64 {
    let value = batch.get(index).unwrap().value.unwrap();
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Reads a partition until it is finished; returns the offsets.
pub(crate) async fn finish(input: &mut Input) -> Vec<i64> {
    let partition = input.partition;
    let all = async {
        let mut read = Vec::new();
        loop {
            match delivery(input).await.unwrap() {
                Delivery::Batch(batch) => read.extend(offsets(&batch)),
                Delivery::AtEnd { .. } | Delivery::Reached { .. } => {}
                Delivery::Finished => return read,
            }
        }
    };
    timeout(SOON, all).await.unwrap_or_else(|_| panic!("{partition} finishes in time"))
}

/// Reads a partition until `count` records came; returns the offsets.
pub(crate) async fn read(input: &mut Input, count: usize) -> Vec<i64> {
    let partition = input.partition;
    let all = async {
        let mut read = Vec::new();
        while read.len() < count {
            if let Delivery::Batch(batch) = delivery(input).await.unwrap() {
                read.extend(offsets(&batch));
            }
        }
        read
    };
    timeout(SOON, all).await.unwrap_or_else(|_| panic!("{count} records of {partition} in time"))
}

/// Reads a partition until its end is proved at `offset`; returns the offsets of the records.
pub(crate) async fn at_end(input: &mut Input, end: i64) -> Vec<i64> {
    let partition = input.partition;
    let all = async {
        let mut read = Vec::new();
        loop {
            match delivery(input).await.unwrap() {
                Delivery::Batch(batch) => read.extend(offsets(&batch)),
                Delivery::AtEnd { offset, .. } if offset == end => return read,
                Delivery::AtEnd { .. } | Delivery::Reached { .. } => {}
                Delivery::Finished => panic!("nothing ends here"),
            }
        }
    };
    timeout(SOON, all)
        .await
        .unwrap_or_else(|_| panic!("{partition} is proved to end at {end} in time"))
}

/// What happened to a member.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) assigned: u32,
    pub(crate) revoked: u32,
    pub(crate) lost: u32,
    pub(crate) fenced: u32,
    pub(crate) tasks: usize,
}

/// A member that runs until it is asked to leave.
pub(crate) struct Member {
    leave: watch::Sender<bool>,
    pub(crate) seen: watch::Receiver<Seen>,
    running: JoinHandle<()>,
}

/// The place of a group: positions and the records committed.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) job: JobName,
    pub(crate) place: Memory,
    pub(crate) collected: Collected<(Partition, i64, u64)>,
}

impl Group {
    pub(crate) fn new(job: &str) -> Self {
        let place = Memory::new();
        let collected = place.collected();
        Self { job: JobName::new(job).unwrap(), place, collected }
    }

    /// Waits until this many records are committed, each once.
    pub(crate) async fn commits(&self, all: usize) {
        let complete = async {
            while self.collected.records().len() < all {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = timeout(SOON, complete).await;
        let values = self.collected.values();
        assert!(in_time.is_ok(), "{} of {all} records", values.len());
        let different: BTreeSet<_> =
            values.iter().map(|(partition, offset, _)| (partition, offset)).collect();
        assert_eq!((values.len(), different.len()), (all, all));
    }

    pub(crate) fn join(&self, topic: KafkaTopic) -> Member {
        let (leave, left) = watch::channel(false);
        let (sender, seen) = watch::channel(Seen::default());
        let running = tokio::spawn(run(self.clone(), topic, left, sender));
        Member { leave, seen, running }
    }
}

/// Waits until the members share this many tasks as evenly as it goes.
pub(crate) async fn share(members: &mut [Member], tasks: usize) {
    let (each, more) = (tasks / members.len(), tasks % members.len());
    let settled = async {
        loop {
            let mut held: Vec<usize> =
                members.iter_mut().map(|member| member.seen.borrow_and_update().tasks).collect();
            held.sort_unstable_by_key(|held| std::cmp::Reverse(*held));
            let fair = |(place, held): (usize, &usize)| *held == each + usize::from(place < more);
            if held.iter().enumerate().all(fair) {
                return;
            }
            let changes = members.iter_mut().map(|member| Box::pin(member.seen.changed()));
            let (changed, ..) = select_all(changes).await;
            changed.unwrap();
        }
    };
    timeout(SOON, settled).await.expect("the group settles in time");
}

impl Member {
    pub(crate) async fn wait(&mut self, ready: impl FnMut(&Seen) -> bool) -> Seen {
        *timeout(SOON, self.seen.wait_for(ready)).await.expect("a rebalance in time").unwrap()
    }

    pub(crate) async fn leave(self) -> Seen {
        self.leave.send(true).unwrap();
        timeout(SOON, self.running).await.expect("the member leaves in time").unwrap();
        *self.seen.borrow()
    }
}

/// One running task: asked to stop by dropping the sender, it commits and ends.
struct Running {
    stop: watch::Sender<bool>,
    handle: JoinHandle<bool>,
}

async fn run(
    group: Group,
    topic: KafkaTopic,
    mut left: watch::Receiver<bool>,
    seen: watch::Sender<Seen>,
) {
    let mut feed = open(&topic, group.job.as_str(), false).await;
    let mut running: Vec<Running> = Vec::new();
    let (committed, mut commits) = mpsc::channel::<(Partition, Position)>(1000);
    loop {
        let next = tokio::select! {
            _ = left.wait_for(|left| *left) => None,
            Some(position) = commits.recv() => {
                feed.committed(&[position]);
                continue;
            }
            event = feed.next() => Some(event.unwrap()),
        };
        match next {
            Some(SourceEvent::Assigned(mut assignment)) => {
                let mut positions = Vec::new();
                let tasks = std::mem::take(&mut assignment.tasks);
                seen.send_modify(|seen| {
                    seen.assigned += 1;
                    seen.tasks = tasks.len();
                });
                for input in tasks {
                    let partitions = input.partitions.iter().map(|input| input.partition).collect();
                    let owner = rand();
                    let claim = Claim::new(input.task, partitions, owner);
                    let claimed = group.place.claim(&group.job, &claim).await.unwrap();
                    for (part, position) in input.partitions.into_iter().zip(claimed) {
                        positions.push((part.partition, position));
                        let (stop, stopped) = watch::channel(false);
                        let work = (group.clone(), input.task, part, position);
                        let handle = tokio::spawn(work_on(work, stopped, committed.clone()));
                        running.push(Running { stop, handle });
                    }
                }
                assignment.begin(positions);
            }
            Some(SourceEvent::Revoked(revocation)) => {
                let fenced = stop(&mut running).await;
                seen.send_modify(|seen| {
                    seen.revoked += 1;
                    seen.lost += u32::from(revocation.lost);
                    seen.fenced += fenced;
                    seen.tasks = 0;
                });
                drop(revocation);
            }
            None => {
                let fenced = stop(&mut running).await;
                seen.send_modify(|seen| seen.fenced += fenced);
                feed.close().await;
                return;
            }
        }
    }
}

fn rand() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(1)
}

async fn stop(running: &mut Vec<Running>) -> u32 {
    let mut fenced = 0;
    for task in running.drain(..) {
        task.stop.send_replace(true);
        fenced += u32::from(task.handle.await.unwrap());
    }
    fenced
}

/// Commits every batch; returns whether it was fenced.
async fn work_on(
    (group, task, mut input, mut from): (Group, Task, Input, Position),
    mut stopped: watch::Receiver<bool>,
    committed: mpsc::Sender<(Partition, Position)>,
) -> bool {
    let mut sink = group.collected.sink();
    loop {
        let next = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return false,
            next = input.deliveries.next() => next,
        };
        let Some(Ok(Delivery::Batch(batch))) = next else {
            if let Some(Err(error)) = next {
                panic!("{error:?}");
            }
            continue;
        };
        for (index, offset) in offsets(&batch).into_iter().enumerate() {
            assert!(from.offset.is_none_or(|from| offset >= from), "a record of another time");
            let value = (input.partition, offset, value(&batch, index));
            sink.write(&Record::derived(value, batch.get(index).unwrap().timestamp));
        }
        let next = offsets(&batch).last().map(|last| last + 1);
        let to = Position { offset: next, commit: from.commit + 1, ..from };
        let mut gathered = Gathered::default();
        sink.stage(&mut gathered.staged);
        let advance = Advance::new(input.partition, from, to);
        let epoch = Epoch::new(task, vec![advance], gathered);
        match group.place.commit(&group.job, &[epoch]).await.unwrap().as_slice() {
            [Verdict::COMMITTED] => from = to,
            _ => return true,
        }
        // Information only: a full channel is no reason to wait.
        let _ = committed.try_send((input.partition, to));
    }
}
