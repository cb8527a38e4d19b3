//! The anchor: positions, state and results in one script.

use std::time::Duration;

use redis::{Pipeline, Value};
use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Position, Task, Verdict};
use rtbflow::sink::Place;
use rtbflow::state::{Change, Chunk};
use rtbflow::{Error, Result};

use super::keys::{Keys, parse_bucket};
use super::library::{elements, text};
use super::mark::parse_position;
use super::{Redis, fault};

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
        let keys = Keys::of(job);
        let (positions, tasks, forgetting) = (keys.positions(), keys.tasks(), keys.forgetting());
        let claimed = keys.claimed();
        let attempted = format!("take over task {} of {job}", claim.task);
        let answers = self
            .claim_text()
            .send(self.server(), &attempted, 1, |_| {
                let mut command =
                    self.claim_text().run(&[&positions, &tasks, &forgetting, &claimed]);
                command.arg(claim.owner).arg(claim.task.of);
                for partition in &claim.partitions {
                    command.arg(partition.to_string());
                }
                command
            })
            .await?;
        let reply = one(&attempted, answers)?;
        match text(reply.first()).as_str() {
            "claimed" => {}
            "laid out" => {
                let other = text(reply.get(1));
                let tasks = other.rsplit_once('/').map_or(other.as_str(), |(_, tasks)| tasks);
                let server = format!("Redis at {}", self.server().address());
                return Err(claim.task.laid_out_for(tasks, job, &server));
            }
            "forgetting" => {
                return Err(Error::config(format!(
                    "{attempted} in Redis at {}: the job is being forgotten, or that was interrupted: what is left \
                     of it fits nothing. Forget it again, to the end (`forget`, or `forget_with` and its results)",
                    self.server().address()
                )));
            }
            _ => {
                return Err(Error::config(format!(
                    "{attempted}: {} holds {:?} for {}, which is not a position",
                    positions,
                    text(reply.get(2)),
                    text(reply.get(1))
                )));
            }
        }
        // Its former owner may have been killed behind a commit.
        self.run_follow_ups().await?;
        let found = reply.iter().skip(1).map(|bytes| parse_position(&text(Some(bytes))));
        found
            .collect::<Option<Vec<_>>>()
            .filter(|found| found.len() == claim.partitions.len())
            .ok_or_else(|| {
                Error::permanent(format!("{attempted}: {positions} holds no readable position"))
            })
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        let index = Keys::of(job).index(task);
        let attempted = format!("restore the state of task {task} of {job}");
        let (skip, bucket) =
            from.as_deref().and_then(|from| from.split_once('@')).unwrap_or(("0", ""));
        let answers = self
            .restore_text()
            .send(self.server(), &attempted, 1, |_| {
                let mut command = self.restore_text().run(&[&index]);
                command.arg(bucket).arg(skip).arg(self.page_bytes());
                command
            })
            .await?;
        let mut reply = one(&attempted, answers)?.into_iter();
        let bucket = text(reply.next().as_ref());
        let skip = text(reply.next().as_ref());
        let mut page = ChunkPage {
            chunks: Vec::with_capacity(reply.len() / 2),
            next: (!bucket.is_empty()).then(|| format!("{skip}@{bucket}")),
        };
        while let (Some(name), Some(bytes)) = (reply.next(), reply.next()) {
            let name = text(Some(&name));
            let (bucket, operator) = parse_bucket(&name).ok_or_else(|| {
                Error::config(format!("{attempted}: {index} holds {name:?}, which is not a bucket"))
            })?;
            let change = Change::Append(bytes.into());
            page.chunks.push(Chunk { operator: operator.into(), bucket, change });
        }
        Ok(page)
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
                for warning in super::inspect::inspect(&info)? {
                    tracing::warn!(server = self.server().address(), "{warning}");
                }
            }
            Some(Err(cause)) if cause.code() == Some("NOPERM") => {
                tracing::warn!(
                    server = self.server().address(),
                    "the user may not run INFO: whether Redis persists and keeps positions is not checked"
                );
            }
            Some(Err(cause)) => return Err(fault::error(&attempted, cause)),
            None => return Err(Error::transient(attempted)),
        }
        Ok(())
    }
}

fn one(attempted: &str, answers: Vec<redis::RedisResult<Value>>) -> Result<Vec<Vec<u8>>> {
    match answers.into_iter().next() {
        Some(answer) => elements(attempted, answer),
        None => Err(Error::transient(format!("{attempted}: no answer"))),
    }
}
