//! The anchor: positions, state and results in one script.

use redis::{Cmd, Pipeline, Value};
use rtbflow::barrier::Tally;
use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Position, Task, Verdict};
use rtbflow::sink::Place;
use rtbflow::state::{Change, Chunk};
use rtbflow::{Error, Result};

use super::keys::{Keys, bucket_text, parse_bucket, task_text};
use super::library::{elements, text};
use super::mark::{mark, parse_position, position_text};
use super::staged::Batch;
use super::{Redis, fault};

/// Operations that Redis refused and that are kept for the operator.
const MOST_REJECTED: usize = 1_000;

impl Anchor for Redis {
    fn place(&self) -> Place {
        Redis::place(self)
    }

    async fn prepare(&self, _job: &JobName) -> Result<()> {
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
        self.library().load(self.server()).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let keys = Keys::of(job);
        let (positions, tasks, forgetting) = (keys.positions(), keys.tasks(), keys.forgetting());
        let attempted = format!("take over task {} of {job}", claim.task);
        let answers = self
            .claim_text()
            .send(self.server(), &attempted, 1, |_| {
                let mut command = self.claim_text().run(&[&positions, &tasks, &forgetting]);
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
        let keys = Keys::of(job);
        self.check(epochs)?;
        let attempted = format!("commit {job}");
        let script = self.library().commit();
        let request = |number: usize| {
            epochs.get(number).map_or_else(Cmd::new, |epoch| {
                let (positions, index) = (keys.positions(), keys.index(epoch.task));
                let (tasks, rejected) = (keys.tasks(), keys.rejected());
                let command = script.run(&[&positions, &index, &tasks, &rejected]);
                self.arguments(command, epoch)
            })
        };
        let answers = script.send(self.server(), &attempted, epochs.len(), request).await?;
        // All answers first: what was refused in one epoch is reported though another failed.
        let outcomes: Vec<Result<Verdict>> = answers
            .into_iter()
            .zip(epochs)
            .map(|(answer, epoch)| self.outcome(&attempted, epoch, answer))
            .collect();
        outcomes.into_iter().collect()
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        self.look(job).await
    }

    async fn forget(&self, job: &JobName) -> Result<()> {
        self.forget_with(job, &[]).await.map(drop)
    }
}

impl Redis {
    /// A sink that was put together wrongly fails the first commit.
    fn check(&self, epochs: &[Epoch]) -> Result<()> {
        let staged = epochs.iter().flat_map(|epoch| epoch.staged_for(Redis::place(self)));
        let mut batches = staged.filter_map(|staged| staged.batch::<Batch>());
        match batches.find_map(|batch| batch.mistake.as_deref()) {
            Some(mistake) => {
                Err(Error::config(format!("put a sink for Redis together: {mistake}")))
            }
            None => Ok(()),
        }
    }

    fn arguments(&self, mut command: Cmd, epoch: &Epoch) -> Cmd {
        command.arg(task_text(epoch.task)).arg(MOST_REJECTED).arg(epoch.advances.len());
        for advance in &epoch.advances {
            command
                .arg(advance.partition.to_string())
                .arg(mark(&advance.from))
                .arg(mark(&advance.to))
                .arg(position_text(&advance.to));
        }
        command.arg(epoch.chunks.len());
        for chunk in &epoch.chunks {
            let (change, bytes): (_, &[u8]) = match &chunk.change {
                Change::Append(bytes) => ("append", bytes),
                Change::Replace(bytes) => ("replace", bytes),
                Change::Drop => ("drop", &[]),
            };
            command.arg(change).arg(bucket_text(chunk.bucket, &chunk.operator)).arg(bytes);
        }
        for staged in epoch.staged_for(Redis::place(self)) {
            if let Some(batch) = staged.batch::<Batch>() {
                for argument in batch.arguments.iter() {
                    command.arg(argument);
                }
            }
        }
        command
    }

    fn outcome(
        &self,
        attempted: &str,
        epoch: &Epoch,
        answer: redis::RedisResult<Value>,
    ) -> Result<Verdict> {
        let attempted =
            format!("{attempted}: task {} in Redis at {}", epoch.task, self.server().address());
        let reply = elements(&attempted, answer)?;
        match text(reply.first()).as_str() {
            "committed" => {
                report(epoch.task, &reply);
                Ok(Verdict::Committed(found(reply.get(2))))
            }
            "applied" => Ok(Verdict::Committed(found(reply.get(1)))),
            "fenced" => Ok(Verdict::Fenced),
            "foreign" => Err(Error::config(format!(
                "{attempted}: {} holds a {} and should hold a {}: another program writes keys that begin \
                 with rtbflow: and has to stop that. Remove the key, and reset the job: its positions, state and \
                 results together (`forget_with`)",
                text(reply.get(1)),
                text(reply.get(2)),
                text(reply.get(3)),
            ))),
            other => Err(Error::permanent(format!("{attempted}: the script answered {other:?}"))),
        }
    }
}

fn one(attempted: &str, answers: Vec<redis::RedisResult<Value>>) -> Result<Vec<Vec<u8>>> {
    match answers.into_iter().next() {
        Some(answer) => elements(attempted, answer),
        None => Err(Error::transient(format!("{attempted}: no answer"))),
    }
}

/// What the script found out about records: their numbers by class, or nothing.
fn found(counts: Option<&Vec<u8>>) -> Tally {
    let counts = text(counts);
    let mut counts = counts.split(' ').map(|count| count.parse().unwrap_or(0));
    let mut next = || counts.next().unwrap_or(0);
    Tally { filtered: next(), late: next(), duplicates: next(), dead_lettered: next() }
}

/// Logs and counts the operations that Redis refused.
fn report(task: Task, reply: &[Vec<u8>]) {
    let count: u64 = text(reply.get(1)).parse().unwrap_or(0);
    if count == 0 {
        return;
    }
    metrics::counter!("rtbflow_redis_rejected_operations_total").increment(count);
    for refused in reply.get(3..).unwrap_or_default().chunks(3) {
        let [operation, key, error] = [0, 1, 2].map(|part| text(refused.get(part)));
        tracing::error!(%task, operation, key, error, "Redis refused an operation; the epoch goes on");
    }
    tracing::error!(%task, count, "operations refused by Redis in one epoch");
}
