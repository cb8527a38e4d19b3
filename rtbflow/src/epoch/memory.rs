//! An anchor in memory: for tests, and for pipelines whose results need not outlive the process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::barrier::Tally;
use crate::chunk::{BucketChange, Chunk};
use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, Kept, Step, Verdict};
use crate::error::Refusal;
use crate::error::{Error, Result};
use crate::position::{JobName, Position, Task};
use crate::record::Partition;
use crate::sink::Collected;
use crate::sink::memory::CollectedBatch;
use crate::staged::Place;

/// A place in memory. Clones are handles on the same place.
///
/// ```
/// use rtbflow::epoch::Memory;
///
/// let place = Memory::new();
/// let out = place.collected::<u64>();
/// assert!(out.values().is_empty());
/// ```
#[derive(Clone)]
pub struct Memory {
    place: Place,
    store: Arc<Mutex<MemoryStore>>,
}

#[derive(Default, Clone)]
struct MemoryStore {
    jobs: HashMap<JobName, Held>,
    commits: u64,
}

/// What the place holds of one job.
#[derive(Default, Clone)]
struct Held {
    positions: BTreeMap<Partition, Position>,
    /// Where each stood when it was claimed last.
    claimed_at: BTreeMap<Partition, Position>,
    buckets: BTreeMap<(Task, Arc<str>, i64), Vec<Chunk>>,
    /// What was found out about the records of each task's last epoch.
    found: HashMap<Task, Tally>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { place: Place::new("memory"), store: Arc::default() }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} commits)", self.lock().commits)
    }
}

impl Memory {
    /// An empty place.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is committed here of one pipeline's results; [`Collected::sink`] is where it ends.
    #[must_use]
    pub fn collected<T>(&self) -> Collected<T> {
        Collected::new(self.place)
    }

    /// How far a job has read each partition.
    #[must_use]
    pub fn positions(&self, job: &JobName) -> BTreeMap<Partition, Position> {
        self.lock().jobs.get(job).map(|held| held.positions.clone()).unwrap_or_default()
    }

    /// Bytes of state that the place holds of a job.
    #[must_use]
    pub fn state_bytes(&self, job: &JobName) -> usize {
        let store = self.lock();
        let held = store.jobs.get(job).into_iter();
        held.flat_map(|held| held.buckets.values().flatten()).map(Chunk::len).sum()
    }

    /// As [`forget`](Anchor::forget), and in the same step removes results: `results` is called while no
    /// epoch can be applied.
    ///
    /// ```
    /// use rtbflow::epoch::{JobName, Memory};
    ///
    /// let place = Memory::new();
    /// let out = place.collected::<u64>();
    /// place.forget_with(&JobName::new("numbers")?, || out.clear());
    /// assert!(out.values().is_empty());
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    pub fn forget_with(&self, job: &JobName, results: impl FnOnce()) {
        let mut store = self.lock();
        store.jobs.remove(job);
        // Still under the lock: no epoch comes between the end of the positions and that of the results.
        results();
    }

    /// How far a job has read these partitions, of those that it has claimed.
    #[cfg(feature = "testing")]
    pub(crate) fn positions_of(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> BTreeMap<Partition, Position> {
        let store = self.lock();
        let held = store.jobs.get(job).map(|held| &held.positions);
        let held = |partition: &Partition| Some((*partition, *held?.get(partition)?));
        partitions.iter().filter_map(held).collect()
    }

    /// Copies what it holds of all jobs. What is returned puts the copy back, and calls `results` in the same step:
    /// as a server does whose successor was behind.
    #[cfg(feature = "testing")]
    pub(crate) fn keep<F: FnOnce() + Send>(&self, results: F) -> impl FnOnce() + Send + use<F> {
        let (place, copy) = (self.clone(), self.lock().clone());
        move || {
            let mut store = place.lock();
            *store = copy;
            results();
        }
    }

    fn lock(&self) -> MutexGuard<'_, MemoryStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn apply(&mut self, place: Place, epoch: &Epoch) -> Tally {
        for advance in &epoch.advances {
            self.positions.insert(advance.partition, advance.to);
        }
        for chunk in &epoch.chunks {
            let key = (epoch.task, Arc::clone(&chunk.operator), chunk.bucket);
            match &chunk.change {
                BucketChange::Append(_) => self.buckets.entry(key).or_default().push(chunk.clone()),
                BucketChange::Replace(_) => {
                    self.buckets.insert(key, vec![chunk.clone()]);
                }
                BucketChange::Drop => {
                    self.buckets.remove(&key);
                }
            }
        }
        let mut found = Tally::NONE;
        for staged in epoch.staged_for(place) {
            // Whether it is one was asked before anything was applied: see `violations`.
            if let Some(batch) = staged.batch::<CollectedBatch>() {
                found.merge(batch.apply(staged.refused()));
            }
        }
        self.found.insert(epoch.task, found);
        found
    }
}

impl Anchor for Memory {
    fn place(&self) -> Place {
        self.place
    }

    async fn prepare(&self, _job: &JobName) -> Result<()> {
        Ok(())
    }

    async fn probe(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> Result<Option<Vec<Position>>> {
        // One look for all of them: a commit that is under way has the lock, and is seen whole or not at all.
        let positions = self.positions(job);
        let found = partitions.iter().map(|at| positions.get(at).copied().unwrap_or_default());
        Ok(Some(found.collect()))
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let mut store = self.lock();
        let held = store.jobs.entry(job.clone()).or_default();
        // Before a position is touched: state that is laid out for other tasks would be read by the wrong ones.
        if let Some((other, ..)) = held.buckets.keys().find(|(task, ..)| task.of != claim.task.of) {
            return Err(claim.task.laid_out_for(other.of, job, "the place in memory"));
        }
        Ok(claim
            .partitions
            .iter()
            .map(|partition| {
                let position = held.positions.entry(*partition).or_default();
                if position.owner != claim.owner {
                    // A claim that is made again tells no more than the first.
                    held.claimed_at.insert(*partition, *position);
                }
                // Counted as a commit: what the former owner has under way says that it comes from where the place stood
                // before, and is fenced, whenever it arrives.
                position.commit += 1;
                position.owner = claim.owner;
                *position
            })
            .collect())
    }

    async fn restore(&self, job: &JobName, task: Task, _from: Option<String>) -> Result<ChunkPage> {
        // In one page: what is in memory already needs no bound on what is read of it at a time.
        let store = self.lock();
        let buckets = store.jobs.get(job).into_iter().flat_map(|held| &held.buckets);
        let chunks = buckets.filter(|((of, ..), _)| *of == task).flat_map(|(_, log)| log.clone());
        Ok(ChunkPage { chunks: chunks.collect(), next: None })
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        // Held until all is applied: this lock is the place's one atomic step. Whoever looks at positions, state or
        // results sees each epoch whole or not at all.
        let mut store = self.lock();
        let MemoryStore { jobs, commits } = &mut *store;
        let held = jobs.entry(job.clone()).or_default();
        // Looked for before anything is applied: a refusal says that nothing was.
        let refusals = violations(self.place, epochs, held)?;
        if !refusals.is_empty() {
            return Err(Error::refused(refusals));
        }
        Ok(epochs
            .iter()
            .map(|epoch| match epoch.step(|partition| held.positions.get(&partition)) {
                Step::Apply => {
                    *commits += 1;
                    Verdict::Committed(held.apply(self.place, epoch))
                }
                Step::Applied => {
                    Verdict::Committed(held.found.get(&epoch.task).copied().unwrap_or_default())
                }
                Step::Fenced if epoch.was_applied_before(|at| held.claimed_at.get(&at)) => {
                    Verdict::COMMITTED
                }
                Step::Fenced => Verdict::Fenced,
            })
            .collect())
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        let store = self.lock();
        let kept = |held: &Held| Kept {
            positions: held.positions.clone(),
            buckets: held.buckets.len() as u64,
        };
        Ok(store.jobs.get(job).map(kept).unwrap_or_default())
    }

    async fn forget(&self, job: &JobName) -> Result<()> {
        self.forget_with(job, || ());
        Ok(())
    }
}

/// The rows that are against a constraint, of epochs that would be applied.
///
/// # Errors
/// If something is staged for this place that no sink of its own has made: its rows would be lost.
fn violations(place: Place, epochs: &[Epoch], held: &Held) -> Result<Vec<Refusal>> {
    let mut refusals = Vec::new();
    for (number, epoch) in epochs.iter().enumerate() {
        if epoch.step(|partition| held.positions.get(&partition)) != Step::Apply {
            continue;
        }
        for (at, staged) in epoch.staged.iter().enumerate() {
            if staged.place != place {
                continue;
            }
            let batch = staged.batch::<CollectedBatch>().ok_or_else(|| {
                Error::permanent(
                    "commit to memory what no sink of this place has staged: let its `Collected` make the sink",
                )
            })?;
            for (row, reason) in batch.violations() {
                if !staged.is_refused(row) {
                    refusals.push(Refusal { epoch: number, staged: at, row, reason });
                }
            }
        }
    }
    Ok(refusals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::barrier::Gathered;
    use crate::epoch::Advance;
    use crate::record::{Partition, Record, Topic};
    use crate::sink::Sink;
    use crate::staged::{Staged, StagedRows};
    use crate::testing::builders::record;
    use crate::testing::laws::{self, AnchorUnderTest};

    struct InMemory(Memory, Collected<i64>);

    impl AnchorUnderTest for InMemory {
        type Anchor = Memory;
        const TELLS_FORMER_OWNERS: bool = true;

        fn anchor(&self) -> Memory {
            self.0.clone()
        }

        fn stage(&self, value: i64) -> Staged {
            let (mut sink, mut staged) = (self.1.sink(), Vec::new());
            sink.write(&record(value, 0));
            sink.stage(&mut staged);
            staged.remove(0)
        }

        fn stage_distinct(&self, record: &Record<i64>) -> Option<Staged> {
            let mut sink = self.1.sink().distinct(|a, b| a == b);
            let mut staged = Vec::new();
            sink.write(record);
            sink.stage(&mut staged);
            staged.pop()
        }

        async fn total(&self) -> i64 {
            self.1.values().iter().sum()
        }
    }

    struct Foreign;

    impl StagedRows for Foreign {}

    #[tokio::test(start_paused = true)]
    async fn what_no_sink_of_its_own_has_staged_is_an_error_and_moves_nothing() {
        let (place, job) = (Memory::new(), JobName::new("foreign").unwrap());
        let task = Task { number: 0, of: 1 };
        let partition = Partition::new(Topic::new("numbers"), 0);
        place.claim(&job, &Claim::new(task, vec![partition], 1)).await.unwrap();
        let from = place.positions(&job).get(&partition).copied().unwrap_or_default();
        let to = Position { offset: Some(5), ..from };
        let advances = vec![Advance::new(partition, from, to)];
        let mut epoch = Epoch::new(task, advances, Gathered::default());
        epoch.staged.push(Staged::new(place.place(), 1, Foreign));
        let error = place.commit(&job, &[epoch]).await.unwrap_err();
        assert!(error.to_string().contains("no sink of this place"), "{error:?}");
        assert_eq!(place.positions(&job).get(&partition).copied().unwrap_or_default(), from);
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_anchors() {
        let place = Memory::new();
        laws::anchor(&InMemory(place.clone(), place.collected())).await;
    }
}
