//! One place, one step: results, state and positions move together or not at all.
//!
//! ```text
//!  task   ──records──▶ operators ──▶ sinks
//!    │                     │            │
//!    └──barrier──▶ chunks ─┴─▶ rows ────┴─▶ Epoch ──▶ committer ──▶ Anchor::commit
//!                                                                    positions from→to,
//!                                                                    chunks, rows: one step
//! ```
//!
//! An [`Epoch`] is a plain value. The place keeps one [`Position`] for each partition, and a commit is
//! a compare-and-set on them: it says *from* which position *to* which, and succeeds only where the
//! place still stands at *from*. A position is more than an offset: it counts the commits (so that an
//! epoch that reads nothing, such as one that closes windows of a quiet input, is fenced as well) and
//! names the owner. Three things follow.
//!
//! - **Fencing.** On assignment a task [claims](Anchor::claim) its partitions, which puts a new owner
//!   into their positions. A former owner that is still alive (frozen, paused, cut off) cannot
//!   commit any more, whatever it holds.
//! - **Commit twice is commit once.** A position that already stands at *to* with our own mark was
//!   moved by this very epoch: the verdict is [`Verdict::Committed`] and nothing is applied again. So an
//!   unknown outcome (the connection broke between the commit and its answer) is resolved by
//!   committing again: the first thing a commit does is to read the positions.
//! - **What is found out at the place is reported once.** Whether a record repeats one of another partition,
//!   or is older than what is there, only the place can say. Its step keeps that count beside the
//!   positions, so that the verdict on an epoch that stands applied already carries the same.
//! - **A crash loses memory only.**

mod dead_letters;
mod kept;
mod memory;
mod patience;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use dead_letters::DeadLetters;
pub use kept::Kept;
pub use memory::Memory;
pub use patience::Patience;

pub use crate::dead_letter::{DeadLetter, Original};
pub use crate::error::Refusal;
pub use crate::log::{Log, TopicId};
pub use crate::position::{JobName, Position, Task};
pub use crate::refused_result::RefusedResult;

use crate::barrier::{Counts, Gathered, Reject, Samples, Tally};
use crate::chunk::Chunk;
use crate::dead_letter::Originals;
use crate::error::{Error, Result};
use crate::record::Partition;
use crate::staged::{Place, Staged};

/// One partition's step in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advance {
    /// The partition.
    pub partition: Partition,
    /// Where the place must stand.
    pub from: Position,
    /// Where it stands afterwards; `to.commit` is `from.commit + 1` and the owner the same.
    pub to: Position,
}

impl Advance {
    /// A step of this partition.
    #[must_use]
    pub fn new(partition: Partition, from: Position, to: Position) -> Self {
        Self { partition, from, to }
    }

    /// What a place that stands at `found` means for this step.
    #[must_use]
    pub fn verdict(&self, found: Option<&Position>) -> Step {
        // Where nothing was read, the two differ by the number of the commit alone: that is what is compared.
        match found {
            Some(found) if found.is(&self.from) => Step::Apply,
            Some(found) if found.is(&self.to) => Step::Applied,
            Some(_) | None => Step::Fenced,
        }
    }
}

/// What a place that was found somewhere means for one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It stands at *from*: apply the epoch.
    Apply,
    /// It stands at *to*: this very epoch was applied before.
    Applied,
    /// Another owner moved it.
    Fenced,
}

/// Everything that one task wants to become durable and visible in one step.
#[derive(Debug)]
pub struct Epoch {
    /// The task.
    pub task: Task,
    /// All partitions of the task, whether they moved or not.
    pub advances: Vec<Advance>,
    /// Changes of state, in the order in which they must be applied.
    pub chunks: Vec<Chunk>,
    /// What the sinks staged, for the anchor and for the writers.
    pub staged: Vec<Staged>,
    /// Records and results for the dead-letter topic, written before this epoch is committed and taken out
    /// when they are.
    pub dead_letters: Vec<DeadLetter>,
    /// Records for the dead-letter topic that were read in an earlier epoch, and have to be read again.
    pub(crate) unread: Vec<Reject>,
    /// The batches that its records came in: what a refused record is cut out of.
    pub(crate) originals: Vec<(Partition, Arc<dyn Originals>)>,
    /// Records read.
    pub records_in: u64,
    /// Records without a value, which are skipped.
    pub skipped: u64,
    /// How the records ended that were neither skipped nor used for a result.
    pub tally: Tally,
    /// What is noted of late and bad records among them.
    pub samples: Samples,
    /// Results that could not be written: they stand for many records, which stay decoded.
    pub results_refused: u64,
    /// Records that were used though they came behind the watermark.
    pub behind: u64,
    /// What of all this each operator has counted.
    pub(crate) operators: Vec<(Arc<str>, Counts)>,
}

impl Epoch {
    /// An epoch of these parts.
    #[must_use]
    pub fn new(task: Task, advances: Vec<Advance>, gathered: Gathered) -> Self {
        let Gathered {
            chunks,
            staged,
            rejects,
            refused,
            tally,
            samples,
            behind,
            operators,
            results: _,
        } = gathered;
        let mut epoch = Self {
            task,
            advances,
            chunks,
            staged,
            dead_letters: Vec::new(),
            unread: rejects,
            originals: Vec::new(),
            records_in: 0,
            skipped: 0,
            tally,
            samples,
            results_refused: 0,
            behind,
            operators,
        };
        // Behind the positions: a dead letter of a result says how far the task had read when it was made.
        for (result, reason) in refused {
            epoch.refuse_result(result, reason);
        }
        epoch
    }

    /// The same epoch with these changes of state.
    #[must_use]
    pub fn with_chunks(self, chunks: Vec<Chunk>) -> Self {
        Self { chunks, ..self }
    }

    /// What is staged for this place.
    pub fn staged_for(&self, place: Place) -> impl Iterator<Item = &Staged> {
        self.staged.iter().filter(move |staged| staged.place == place)
    }

    /// Rows, keys or events that it emitted: what is staged but for records that were left out in the
    /// place, each of them one row.
    pub(crate) fn rows_out(&self, found: Tally) -> u64 {
        let rows = |staged: &Staged| staged.rows.saturating_sub(staged.refused().len()) as u64;
        let staged: u64 = self.staged.iter().map(rows).sum();
        staged.saturating_sub(found.total())
    }

    /// What it means that the place stands at these positions (looked up by `found`): the answer for
    /// all partitions together. A task's partitions always move together, so anything mixed is fenced.
    pub fn step<'a>(&self, found: impl Fn(Partition) -> Option<&'a Position>) -> Step {
        // The first that differs decides: partitions of one task that stand at different commits were not moved by it.
        let mut steps =
            self.advances.iter().map(|advance| advance.verdict(found(advance.partition)));
        let first = steps.next().unwrap_or(Step::Fenced);
        if steps.all(|step| step == first) { first } else { Step::Fenced }
    }

    /// Whether this very epoch was applied before its partitions were claimed by another owner. `claimed_at`
    /// looks up where a partition stood when it was claimed last, for places that keep it: so a former owner
    /// whose answer was lost finds out what became of its last epoch.
    pub fn was_applied_before<'a>(
        &self,
        claimed_at: impl Fn(Partition) -> Option<&'a Position>,
    ) -> bool {
        let applied = |advance: &Advance| {
            claimed_at(advance.partition).is_some_and(|stood| stood.is(&advance.to))
        };
        !self.advances.is_empty() && self.advances.iter().all(applied)
    }
}

/// What became of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is durable and visible, by this call or by an earlier one. The tally counts those of its
    /// records that turned out, in the place, not to be used for a result; it is the same however often
    /// the epoch is committed.
    Committed(Tally),
    /// Another owner has its partitions. Nothing of it was applied, unless the answer of an earlier call was
    /// lost and the place does not keep [where it stood then](Epoch::was_applied_before).
    Fenced,
}

impl Verdict {
    /// Committed, and the place had nothing to say about single records.
    pub const COMMITTED: Self = Self::Committed(Tally::NONE);
}

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
    /// Rows that are [refused](Staged::refused) are left out.
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

/// Writes what is staged for another place than the anchor's, before the epochs commit. May be called
/// again with the same epochs: it must be idempotent, or its place takes them at least once.
pub trait Writer: Send + Sync + 'static {
    /// The place that it writes to; its sinks carry the same.
    fn place(&self) -> Place;

    /// The topics that results are meant for: one that is refused becomes a dead letter beside its topic. None,
    /// unless overridden.
    fn topics(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the writer is put together rightly: asked as the job starts, before anything is connected. Right
    /// unless overridden.
    ///
    /// # Errors
    /// A configuration error that names all that is wrong: the job does not start, and reports it with whatever
    /// else is.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Looks whether everything is there that its sinks need. Called once before anything is read. Has a
    /// deadline of its own.
    ///
    /// # Errors
    /// A configuration error that names all that is missing; transient if the server is away.
    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Writes what the epochs have staged for this place, but for rows that are [refused](Staged::refused).
    ///
    /// # Errors
    /// Transient if it is to be tried again; [refused](Error::refused) if the place will never take some of
    /// the rows: the caller then writes again without them.
    fn write<'a>(&'a self, epochs: &'a [Epoch]) -> BoxFuture<'a, Result<()>>;
}
