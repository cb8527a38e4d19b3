//! A place and its sink: a board on which the values of each sensor are added up.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rtbflow::epoch::{
    Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Position, Step, Task, Verdict,
};
use rtbflow::sink::{Place, Sink, Staged, StagedRows};
use rtbflow::state::{BucketChange, Chunk};
use rtbflow::{Partition, Record, Result};

use crate::Reading;

/// A board. Clones show the same.
#[derive(Debug, Clone)]
pub struct Board {
    place: Place,
    shown: Arc<Mutex<Shown>>,
}

#[derive(Debug, Default)]
struct Shown {
    sums: BTreeMap<u32, i64>,
    jobs: HashMap<JobName, Held>,
}

/// What is kept of a job.
#[derive(Debug, Default)]
struct Held {
    positions: HashMap<Partition, Position>,
    state: BTreeMap<(Task, String, i64), Vec<Chunk>>,
}

impl Default for Board {
    fn default() -> Self {
        Self { place: Place::new("board"), shown: Arc::default() }
    }
}

impl Board {
    /// A sink that adds to what is shown.
    #[must_use]
    pub fn sink(&self) -> Additions {
        Additions { place: self.place, sums: BTreeMap::new() }
    }

    /// The sum over all sensors.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.lock().sums.values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be added when the board commits.
#[derive(Debug)]
pub struct Additions {
    place: Place,
    sums: BTreeMap<u32, i64>,
}

/// What is staged for one epoch: the sum of each sensor. The board takes whatever it is given, so that nothing
/// has to be known of single rows.
#[derive(Debug)]
struct Sums(BTreeMap<u32, i64>);

impl StagedRows for Sums {}

impl Sink<Reading> for Additions {
    fn write(&mut self, record: &Record<Reading>) {
        *self.sums.entry(record.value.sensor).or_default() += record.value.value;
    }

    fn pending(&self) -> usize {
        self.sums.len()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        let sums = std::mem::take(&mut self.sums);
        if !sums.is_empty() {
            out.push(Staged::new(self.place, sums.len(), Sums(sums)));
        }
    }

    fn places(&self) -> Vec<Place> {
        vec![self.place]
    }
}

impl Held {
    fn apply(&mut self, epoch: &Epoch) {
        for step in &epoch.advances {
            self.positions.insert(step.partition, step.to);
        }
        for chunk in &epoch.chunks {
            let bucket = (epoch.task, chunk.operator.to_string(), chunk.bucket);
            match &chunk.change {
                BucketChange::Append(_) => self.state.entry(bucket).or_default().push(chunk.clone()),
                BucketChange::Replace(_) => drop(self.state.insert(bucket, vec![chunk.clone()])),
                BucketChange::Drop => drop(self.state.remove(&bucket)),
            }
        }
    }
}

impl Anchor for Board {
    fn place(&self) -> Place {
        self.place
    }

    async fn prepare(&self, _job: &JobName) -> Result<()> {
        Ok(())
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let mut shown = self.lock();
        let held = shown.jobs.entry(job.clone()).or_default();
        if let Some((other, ..)) = held.state.keys().find(|(task, ..)| task.of != claim.task.of) {
            return Err(claim.task.laid_out_for(other.of, job, "the board"));
        }
        let take = |partition: &Partition| {
            let position = held.positions.entry(*partition).or_default();
            (position.commit, position.owner) = (position.commit + 1, claim.owner);
            *position
        };
        Ok(claim.partitions.iter().map(take).collect())
    }

    async fn restore(&self, job: &JobName, task: Task, _from: Option<String>) -> Result<ChunkPage> {
        let shown = self.lock();
        let state = shown.jobs.get(job).into_iter().flat_map(|held| &held.state);
        let own = state.filter(|((of, ..), _)| *of == task).flat_map(|(_, log)| log.clone());
        Ok(ChunkPage::new(own.collect(), None))
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let mut shown = self.lock();
        let Shown { sums, jobs } = &mut *shown;
        let held = jobs.entry(job.clone()).or_default();
        let commit = |epoch: &Epoch| match epoch.step(|partition| held.positions.get(&partition)) {
            Step::Fenced => Verdict::Fenced,
            Step::Applied => Verdict::COMMITTED,
            Step::Apply => {
                held.apply(epoch);
                let staged = epoch.staged_for(self.place);
                let batches = staged.filter_map(|staged| staged.batch());
                for (sensor, sum) in batches.flat_map(|Sums(batch)| batch) {
                    *sums.entry(*sensor).or_default() += sum;
                }
                Verdict::COMMITTED
            }
        };
        Ok(epochs.iter().map(commit).collect())
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        let shown = self.lock();
        let kept = |held: &Held| Kept::new(held.positions.clone().into_iter().collect(), held.state.len() as u64);
        Ok(shown.jobs.get(job).map(kept).unwrap_or_default())
    }

    async fn forget(&self, job: &JobName) -> Result<()> {
        self.lock().jobs.remove(job);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rtbflow::testing::builders::record;
    use rtbflow::testing::laws::{self, AnchorUnderTest};

    use super::*;

    struct OneBoard(Board);

    impl AnchorUnderTest for OneBoard {
        type Anchor = Board;

        fn anchor(&self) -> Board {
            self.0.clone()
        }

        fn stage(&self, value: i64) -> Staged {
            let (mut sink, mut staged) = (self.0.sink(), Vec::new());
            sink.write(&record(Reading { sensor: 1, value }, 0));
            sink.stage(&mut staged);
            staged.remove(0)
        }

        async fn total(&self) -> i64 {
            self.0.total()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_anchors() {
        laws::anchor(&OneBoard(Board::default())).await;
    }

    #[test]
    fn its_sink_keeps_the_laws_of_sinks() {
        let board = Board::default();
        laws::sink(|| board.sink(), &[record(Reading { sensor: 1, value: 3 }, 0)]);
    }
}
