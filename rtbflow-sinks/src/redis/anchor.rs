//! The anchor: positions, state and results in one script.

use std::time::Duration;

use redis::Pipeline;
use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Position, Task, Verdict};
use rtbflow::sink::Place;
use rtbflow::{Error, Result};

use crate::redis::failure;
use crate::redis::keys::Keys;
use crate::redis::place::Redis;

/// How long one commit should take. Nobody else is served while a script runs.
const AIM: Duration = Duration::from_millis(50);

impl Anchor for Redis {
    fn place(&self) -> Place {
        Redis::place(self)
    }

    fn aim(&self) -> Duration {
        AIM
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.inspect().await?;
        self.library().load(self.server()).await?;
        self.check_rights(Some(&Keys::of(job))).await
    }

    async fn probe(&self) -> Result<()> {
        let mut commands = Pipeline::new();
        commands.add_command(redis::cmd("PING"));
        // One who may not ask is answered as well.
        self.server().send("reach", &mut commands).await.map(drop)
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
        let mut commands = Pipeline::new();
        commands.add_command(redis::cmd("INFO"));
        let answer = self.server().send("inspect the server", &mut commands).await?.pop();
        match answer {
            Some(Ok(info)) => {
                let info = redis::from_redis_value::<String>(info).unwrap_or_default();
                for warning in crate::redis::inspect::inspect(&info)? {
                    tracing::warn!(server = self.server().address(), "{warning}");
                }
            }
            Some(Err(cause)) if cause.code() == Some("NOPERM") => {
                tracing::warn!(
                    server = self.server().address(),
                    "the user may not run INFO: whether Redis persists and keeps positions is not checked"
                );
            }
            Some(Err(cause)) => return Err(failure::error(&attempted, cause)),
            None => return Err(Error::transient(attempted)),
        }
        Ok(())
    }
}
