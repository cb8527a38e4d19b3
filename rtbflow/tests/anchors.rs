//! The laws of anchors tell a broken one from a sound one.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use rtbflow::Result;
use rtbflow::epoch::{
    Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Memory, Position, Task, Verdict,
};
use rtbflow::sink::{Collected, Place, Sink, Staged};
use rtbflow::testing::builders::record;
use rtbflow::testing::laws::{self, AnchorUnderTest};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Says that everything was committed.
    NeverFenced,
    /// Does not commit a group of more than one.
    OnlyTheFirst,
    /// Returns positions in its own order.
    SortedClaims,
    /// Loses the last chunk of a task.
    LosesAChunk,
    /// Gives back the chunks of all buckets in the wrong order.
    ReversesChunks,
    /// Every page is the first.
    GoesInCircles,
    /// Takes all jobs for one.
    MixesJobs,
    /// Claims without a new owner.
    KeepsTheOwner,
    /// Takes state of any number of tasks for its own.
    AnyLayout,
    /// Says that it has forgotten a job.
    ForgetsNothing,
    /// Forgets all jobs.
    ForgetsAll,
}

#[derive(Clone)]
struct Broken {
    memory: Memory,
    jobs: Arc<Mutex<Vec<JobName>>>,
    fault: Fault,
}

impl Broken {
    fn jobs(&self) -> MutexGuard<'_, Vec<JobName>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn job(&self, job: &JobName) -> JobName {
        let one = if self.fault == Fault::MixesJobs { "one" } else { job.as_str() };
        JobName::new(one).unwrap_or_else(|_| job.clone())
    }
}

impl Anchor for Broken {
    fn place(&self) -> Place {
        self.memory.place()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.jobs().push(job.clone());
        self.memory.prepare(job).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let mut claim = claim.clone();
        if self.fault == Fault::SortedClaims {
            claim.partitions.sort();
        }
        if self.fault == Fault::AnyLayout {
            claim.task.of = 7;
        }
        let before = self.memory.positions(&self.job(job));
        let mut claimed = self.memory.claim(&self.job(job), &claim).await?;
        if self.fault == Fault::KeepsTheOwner {
            let known = |(partition, at): (_, Position)| match before.get(partition) {
                Some(before) => Position { owner: at.owner, ..*before },
                None => at,
            };
            claimed = claim.partitions.iter().zip(claimed).map(known).collect();
        }
        Ok(claimed)
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        let mut page = self.memory.restore(&self.job(job), task, from).await?;
        if self.fault == Fault::LosesAChunk {
            page.chunks.pop();
        }
        if self.fault == Fault::ReversesChunks {
            page.chunks.reverse();
        }
        if self.fault == Fault::GoesInCircles {
            page.next = Some("again".into());
        }
        Ok(page)
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let only_first = epochs.get(..1).filter(|_| self.fault == Fault::OnlyTheFirst);
        let few = only_first.unwrap_or(epochs);
        let mut verdicts = self.memory.commit(&self.job(job), few).await?;
        verdicts.resize(epochs.len(), Verdict::COMMITTED);
        if self.fault == Fault::NeverFenced {
            verdicts.fill(Verdict::COMMITTED);
        }
        Ok(verdicts)
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        self.memory.kept(&self.job(job)).await
    }

    async fn forget(&self, job: &JobName) -> Result<()> {
        if self.fault == Fault::ForgetsNothing {
            return Ok(());
        }
        if self.fault == Fault::ForgetsAll {
            let jobs = self.jobs().clone();
            for job in &jobs {
                self.memory.forget(job).await?;
            }
        }
        self.memory.forget(&self.job(job)).await
    }
}

struct UnderTest(Broken, Collected<i64>);

impl AnchorUnderTest for UnderTest {
    type Anchor = Broken;

    fn anchor(&self) -> Broken {
        self.0.clone()
    }

    fn stage(&self, value: i64) -> Staged {
        let (mut sink, mut staged) = (self.1.sink(), Vec::new());
        sink.write(&record(value, 0));
        sink.stage(&mut staged);
        staged.remove(0)
    }

    async fn total(&self) -> i64 {
        self.1.values().iter().sum()
    }
}

async fn keeps_the_laws(fault: Fault) -> bool {
    let memory = Memory::new();
    let collected = memory.collected();
    let under_test = UnderTest(Broken { memory, jobs: Arc::default(), fault }, collected);
    AssertUnwindSafe(laws::anchor(&under_test)).catch_unwind().await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn anchors_with_a_fault_break_the_laws() {
    assert!(keeps_the_laws(Fault::None).await);
    for fault in [
        Fault::NeverFenced,
        Fault::OnlyTheFirst,
        Fault::SortedClaims,
        Fault::LosesAChunk,
        Fault::ReversesChunks,
        Fault::GoesInCircles,
        Fault::MixesJobs,
        Fault::KeepsTheOwner,
        Fault::AnyLayout,
        Fault::ForgetsNothing,
        Fault::ForgetsAll,
    ] {
        assert!(!keeps_the_laws(fault).await, "{fault:?}");
    }
}
