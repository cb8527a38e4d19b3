//! What every law of anchors begins with: a new job at the place, and owners of its tasks.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::under_test::AnchorUnderTest;
use crate::barrier::Gathered;
use crate::chunk::{BucketChange, Chunk};
use crate::epoch::{Advance, Anchor, Claim, Epoch, Verdict};
use crate::error::Result;
use crate::position::{JobName, Position, Task};
use crate::record::{Partition, Topic};
use crate::time::Timestamp;

/// How often a transient answer is tried again before the law counts as broken.
const ATTEMPTS: u32 = 20;

/// One law's own job at the place.
pub(super) struct Case<'a, P> {
    pub(super) place: &'a P,
    pub(super) job: JobName,
    opening: i64,
}

/// One life of a task: what a job remembers between its commits.
#[derive(Clone)]
pub(super) struct Owner<A> {
    pub(super) anchor: A,
    pub(super) job: JobName,
    pub(super) task: Task,
    pub(super) at: Vec<(Partition, Position)>,
}

/// A job's name that was never used before.
#[expect(clippy::expect_used, reason = "the name is legal: letters, a dash and hexadecimal digits")]
pub(super) fn new_job() -> JobName {
    JobName::new(format!("laws-{:016x}", rand::random::<u64>())).expect("a legal name")
}

/// A partition of a topic that the laws read.
pub(super) fn partition(number: i32) -> Partition {
    Partition::new(Topic::new("laws"), number)
}

/// Tries again for as long as the answer is transient, as a job does.
#[expect(clippy::panic, reason = "a law that is broken panics")]
pub(super) async fn patiently<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T>>,
{
    let mut failures = 0;
    loop {
        match attempt().await {
            Ok(answer) => return answer,
            Err(error) if error.is_transient() && failures < ATTEMPTS => failures += 1,
            Err(error) => panic!("{what}, after {failures} transient answers: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10) * failures).await;
    }
}

impl<'a, P: AnchorUnderTest> Case<'a, P> {
    pub(super) async fn new(place: &'a P) -> Self {
        let case = Self { place, job: new_job(), opening: place.total().await };
        let anchor = place.anchor();
        patiently("prepare", || anchor.prepare(&case.job)).await;
        case
    }

    /// The sum of what became visible since the law began.
    pub(super) async fn applied(&self) -> i64 {
        self.place.total().await.wrapping_sub(self.opening)
    }

    /// Claims a task with these partitions, through a handle of its own.
    pub(super) async fn claim(&self, task: Task, numbers: &[i32]) -> Owner<P::Anchor> {
        let mark = rand::random();
        self.claim_as(mark, task, numbers).await
    }

    pub(super) async fn claim_as(
        &self,
        mark: u64,
        task: Task,
        numbers: &[i32],
    ) -> Owner<P::Anchor> {
        Owner::claim(self.place.anchor(), &self.job, mark, task, numbers).await
    }

    /// An epoch in which each partition reads this many records, with one row and one chunk of state.
    pub(super) fn epoch(&self, owner: &Owner<P::Anchor>, read: i64, value: i64) -> Epoch {
        let mut epoch = owner.epoch(read);
        epoch.staged.push(self.place.stage(value));
        epoch.chunks.push(append("laws", 7, value.to_string()));
        epoch
    }
}

/// A chunk that is appended.
pub(super) fn append(operator: &str, bucket: i64, bytes: impl Into<Bytes>) -> Chunk {
    Chunk { operator: operator.into(), bucket, change: BucketChange::Append(bytes.into()) }
}

impl<A: Anchor> Owner<A> {
    pub(super) async fn claim(
        anchor: A,
        job: &JobName,
        mark: u64,
        task: Task,
        numbers: &[i32],
    ) -> Self {
        let partitions: Vec<Partition> = numbers.iter().copied().map(partition).collect();
        let claim = Claim { task, partitions: partitions.clone(), owner: mark };
        let positions = patiently("claim", || anchor.claim(job, &claim)).await;
        assert_eq!(positions.len(), partitions.len(), "a claim returns one position per partition");
        for position in &positions {
            assert_eq!(position.owner, mark, "a claim returns positions with the new owner's mark");
        }
        let at = partitions.into_iter().zip(positions).collect();
        Self { anchor, job: job.clone(), task, at }
    }

    /// An epoch in which each partition reads this many records, without rows and state.
    pub(super) fn epoch(&self, read: i64) -> Epoch {
        let advances = self.at.iter().map(|&(partition, from)| {
            let mut to = Position { commit: from.commit + 1, ..from };
            if read > 0 {
                to.offset = Some(from.offset.unwrap_or(0) + read);
                to.event_time = to.offset.map(Timestamp::from_millis);
            }
            Advance { partition, from, to }
        });
        Epoch::new(self.task, advances.collect(), Gathered::default())
    }

    /// Commits a group of epochs, trying again while the outcome is not known.
    pub(super) async fn commit_all(&self, epochs: &[Epoch]) -> Vec<Verdict> {
        let verdicts = patiently("commit", || self.anchor.commit(&self.job, epochs)).await;
        assert_eq!(verdicts.len(), epochs.len(), "a commit returns one verdict an epoch");
        verdicts
    }

    /// Commits one epoch; once it is committed, the owner stands where it leads.
    pub(super) async fn commit(&mut self, epoch: &Epoch) -> Verdict
    where
        A: Anchor,
    {
        let verdict = self.commit_all(std::slice::from_ref(epoch)).await.pop();
        if matches!(verdict, Some(Verdict::Committed(_))) {
            self.at = epoch.advances.iter().map(|step| (step.partition, step.to)).collect();
        }
        verdict.unwrap_or(Verdict::Fenced)
    }
}
