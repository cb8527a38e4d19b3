//! A place that notes when each partition moved last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rtbflow::clock::{Clock, SystemClock};
use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Position, Task, Verdict};
use rtbflow::sink::Place;
use rtbflow::{Partition, Result, Timestamp};

/// Another place, watched.
#[derive(Clone)]
pub(crate) struct Watched<A> {
    place: A,
    moved: Moved,
}

/// When each partition moved last.
#[derive(Clone, Default)]
pub(crate) struct Moved(Arc<Mutex<BTreeMap<Partition, (i64, Timestamp)>>>);

impl Moved {
    fn note(&self, epoch: &Epoch) {
        let mut moved = self.0.lock().unwrap();
        for advance in &epoch.advances {
            if let (Some(offset), true) =
                (advance.to.offset, advance.to.offset != advance.from.offset)
            {
                moved.insert(advance.partition, (offset, SystemClock.now()));
            }
        }
    }

    /// The offsets of this many partitions, once all have moved.
    fn offsets(&self, count: usize) -> Option<Vec<i64>> {
        let moved = self.0.lock().unwrap();
        (moved.len() == count).then(|| moved.values().map(|(offset, _)| *offset).collect())
    }

    /// Waits until each of this many partitions has moved from now on; how long that took.
    pub(crate) async fn all(&self, count: usize, longest: Duration) -> Duration {
        let from = SystemClock.now();
        loop {
            let moved = self.0.lock().unwrap().values().filter(|(_, at)| *at > from).count();
            let waited = SystemClock.now().since(from);
            if moved == count {
                return waited;
            }
            assert!(waited < longest, "after {waited:?} {moved} of {count} partitions have moved");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the partitions stand at these offsets or beyond.
    pub(crate) async fn reach(&self, ends: &[u64], longest: Duration) {
        let until = SystemClock.now() + longest;
        loop {
            let at = self.offsets(ends.len()).unwrap_or_default();
            if at.iter().zip(ends).filter(|(at, end)| at.cast_unsigned() >= **end).count()
                == ends.len()
            {
                return;
            }
            assert!(SystemClock.now() < until, "at {at:?} of {ends:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl<A> Watched<A> {
    pub(crate) fn new(place: A) -> (Self, Moved) {
        let moved = Moved::default();
        (Self { place, moved: moved.clone() }, moved)
    }
}

impl<A: Anchor> Anchor for Watched<A> {
    fn place(&self) -> Place {
        self.place.place()
    }

    fn commits_apart(&self) -> bool {
        self.place.commits_apart()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.place.prepare(job).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.place.claim(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.place.restore(job, task, from).await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let verdicts = self.place.commit(job, epochs).await?;
        for (epoch, verdict) in epochs.iter().zip(&verdicts) {
            if matches!(verdict, Verdict::Committed(_)) {
                self.moved.note(epoch);
            }
        }
        Ok(verdicts)
    }
}
