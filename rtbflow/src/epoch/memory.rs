//! An anchor in memory: for tests, and for pipelines whose results need not outlive the process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::element::Partition;
use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Position, Step, Task, Verdict};
use crate::error::{Error, Result};
use crate::sink::memory::Batch;
use crate::sink::{Collect, Collected, Place};
use crate::state::{Change, Chunk};

/// A place in memory. Clones are handles on the same place.
///
/// ```
/// use rtbflow::epoch::Memory;
///
/// let place = Memory::new();
/// let (sink, out) = place.collect::<u64>();
/// assert!(out.values().is_empty());
/// # drop(sink);
/// ```
#[derive(Clone)]
pub struct Memory {
    place: Place,
    store: Arc<Mutex<Store>>,
}

#[derive(Default)]
struct Store {
    positions: BTreeMap<Partition, Position>,
    buckets: BTreeMap<(Task, Arc<str>, i64), Vec<Chunk>>,
    commits: u64,
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

    /// A sink into this place, and what was committed of it.
    #[must_use]
    pub fn collect<T: Clone + Send + Sync + 'static>(&self) -> (Collect<T>, Collected<T>) {
        let collected = Collected::default();
        (self.collect_into(&collected), collected)
    }

    /// A sink into this place that adds to what another collects: one is needed for each task.
    #[must_use]
    pub fn collect_into<T: Clone + Send + Sync + 'static>(&self, to: &Collected<T>) -> Collect<T> {
        Collect::new(self.place, to.clone())
    }

    /// How far each partition was read.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<Partition, Position> {
        self.lock().positions.clone()
    }

    /// Bytes of state that the place holds.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.lock().buckets.values().flatten().map(Chunk::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn apply(&mut self, place: Place, epoch: &Epoch) {
        for advance in &epoch.advances {
            self.positions.insert(advance.partition, advance.to);
        }
        for chunk in &epoch.chunks {
            let key = (epoch.task, Arc::clone(&chunk.operator), chunk.bucket);
            match &chunk.change {
                Change::Append(_) => self.buckets.entry(key).or_default().push(chunk.clone()),
                Change::Replace(_) => {
                    self.buckets.insert(key, vec![chunk.clone()]);
                }
                Change::Drop => {
                    self.buckets.remove(&key);
                }
            }
        }
        for staged in epoch.staged_for(place) {
            if let Some(batch) = staged.batch.downcast_ref::<Box<dyn Batch>>() {
                batch.apply();
            }
        }
        self.commits += 1;
    }
}

impl Anchor for Memory {
    fn place(&self) -> Place {
        self.place
    }

    async fn prepare(&self, _job: &JobName) -> Result<()> {
        Ok(())
    }

    async fn claim(&self, _job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let mut store = self.lock();
        if let Some((other, ..)) = store.buckets.keys().find(|(task, ..)| task.of != claim.task.of)
        {
            return Err(Error::config(format!(
                "take over task {}: the place holds state of task {other}; the number of tasks follows \
                 from the partition counts, and state can not be laid out anew",
                claim.task
            )));
        }
        Ok(claim
            .partitions
            .iter()
            .map(|partition| {
                let position = store.positions.entry(*partition).or_default();
                position.commit += 1;
                position.owner = claim.owner;
                *position
            })
            .collect())
    }

    async fn restore(
        &self,
        _job: &JobName,
        task: Task,
        _from: Option<String>,
    ) -> Result<ChunkPage> {
        let store = self.lock();
        let chunks = store
            .buckets
            .iter()
            .filter(|((of, ..), _)| *of == task)
            .flat_map(|(_, log)| log.clone());
        Ok(ChunkPage { chunks: chunks.collect(), next: None })
    }

    async fn commit(&self, _job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let mut store = self.lock();
        Ok(epochs
            .iter()
            .map(|epoch| match epoch.step(|partition| store.positions.get(&partition)) {
                Step::Apply => {
                    store.apply(self.place, epoch);
                    Verdict::Committed
                }
                Step::Applied => Verdict::Committed,
                Step::Fenced => Verdict::Fenced,
            })
            .collect())
    }
}
