//! The contract of a place: what a job asks of the server that its results, state and positions go to.

use std::future::Future;
use std::time::Duration;

use crate::chunk::Chunk;
use crate::epoch::{Epoch, Kept, Verdict};
use crate::error::{Error, Result};
use crate::position::{JobName, Position, Task};
use crate::record::Partition;
use crate::staged::Place;

/// A claim on the partitions of a task.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Claim {
    /// The task.
    pub task: Task,
    /// All its partitions.
    pub partitions: Vec<Partition>,
    /// The new owner's mark.
    pub owner: u64,
}

impl Claim {
    /// A claim on these partitions of the task, by an owner with this mark.
    #[must_use]
    pub fn new(task: Task, partitions: Vec<Partition>, owner: u64) -> Self {
        Self { task, partitions, owner }
    }
}

/// Chunks read back, and where the next call goes on.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ChunkPage {
    /// Chunks, in order within each bucket; only [`Append`](crate::chunk::BucketChange::Append) and
    /// [`Replace`](crate::chunk::BucketChange::Replace).
    pub chunks: Vec<Chunk>,
    /// What to pass to the next call; `None` after the last page.
    pub next: Option<String>,
}

impl ChunkPage {
    /// These chunks, and what to pass to the next call.
    #[must_use]
    pub fn new(chunks: Vec<Chunk>, next: Option<String>) -> Self {
        Self { chunks, next }
    }
}

/// The place of results, state and positions, and its one atomic step.
///
/// A clone is another handle on the same place. Every call has a deadline of its own and answers a
/// server that is away with a [transient](Error::is_transient) error; the caller tries again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a place that commits a job's results, state and positions in one step",
    note = "give the job a place: `.anchor(Memory::new())` needs no server; Postgres and Redis are in rtbflow-sinks",
    note = "what is written beside it, at least once, is given to the job by `.writer(…)`"
)]
pub trait Anchor: Clone + Send + Sync + 'static {
    /// The place that this anchor commits for; its sinks carry the same.
    fn place(&self) -> Place;

    /// Another handle on the same place for calls that must not wait for this one's commits, such as the heartbeats of
    /// [named instances](crate::Job::instances): a place that makes calls wait for each other gives it connections
    /// of its own. A clone, unless overridden.
    #[must_use]
    fn apart(&self) -> Self {
        self.clone()
    }

    /// The topics that results are meant for: one that is refused becomes a dead letter beside its topic. None,
    /// unless overridden.
    fn topics(&self) -> Vec<String> {
        Vec::new()
    }

    /// How long one commit should take: epochs grow while commits are quicker than half of it, and shrink
    /// when they take longer. A place that serves others meanwhile says less. Default 250 ms.
    fn aim(&self) -> Duration {
        Duration::from_millis(250)
    }

    /// Whether an epoch's commit has nothing to share with those of other tasks. Then each is committed by a call of
    /// its own, at the same time as others, and one that waits holds up no other. Else, which is the default, one call
    /// is under way at a time, with the epochs of as many tasks as are ready.
    fn commits_apart(&self) -> bool {
        false
    }

    /// Whether the place is put together rightly: asked as the job starts, before anything is connected. Right
    /// unless overridden.
    ///
    /// # Errors
    /// A configuration error that names all that is wrong: the job does not start, and reports it with whatever
    /// else is.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Connects and makes what the anchor itself needs. Called once at the start of a job; must be safe
    /// when all instances call it at once.
    ///
    /// # Errors
    /// Transient if the server is away; a configuration error if it cannot be used.
    fn prepare(&self, job: &JobName) -> impl Future<Output = Result<()>> + Send;

    /// Where these partitions stand, in their order, as the place has it now: asked every two seconds, so that an
    /// outage shows before the next record, and so does a place that has come back as an older self, such as a
    /// replica that was behind: what is missing there is then read again. Changes nothing. A partition that
    /// was never claimed stands at [`Position::default`]. The default says that the place is there, and nothing of
    /// the partitions.
    ///
    /// # Errors
    /// Transient if it does not answer, within a deadline of its own.
    fn probe(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> impl Future<Output = Result<Option<Vec<Position>>>> + Send {
        let _ = (job, partitions);
        std::future::ready(Ok(None))
    }

    /// Takes over the partitions of a task: each position gets the new owner and one more commit, in
    /// one step, and is returned as it stands then, in the order of `claim.partitions`. A partition
    /// that was never claimed starts from [`Position::default`].
    ///
    /// # Errors
    /// Transient if the server is away; a configuration error if the place holds state of this job for
    /// another number of tasks.
    fn claim(
        &self,
        job: &JobName,
        claim: &Claim,
    ) -> impl Future<Output = Result<Vec<Position>>> + Send;

    /// Reads a task's state back, page by page; `from` is `None` first, then [`ChunkPage::next`].
    ///
    /// # Errors
    /// Transient if the server is away.
    fn restore(
        &self,
        job: &JobName,
        task: Task,
        from: Option<String>,
    ) -> impl Future<Output = Result<ChunkPage>> + Send;

    /// Commits epochs of different tasks, each wholly or not at all: compares the positions, then applies
    /// positions, chunks and rows. The verdicts are in the order of the epochs. An epoch that stands
    /// applied already is [`Verdict::Committed`], with what was found out when it was, and nothing of it
    /// is applied again.
    ///
    /// Rows that are [refused](crate::sink::Staged::refused) are left out.
    ///
    /// # Errors
    /// Transient if the server is away, an epoch waits for something that is not there yet, or the outcome is
    /// not known: the caller commits the same epochs again, in smaller groups, while epochs of other tasks may
    /// be committed. No epoch is cut in two: a call that has run out of time needs more when it is made again.
    /// [Refused](Error::refused) if the place will never take some of the rows for what they are: it
    /// names at least one, nothing of the epochs that it names was applied, and the caller commits all of
    /// them again without those rows.
    fn commit(
        &self,
        job: &JobName,
        epochs: &[Epoch],
    ) -> impl Future<Output = Result<Vec<Verdict>>> + Send;

    /// Does what commits have left to be done behind them, in steps of its own: what would take too long within
    /// theirs. Called after each commit, once its verdicts are known; how long it takes is not held against the
    /// size of epochs. What was not done when an instance was killed is for [`claim`](Self::claim). The default
    /// has nothing to do.
    ///
    /// # Errors
    /// Transient if the server is away: the caller calls again.
    fn after_commit(&self, job: &JobName) -> impl Future<Output = Result<()>> + Send {
        let _ = job;
        std::future::ready(Ok(()))
    }

    /// What the place keeps of a job beside its results, as it is at the moment.
    ///
    /// # Errors
    /// Transient if the server is away; a configuration error, unless overridden: such a place cannot be
    /// looked into.
    fn kept(&self, job: &JobName) -> impl Future<Output = Result<Kept>> + Send {
        std::future::ready(Err(cannot("look for what it keeps of", self.place(), job)))
    }

    /// Removes the positions and the state of a job: started again, it begins at the first record.
    /// Nobody can commit with a position from before, however long he was frozen; and where this takes
    /// several steps, the first one sees to that, and nobody can claim before the last. One that was
    /// interrupted is made again from its beginning.
    ///
    /// The results stay, and are written again by the next run. Where that must not be, use what the place
    /// has for removing them in the same step (`forget_with` of the places of this project).
    ///
    /// # Errors
    /// Transient if the server is away: call it again. A configuration error, unless overridden: such a
    /// place cannot forget a job.
    fn forget(&self, job: &JobName) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Err(cannot("forget", self.place(), job)))
    }
}

fn cannot(what: &str, place: Place, job: &JobName) -> Error {
    Error::config(format!(
        "{what} job {job}: the place {} has no way to do so; remove what it keeps by its own means while no \
         instance runs, results included",
        place.kind()
    ))
}
