//! A place that takes epochs and never answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtbflow::Result;
use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Memory, Position, Task, Verdict};
use rtbflow::sink::Place;

/// A place in memory whose commits are not answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Still {
    pub(crate) memory: Memory,
    asked: Arc<AtomicBool>,
}

impl Still {
    /// Whether a commit was asked for.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Anchor for Still {
    fn place(&self) -> Place {
        self.memory.place()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.memory.prepare(job).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.memory.claim(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.memory.restore(job, task, from).await
    }

    async fn commit(&self, _job: &JobName, _epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        self.asked.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    async fn forget(&self, job: &JobName) -> Result<()> {
        self.memory.forget(job).await
    }
}
