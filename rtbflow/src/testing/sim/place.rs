//! A place that is slow, that fails, and that does what it was asked without saying so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::chunk::Chunk;
use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, Kept, Memory, Step, Verdict};
use crate::error::{Error, Result};
use crate::position::{JobName, Position, Task};
use crate::record::Partition;
use crate::sink::{Collect, Collected};
use crate::staged::Place;
use crate::testing::sim::fault::FaultKind;
use crate::testing::sim::life::Life;
use crate::testing::sim::server::Server;
use crate::testing::sim::steps::Steps;
use crate::testing::sim::truth::Truth;

/// An anchor that a simulation can look into: what its place holds in the end is compared.
pub trait Store: Anchor {
    /// What it holds.
    type Row: fmt::Debug + Ord + Clone + Send + Sync + 'static;

    /// All that is visible, in the order of the commits.
    fn rows(&self) -> Vec<Self::Row>;

    /// All that is visible but for the first `count` rows.
    fn rows_from(&self, count: usize) -> Vec<Self::Row> {
        let mut rows = self.rows();
        rows.split_off(count.min(rows.len()))
    }

    /// How far a job has read each partition.
    fn positions(&self, job: &JobName) -> BTreeMap<Partition, Position>;

    /// How far it has read these partitions, of those that it has claimed.
    fn positions_of(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> BTreeMap<Partition, Position> {
        let mut positions = self.positions(job);
        positions.retain(|partition, _| partitions.contains(partition));
        positions
    }

    /// Keeps a copy of all that it holds. What is returned puts that back in one step, as if a server had taken over
    /// that was behind. `None`, which is the default, for a place to which that does not happen.
    fn keep(&self) -> Option<Box<dyn FnOnce() + Send>> {
        None
    }

    /// Removes positions, state and rows of a job in one step. Whether it can: not unless overridden.
    fn reset(&self, job: &JobName) -> bool {
        let _ = job;
        false
    }
}

/// A place in memory that rows are added to: a [`Memory`] with its [`Collected`] rows.
#[derive(Debug)]
pub struct Ledger<R> {
    memory: Memory,
    rows: Collected<R>,
}

impl<R> Clone for Ledger<R> {
    fn clone(&self) -> Self {
        Self { memory: self.memory.clone(), rows: self.rows.clone() }
    }
}

impl<R> Default for Ledger<R> {
    fn default() -> Self {
        let memory = Memory::new();
        let rows = memory.collected();
        Self { memory, rows }
    }
}

impl<R: Clone + Send + Sync + 'static> Ledger<R> {
    /// A sink of the place.
    #[must_use]
    pub fn sink(&self) -> Collect<R> {
        self.rows.sink()
    }
}

impl<R: Clone + Ord + fmt::Debug + Send + Sync + 'static> Store for Ledger<R> {
    type Row = R;

    fn rows(&self) -> Vec<R> {
        self.rows.values()
    }

    fn rows_from(&self, count: usize) -> Vec<R> {
        self.rows.values_from(count)
    }

    fn positions(&self, job: &JobName) -> BTreeMap<Partition, Position> {
        self.memory.positions(job)
    }

    fn positions_of(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> BTreeMap<Partition, Position> {
        self.memory.positions_of(job, partitions)
    }

    fn keep(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let (rows, records) = (self.rows.clone(), self.rows.records());
        Some(Box::new(self.memory.keep(move || rows.put_back(records))))
    }

    fn reset(&self, job: &JobName) -> bool {
        self.memory.forget_with(job, || self.rows.clear());
        true
    }
}

impl<R: Clone + Send + Sync + 'static> Anchor for Ledger<R> {
    fn place(&self) -> Place {
        self.memory.place()
    }

    fn prepare(&self, job: &JobName) -> impl Future<Output = Result<()>> + Send {
        self.memory.prepare(job)
    }

    fn probe(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> impl Future<Output = Result<Option<Vec<Position>>>> + Send {
        self.memory.probe(job, partitions)
    }

    fn claim(
        &self,
        job: &JobName,
        claim: &Claim,
    ) -> impl Future<Output = Result<Vec<Position>>> + Send {
        self.memory.claim(job, claim)
    }

    fn restore(
        &self,
        job: &JobName,
        task: Task,
        from: Option<String>,
    ) -> impl Future<Output = Result<ChunkPage>> + Send {
        self.memory.restore(job, task, from)
    }

    fn commit(
        &self,
        job: &JobName,
        epochs: &[Epoch],
    ) -> impl Future<Output = Result<Vec<Verdict>>> + Send {
        self.memory.commit(job, epochs)
    }

    fn kept(&self, job: &JobName) -> impl Future<Output = Result<Kept>> + Send {
        self.memory.kept(job)
    }

    fn forget(&self, job: &JobName) -> impl Future<Output = Result<()>> + Send {
        self.memory.forget(job)
    }
}

/// How long a commit may take at first; twice as long after each that has run out of time.
const DEADLINE: Duration = Duration::from_millis(300);

/// How long a session may keep a lock and say nothing.
const MOST_LOCKED: Duration = Duration::from_secs(5);

/// One instance's way to a place: each call may be slow, fail before or after it took effect, or be the
/// last thing that the instance did. The place may take its time for each row, so that large commits run out
/// of theirs, may refuse everybody for a while, and keeps what a frozen instance has locked.
#[derive(Debug, Clone)]
pub struct SimPlace<A> {
    store: A,
    truth: Truth,
    steps: Steps,
    life: Life,
    server: Server,
    /// How often a commit has run out of time.
    out_of_time: Arc<AtomicU32>,
    /// The state of each task that is read back, page by page.
    restoring: Arc<Mutex<BTreeMap<Task, Vec<Chunk>>>>,
}

impl<A: Anchor> SimPlace<A> {
    pub(crate) fn new(store: A, truth: Truth, steps: Steps, life: Life, server: Server) -> Self {
        let (out_of_time, restoring) = Default::default();
        Self { store, truth, steps, life, server, out_of_time, restoring }
    }

    /// The place itself.
    #[must_use]
    pub fn store(&self) -> &A {
        &self.store
    }

    /// Before a call: it may not get there, and wait for what others have locked.
    async fn before(&self, what: &'static str, tasks: &BTreeSet<Task>) -> Result<()> {
        self.life.pass(what).await;
        if self.life.fails(&format!("it {what}, the place is away")) {
            self.life.chance.report(|| format!("{} {what}: the place is away", self.life.name));
            return Err(Error::transient(format!("{what}: the place is away")));
        }
        self.server.answers(tasks.iter().copied()).await?;
        self.life.stand().await;
        self.server.grants(&self.life.name, what)
    }

    /// The place works at these, for no longer than it may.
    async fn work(&self, epochs: &[Epoch]) -> Result<()> {
        let time = self.server.time(epochs);
        if time.is_zero() {
            return Ok(());
        }
        let doublings = self.out_of_time.load(Ordering::Relaxed);
        let deadline = DEADLINE * 2_u32.saturating_pow(doublings);
        tokio::time::sleep(time.min(deadline)).await;
        self.life.stand().await;
        if time > deadline {
            self.out_of_time.store(doublings + 1, Ordering::Relaxed);
            self.life.chance.report(|| format!("{} has no answer in {deadline:?}", self.life.name));
            return Err(Error::transient(format!("commits: no answer in {deadline:?}")));
        }
        Ok(())
    }

    /// An instance that freezes in the middle of a commit keeps its locks, until the server ends its session.
    async fn hold(&self, tasks: &BTreeSet<Task>) -> Result<()> {
        let what = "it commits and has locked what it moves";
        let freeze = self.life.chance.strikes_less(2, FaultKind::Freeze, &self.life.name, what);
        let Some(mut freeze) = freeze else { return Ok(()) };
        let time = freeze.millis(12_000);
        self.life.chance.report(|| format!("{} freezes for {time:?}: {what}", self.life.name));
        self.server.lock(tasks.iter().copied(), Instant::now() + time.min(MOST_LOCKED));
        self.life.freeze(time);
        self.life.stand().await;
        match time > MOST_LOCKED {
            true => Err(Error::transient("commit: the server has ended the session")),
            false => Ok(()),
        }
    }

    /// After a call: its answer may get lost.
    async fn after<T>(&self, what: &'static str, answer: T) -> Result<T> {
        self.life.pass(what).await;
        if self.life.fails(&format!("it has {what}, the answer is lost")) {
            self.life.chance.report(|| format!("{} {what}: the answer is lost", self.life.name));
            return Err(Error::transient(format!("{what}: the outcome is not known")));
        }
        Ok(answer)
    }
}

fn summary(epochs: &[Epoch]) -> String {
    let step = |epoch: &Epoch| {
        let offsets = epoch.advances.iter().map(|step| {
            let (from, to) = (step.from.offset.unwrap_or(0), step.to.offset.unwrap_or(0));
            format!("{} {from}→{to} (#{})", step.partition, step.to.commit)
        });
        offsets.collect::<Vec<_>>().join(", ")
    };
    epochs.iter().map(step).collect::<Vec<_>>().join("; ")
}

/// Whether this is the heartbeat of an instance, which moves nothing but the number of its commits.
fn is_beat(epochs: &[Epoch]) -> bool {
    let stays = |epoch: &Epoch| {
        let still = epoch.advances.iter().all(|step| step.from.offset == step.to.offset);
        still && epoch.records_in == 0 && epoch.staged.is_empty() && epoch.chunks.is_empty()
    };
    epochs.iter().all(stays)
}

impl<A: Store> SimPlace<A> {
    fn restoring(&self) -> MutexGuard<'_, BTreeMap<Task, Vec<Chunk>>> {
        self.restoring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what the place holds after each step.
    fn seen(&self, job: &JobName, partitions: &[Partition]) {
        self.truth.see(self.store.positions_of(job, partitions), &self.life.chance);
        self.steps.check(Some(partitions), &self.life.chance);
    }

    /// Applies epochs, and looks at what has become of the place.
    async fn apply(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let partitions = epochs.iter().flat_map(|epoch| &epoch.advances);
        let partitions: Vec<Partition> = partitions.map(|advance| advance.partition).collect();
        let stood = self.store.positions_of(job, &partitions);
        let verdicts = self.store.commit(job, epochs).await?;
        for (epoch, verdict) in epochs.iter().zip(&verdicts) {
            let is_new = epoch.step(|partition| stood.get(&partition)) == Step::Apply;
            match verdict {
                Verdict::Committed(found) if is_new => self.truth.count(epoch, *found),
                Verdict::Committed(_) => {}
                Verdict::Fenced => self.truth.fence(epoch),
            }
        }
        let (name, chance) = (&self.life.name, &self.life.chance);
        // Heartbeats would be most of what there is to hear.
        if !is_beat(epochs) || verdicts.contains(&Verdict::Fenced) {
            chance.report(|| format!("{name} has committed {}: {verdicts:?}", summary(epochs)));
        }
        self.seen(job, &partitions);
        Ok(verdicts)
    }
}

impl<A: Store> Anchor for SimPlace<A> {
    fn place(&self) -> Place {
        self.store.place()
    }

    fn commits_apart(&self) -> bool {
        self.server.commits_apart()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.before("prepares", &BTreeSet::new()).await?;
        self.store.prepare(job).await?;
        self.after("prepared", ()).await?;
        self.life.prepared();
        Ok(())
    }

    async fn probe(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> Result<Option<Vec<Position>>> {
        self.before("probes", &BTreeSet::new()).await?;
        let found = self.store.probe(job, partitions).await?;
        self.after("probed", found).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.before("claims", &BTreeSet::from([claim.task])).await?;
        let answer = self.store.claim(job, claim).await?;
        self.seen(job, &claim.partitions);
        self.life.chance.report(|| {
            let at: Vec<_> = answer.iter().map(|at| (at.offset.unwrap_or(0), at.commit)).collect();
            format!("{} has claimed task {} at {at:?}", self.life.name, claim.task.number)
        });
        self.after("claimed", answer).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.before("restores", &BTreeSet::new()).await?;
        // As it was when the first page was read, whatever becomes of the place meanwhile.
        if from.is_none() {
            let page = self.store.restore(job, task, None).await?;
            self.restoring().insert(task, page.chunks);
        }
        // Pages of any size: the token is the number of chunks read before.
        let read = from.and_then(|from| from.parse().ok()).unwrap_or(0);
        let mut draw = self.life.draw("restores");
        let most = draw.pick([1, 5, 100]);
        let count = 1 + draw.below(most);
        let (chunks, next) = {
            let restoring = self.restoring();
            let all = restoring.get(&task).map(Vec::as_slice).unwrap_or_default();
            let chunks: Vec<Chunk> = all.iter().skip(read).take(count).cloned().collect();
            (chunks, (read + count < all.len()).then(|| (read + count).to_string()))
        };
        self.after("restored", ChunkPage { chunks, next }).await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let tasks: BTreeSet<Task> = epochs.iter().map(|epoch| epoch.task).collect();
        if tasks.len() < epochs.len() {
            self.life.chance.violated("two epochs of one task in one group".into());
        }
        self.before("commits", &tasks).await?;
        self.hold(&tasks).await?;
        // A part of the group may be all that gets there: its epochs are committed one by one.
        let torn = "only a part of its commit gets there";
        let torn = self.life.chance.strikes(FaultKind::Error, &self.life.name, torn);
        let count = torn.map(|mut torn| torn.below(epochs.len() + 1));
        let is_torn = count.is_some_and(|count| count < epochs.len());
        let part = count.and_then(|count| epochs.get(..count)).unwrap_or(epochs);
        self.work(part).await?;
        let verdicts = self.apply(job, part).await?;
        if is_torn {
            return Err(Error::transient("commit: the outcome is not known"));
        }
        self.after("committed", verdicts).await
    }
}
