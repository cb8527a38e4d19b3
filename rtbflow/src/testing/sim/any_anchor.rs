//! An anchor whose type is not known, so that a job is compiled once for all of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, Kept, Verdict};
use crate::error::Result;
use crate::position::{JobName, Position, Task};
use crate::record::Partition;
use crate::staged::Place;

/// Any anchor. A job is large and generic: simulated over many places, it takes the compiler less time for this one.
/// Clones are handles on the same place.
#[derive(Clone)]
pub struct AnyAnchor(Arc<dyn ErasedAnchor>);

impl AnyAnchor {
    /// This anchor, without its type.
    #[must_use]
    pub fn new(anchor: impl Anchor) -> Self {
        Self(Arc::new(anchor))
    }
}

impl fmt::Debug for AnyAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyAnchor({})", self.0.place().kind())
    }
}

/// What an anchor is asked.
trait ErasedAnchor: Send + Sync {
    fn place(&self) -> Place;
    fn apart(&self) -> AnyAnchor;
    fn topics(&self) -> Vec<String>;
    fn aim(&self) -> Duration;
    fn commits_apart(&self) -> bool;
    fn validate(&self) -> Result<()>;
    fn prepare<'a>(&'a self, job: &'a JobName) -> BoxFuture<'a, Result<()>>;
    fn probe<'a>(
        &'a self,
        job: &'a JobName,
        partitions: &'a [Partition],
    ) -> BoxFuture<'a, Result<Option<Vec<Position>>>>;
    fn claim<'a>(
        &'a self,
        job: &'a JobName,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Vec<Position>>>;
    fn restore<'a>(
        &'a self,
        job: &'a JobName,
        task: Task,
        from: Option<String>,
    ) -> BoxFuture<'a, Result<ChunkPage>>;
    fn commit<'a>(
        &'a self,
        job: &'a JobName,
        epochs: &'a [Epoch],
    ) -> BoxFuture<'a, Result<Vec<Verdict>>>;
    fn after_commit<'a>(&'a self, job: &'a JobName) -> BoxFuture<'a, Result<()>>;
    fn kept<'a>(&'a self, job: &'a JobName) -> BoxFuture<'a, Result<Kept>>;
    fn forget<'a>(&'a self, job: &'a JobName) -> BoxFuture<'a, Result<()>>;
}

impl<A: Anchor> ErasedAnchor for A {
    fn place(&self) -> Place {
        Anchor::place(self)
    }

    fn apart(&self) -> AnyAnchor {
        AnyAnchor::new(Anchor::apart(self))
    }

    fn topics(&self) -> Vec<String> {
        Anchor::topics(self)
    }

    fn aim(&self) -> Duration {
        Anchor::aim(self)
    }

    fn commits_apart(&self) -> bool {
        Anchor::commits_apart(self)
    }

    fn validate(&self) -> Result<()> {
        Anchor::validate(self)
    }

    fn prepare<'a>(&'a self, job: &'a JobName) -> BoxFuture<'a, Result<()>> {
        Anchor::prepare(self, job).boxed()
    }

    fn probe<'a>(
        &'a self,
        job: &'a JobName,
        partitions: &'a [Partition],
    ) -> BoxFuture<'a, Result<Option<Vec<Position>>>> {
        Anchor::probe(self, job, partitions).boxed()
    }

    fn claim<'a>(
        &'a self,
        job: &'a JobName,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Vec<Position>>> {
        Anchor::claim(self, job, claim).boxed()
    }

    fn restore<'a>(
        &'a self,
        job: &'a JobName,
        task: Task,
        from: Option<String>,
    ) -> BoxFuture<'a, Result<ChunkPage>> {
        Anchor::restore(self, job, task, from).boxed()
    }

    fn commit<'a>(
        &'a self,
        job: &'a JobName,
        epochs: &'a [Epoch],
    ) -> BoxFuture<'a, Result<Vec<Verdict>>> {
        Anchor::commit(self, job, epochs).boxed()
    }

    fn after_commit<'a>(&'a self, job: &'a JobName) -> BoxFuture<'a, Result<()>> {
        Anchor::after_commit(self, job).boxed()
    }

    fn kept<'a>(&'a self, job: &'a JobName) -> BoxFuture<'a, Result<Kept>> {
        Anchor::kept(self, job).boxed()
    }

    fn forget<'a>(&'a self, job: &'a JobName) -> BoxFuture<'a, Result<()>> {
        Anchor::forget(self, job).boxed()
    }
}

impl Anchor for AnyAnchor {
    fn place(&self) -> Place {
        self.0.place()
    }

    fn apart(&self) -> Self {
        self.0.apart()
    }

    fn topics(&self) -> Vec<String> {
        self.0.topics()
    }

    fn aim(&self) -> Duration {
        self.0.aim()
    }

    fn commits_apart(&self) -> bool {
        self.0.commits_apart()
    }

    fn validate(&self) -> Result<()> {
        self.0.validate()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.0.prepare(job).await
    }

    async fn probe(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> Result<Option<Vec<Position>>> {
        self.0.probe(job, partitions).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.0.claim(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.0.restore(job, task, from).await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        self.0.commit(job, epochs).await
    }

    async fn after_commit(&self, job: &JobName) -> Result<()> {
        self.0.after_commit(job).await
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        self.0.kept(job).await
    }

    async fn forget(&self, job: &JobName) -> Result<()> {
        self.0.forget(job).await
    }
}
