//! The anchor: positions, state and results in one script.

use std::time::Duration;

use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Position, Task, Verdict};
use rtbflow::sink::Place;
use rtbflow::{Partition, Result};

use crate::redis::failure;
use crate::redis::inspect::inspect;
use crate::redis::keys::Keys;
use crate::redis::place::Redis;
use crate::redis::reply::unreadable;

/// How long one commit should take. Nobody else is served while a script runs.
const AIM: Duration = Duration::from_millis(50);

impl Anchor for Redis {
    fn place(&self) -> Place {
        Redis::place(self)
    }

    fn apart(&self) -> Self {
        self.with_own_connections()
    }

    fn aim(&self) -> Duration {
        AIM
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        // In this order: what kind of server it is, whether it takes the pipeline's Lua, and what its user may do.
        self.inspect().await?;
        self.library().load(self.server()).await?;
        self.check_rights(Some(&Keys::of(job))).await
    }

    async fn probe(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> Result<Option<Vec<Position>>> {
        self.read_positions(job, partitions).await.map(Some)
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.claim_task(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.restore_page(job, task, from).await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        self.commit_all(job, epochs).await
    }

    async fn after_commit(&self, _: &JobName) -> Result<()> {
        self.run_follow_ups().await
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        self.look(job).await
    }

    async fn forget(&self, job: &JobName) -> Result<()> {
        self.forget_with(job, &[]).await.map(drop)
    }
}

impl Redis {
    /// Connects, and makes sure that the server can be used and the user may do what
    /// [`uses`](super::Options::uses) says: for a program that only makes [calls](Self::call). A job does the same
    /// by [`prepare`](Anchor::prepare).
    ///
    /// # Errors
    /// Transient if the server is away; a configuration error that lists what is missing.
    pub async fn check(&self) -> Result<()> {
        self.inspect().await?;
        self.check_rights(None).await
    }

    async fn inspect(&self) -> Result<()> {
        let attempted = format!("inspect Redis at {}", self.server().address());
        let answer = self.server().send_one("inspect the server", redis::cmd("INFO")).await?;
        match answer {
            Ok(info) => {
                let info = redis::from_redis_value::<String>(info)
                    .map_err(|cause| unreadable(&attempted).because(cause))?;
                for warning in inspect(&info)? {
                    tracing::warn!(server = self.server().address(), "{warning}");
                }
                Ok(())
            }
            // A job needs no INFO: whoever may not run it only learns less.
            Err(cause) if cause.code() == Some("NOPERM") => {
                tracing::warn!(
                    server = self.server().address(),
                    "the user may not run INFO: whether Redis persists and keeps positions is not checked"
                );
                Ok(())
            }
            Err(cause) => Err(failure::error(&attempted, cause)),
        }
    }
}
