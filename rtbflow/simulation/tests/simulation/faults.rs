//! Deliberate bugs: places and sources that do one thing wrong, each of which the simulation must find.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, ready};
use rtbflow::epoch::{
    Advance, Anchor, ChunkPage, Claim, DeadLetter, Epoch, JobName, Position, Task, Verdict,
};
use rtbflow::job::Report;
use rtbflow::sink::Place;
use rtbflow::source::{
    Assignment, Batch, Context, Delivery, Feed, Incoming, PartitionInput, Source, SourceEvent,
    TaskInput,
};
use rtbflow::testing::sim::{AnyAnchor, Chance, Instance, Ledger, Scenario, SimLog, Store};
use rtbflow::{BadRecord, Partition, Result, Topic};

use crate::scenarios::{Row, Windows, job_name, run_windows};

/// One thing that is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: so that it is the fault that is found, and not the way it is made.
    None,
    /// An epoch counts as committed before that is known.
    AcknowledgesFirst,
    /// A chunk of state is not brought back.
    ForgetsAChunk,
    /// An epoch that was applied is applied again when it is committed again.
    CommitsTwice,
    /// What another owner fenced is applied all the same.
    IgnoresTheFence,
    /// A claim leaves the former owner in its place.
    FencesNobody,
    /// A batch loses its last record.
    DropsTheLastRecord,
    /// After a restart, reading begins one record too late.
    BeginsLate,
    /// After a restart, reading begins one record too early. The job drops what it has read already.
    BeginsEarly,
    /// A topic that was made anew is read on at the position of the old one.
    IgnoresTheTopicId,
    /// Positions stay at the last record, before the markers that follow it.
    StandsBeforeMarkers,
    /// Positions name the leader's term in which reading began.
    NamesAnOldTerm,
    /// Reading begins before anybody has looked whether the place has what is needed.
    ReadsFirst,
    /// A server that takes over has positions and results, but no state.
    LosesState,
}

/// The windows of [`Windows`], with a fault.
pub(crate) struct Broken(pub(crate) Fault);

impl Scenario for Broken {
    type Value = u64;
    type Store = Careless;

    fn job(&self) -> JobName {
        job_name()
    }

    fn log(&self, chance: &Chance) -> SimLog<u64> {
        Windows.log(chance)
    }

    fn store(&self) -> Careless {
        let (applied, was_behind) = Default::default();
        Careless { ledger: Ledger::default(), fault: self.0, applied, was_behind }
    }

    fn run(&self, instance: Instance<u64, Careless>) -> BoxFuture<'static, Result<Report>> {
        let Instance { source, place, conditions, .. } = instance;
        let store = place.store().clone();
        let place = AnyAnchor::new(Forgetful { place, fault: self.0 });
        run_windows((source, self.0), place, conditions, move || store.ledger.sink())
    }
}

/// A place that compares positions wrongly.
#[derive(Debug, Clone)]
pub(crate) struct Careless {
    ledger: Ledger<Row>,
    fault: Fault,
    applied: Arc<AtomicU64>,
    /// Whether a server has taken over that was behind.
    was_behind: Arc<AtomicBool>,
}

impl Careless {
    /// Applies an epoch's rows without comparing anything: as the epoch of a job that nobody knows,
    /// whose positions are brought to where it begins.
    async fn apply(&self, epoch: &Epoch) -> Result<()> {
        let number = self.applied.fetch_add(1, Ordering::Relaxed);
        let nobody = JobName::new(format!("nobody-{number}"))?;
        for Advance { partition, from, .. } in &epoch.advances {
            let partitions = vec![*partition];
            let claim = Claim::new(epoch.task, partitions, from.owner);
            for _ in 0..from.commit {
                self.ledger.claim(&nobody, &claim).await?;
            }
        }
        let verdicts = self.ledger.commit(&nobody, std::slice::from_ref(epoch)).await?;
        assert_eq!(verdicts, [Verdict::COMMITTED]);
        Ok(())
    }
}

impl Store for Careless {
    type Row = Row;

    fn rows(&self) -> Vec<Row> {
        self.ledger.rows()
    }

    fn positions(&self, job: &JobName) -> BTreeMap<Partition, Position> {
        self.ledger.positions(job)
    }

    fn keep(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let (older, was_behind) = (self.ledger.keep()?, Arc::clone(&self.was_behind));
        Some(Box::new(move || {
            older();
            was_behind.store(true, Ordering::Relaxed);
        }))
    }

    fn reset(&self, job: &JobName) -> bool {
        self.ledger.reset(job)
    }
}

impl Anchor for Careless {
    fn place(&self) -> Place {
        self.ledger.place()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.ledger.prepare(job).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let held = self.ledger.positions(job);
        let known = claim.partitions.iter().filter_map(|partition| held.get(partition).copied());
        let known: Vec<Position> = known.collect();
        if self.fault == Fault::FencesNobody && known.len() == claim.partitions.len() {
            return Ok(known);
        }
        self.ledger.claim(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        let mut page = self.ledger.restore(job, task, from).await?;
        if self.fault == Fault::LosesState && self.was_behind.load(Ordering::Relaxed) {
            page.chunks.clear();
        }
        Ok(page)
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let before = self.ledger.positions(job);
        let mut verdicts = self.ledger.commit(job, epochs).await?;
        for (epoch, verdict) in epochs.iter().zip(&mut verdicts) {
            let found = |step: &Advance| before.get(&step.partition).copied().unwrap_or_default();
            let again = epoch.advances.iter().all(|step| found(step).is(&step.to));
            let fenced = *verdict == Verdict::Fenced;
            if (again && self.fault == Fault::CommitsTwice)
                || (fenced && self.fault == Fault::IgnoresTheFence)
            {
                self.apply(epoch).await?;
                *verdict = Verdict::COMMITTED;
            }
        }
        Ok(verdicts)
    }
}

/// A way to a place that forgets something.
#[derive(Debug, Clone)]
struct Forgetful<A> {
    place: A,
    fault: Fault,
}

impl<A: Anchor> Anchor for Forgetful<A> {
    fn place(&self) -> Place {
        self.place.place()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        if self.fault == Fault::ReadsFirst {
            return Ok(());
        }
        self.place.prepare(job).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.place.claim(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        let mut page = self.place.restore(job, task, from).await?;
        if self.fault == Fault::ForgetsAChunk && page.next.is_none() {
            page.chunks.pop();
        }
        Ok(page)
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let committed = self.place.commit(job, epochs).await;
        if self.fault == Fault::AcknowledgesFirst && committed.is_err() {
            return Ok(vec![Verdict::COMMITTED; epochs.len()]);
        }
        committed
    }
}

/// A source that reads too much or too little.
#[derive(Debug)]
pub(crate) struct Hasty<S> {
    pub(crate) source: S,
    pub(crate) fault: Fault,
}

impl<S: Source<Batch: Batch>> Source for Hasty<S> {
    type Batch = Shortened<S::Batch>;
    type Feed = Hasty<S::Feed>;

    fn topics(&self) -> Vec<String> {
        self.source.topics()
    }

    fn out_of_orderness(&self, topic: Topic) -> Duration {
        self.source.out_of_orderness(topic)
    }

    async fn open(&self, context: Context) -> Result<Self::Feed> {
        Ok(Hasty { source: self.source.open(context).await?, fault: self.fault })
    }
}

impl<F: Feed<Batch: Batch>> Feed for Hasty<F> {
    type Batch = Shortened<F::Batch>;

    async fn next(&mut self) -> Result<SourceEvent<Self::Batch>> {
        let mut assignment = match self.source.next().await? {
            SourceEvent::Assigned(assignment) => assignment,
            SourceEvent::Revoked(revocation) => return Ok(SourceEvent::Revoked(revocation)),
        };
        let fault = self.fault;
        let tasks = std::mem::take(&mut assignment.tasks).into_iter();
        let tasks = tasks.map(|input| shorten(input, fault)).collect();
        Ok(SourceEvent::Assigned(Assignment::new(tasks, move |positions| {
            let by = i64::from(fault == Fault::BeginsLate) - i64::from(fault == Fault::BeginsEarly);
            let moved = |offset: i64| offset + by;
            let moved = |(partition, at): (Partition, Position)| {
                let log = at.log.filter(|_| fault != Fault::IgnoresTheTopicId);
                (partition, Position { offset: at.offset.map(moved), log, ..at })
            };
            assignment.begin(positions.into_iter().map(moved).collect());
        })))
    }

    fn committed(&mut self, positions: &[(Partition, Position)]) {
        self.source.committed(positions);
    }

    async fn close(self) {
        self.source.close().await;
    }
}

fn shorten<B: Batch>(input: TaskInput<B>, fault: Fault) -> TaskInput<Shortened<B>> {
    let by = usize::from(fault == Fault::DropsTheLastRecord);
    let partitions = input.partitions.into_iter().map(|input| {
        let (mut behind, mut began) = (0, None);
        let deliveries = input.deliveries.then(move |delivery| {
            let stands = fault == Fault::StandsBeforeMarkers;
            let at = |offset: i64, behind: i64| if stands { behind.min(offset) } else { offset };
            ready(delivery.map(|delivery| match delivery {
                Delivery::Batch(batch) => {
                    let last = batch.len().checked_sub(1).and_then(|last| batch.get(last));
                    behind = last.map_or(behind, |last| behind.max(last.offset + 1));
                    Delivery::Batch(Shortened { batch, by })
                }
                Delivery::AtEnd { asked, offset } => {
                    Delivery::AtEnd { asked, offset: at(offset, behind) }
                }
                Delivery::Reached { offset, mut log, anew } => {
                    if log.is_some_and(|log| log.leader_epoch.is_some()) {
                        let first = *began.get_or_insert(log);
                        log = if fault == Fault::NamesAnOldTerm { first } else { log };
                    }
                    Delivery::Reached { offset: at(offset, behind), log, anew }
                }
                Delivery::Finished => Delivery::Finished,
            }))
        });
        PartitionInput::new(input.partition, deliveries.boxed())
    });
    TaskInput::new(input.task, partitions.collect())
}

/// A batch without its last records.
#[derive(Debug)]
pub(crate) struct Shortened<B> {
    batch: B,
    by: usize,
}

impl<B: Batch> Batch for Shortened<B> {
    type Value = B::Value;

    fn len(&self) -> usize {
        self.batch.len().saturating_sub(self.by)
    }

    fn get(&self, index: usize) -> Option<Incoming<B::Value>> {
        (index < self.len()).then(|| self.batch.get(index)).flatten()
    }

    fn dead_letter(
        &self,
        partition: Partition,
        offset: i64,
        reason: BadRecord,
    ) -> Option<DeadLetter> {
        self.batch.dead_letter(partition, offset, reason)
    }

    fn bytes(&self) -> usize {
        self.batch.bytes()
    }
}
