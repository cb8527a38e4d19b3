//! The anchor: results, state and positions in one transaction.

use std::time::Duration;

use futures::future::join_all;
use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Position, Task, Verdict};
use rtbflow::sink::Place;
use rtbflow::state::Chunk;
use rtbflow::{Error, Result};

use crate::anchor::commit::Plan;
use crate::anchor::forget;
use crate::anchor::options::{CALL_TIMEOUT, CLAIM_TIMEOUT, LONGEST_TRANSACTION, RESTORE_TIMEOUT};
use crate::anchor::place::{KafkaAnchor, Shared};
use crate::anchor::target::Target;
use crate::client::topic_spec::TopicSpec;
use crate::producer::refusal::of_epoch;

/// What a commit may take beside the deadline of a call, by its size.
fn time_to_write(epoch: &Epoch) -> Duration {
    const ROWS_PER_SECOND: usize = 5_000;
    const BYTES_PER_SECOND: usize = 2 << 20;
    let rows: usize = epoch.staged.iter().map(|staged| staged.rows).sum();
    let bytes: usize = epoch.chunks.iter().map(Chunk::len).sum();
    let seconds = rows / ROWS_PER_SECOND + bytes / BYTES_PER_SECOND;
    // A count of what is in memory fits.
    Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX))
}

impl Anchor for KafkaAnchor {
    fn place(&self) -> Place {
        self.inner.place
    }

    fn topics(&self) -> Vec<String> {
        self.inner.results.names()
    }

    fn validate(&self) -> Result<()> {
        let Shared { kafka, options, .. } = &*self.inner;
        let call_timeout = match options.call_timeout.is_zero() {
            true => {
                Err(Error::config("commit to Kafka: `call_timeout` is 0; give calls some seconds"))
            }
            false => Ok(()),
        };
        Error::all([kafka.validate(), call_timeout])
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        let Shared { kafka, results, options, .. } = &*self.inner;
        kafka.check(CALL_TIMEOUT).await?;
        let mut topics = results.names();
        let changelog = (!options.creates_changelog).then(|| TopicSpec::changelog(job, 0));
        topics.extend(changelog.map(|spec| spec.name().to_owned()));
        kafka.check_topics_exist("write", topics).await?;
        results.refresh_limits(kafka, CALL_TIMEOUT).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let (attempt, claim) =
            (format!("claim task {} of job {job} in Kafka", claim.task), claim.clone());
        let longest = |_| CLAIM_TIMEOUT;
        self.with_session(attempt, (job, claim.task), longest, move |session, target, deadline| {
            session.claim(target, &claim, deadline)
        })
        .await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        let attempt = format!("restore task {task} of job {job} from Kafka");
        let longest = |_| RESTORE_TIMEOUT;
        self.with_session(attempt, (job, task), longest, move |session, target, _| {
            session.restore(target, from.as_deref())
        })
        .await
    }

    /// Each epoch is a transaction of its own, by the producer of its task.
    fn commits_apart(&self) -> bool {
        true
    }

    /// Those of several epochs are made at the same time.
    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let commits = epochs.iter().map(|epoch| self.commit_one(job, epoch));
        let verdicts = join_all(commits).await;
        let refused = verdicts.iter().zip(0..).filter_map(|(verdict, number)| {
            verdict.as_ref().err().map(|error| of_epoch(number, error))
        });
        let refused: Vec<_> = refused.flatten().collect();
        // Refusals before errors: without the refused rows the others may get through, and what was applied of them
        // is found so when they are committed again.
        if refused.is_empty() {
            verdicts.into_iter().collect()
        } else {
            Err(Error::refused(refused))
        }
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        let attempt = format!("look for what is kept of job {job} in Kafka");
        self.with_job(attempt, job, RESTORE_TIMEOUT, forget::kept).await
    }

    /// Takes over all tasks, and then deletes the changelog, which is the one step: until it is gone, all is
    /// as it was, but for instances that still run, which are fenced. Results stay; whoever reads them sees
    /// those of the next run behind them.
    async fn forget(&self, job: &JobName) -> Result<()> {
        let attempt = format!("forget job {job} in Kafka");
        self.with_job(attempt, job, CLAIM_TIMEOUT, forget::forget).await
    }
}

impl KafkaAnchor {
    async fn commit_one(&self, job: &JobName, epoch: &Epoch) -> Result<Verdict> {
        let attempt = format!("commit task {} of job {job} to Kafka", epoch.task);
        let plan = Plan::new(epoch, self.inner.place)?;
        let longest = self.inner.options.call_timeout.saturating_add(time_to_write(epoch));
        let longest = |times| longest.saturating_mul(times);
        self.with_session(attempt, (job, epoch.task), longest, move |session, target, deadline| {
            let timeout = target.transaction_timeout.max(deadline.left()).min(LONGEST_TRANSACTION);
            session.commit(&Target { transaction_timeout: timeout, ..*target }, &plan, deadline)
        })
        .await
    }
}
