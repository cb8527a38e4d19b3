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

mod advance;
mod anchor;
mod dead_letters;
mod kept;
mod memory;
mod patience;
mod writer;

use std::sync::Arc;

pub use advance::{Advance, Step, Verdict};
pub use anchor::{Anchor, ChunkPage, Claim};
pub use dead_letters::DeadLetters;
pub use kept::Kept;
pub use memory::Memory;
pub use patience::Patience;
pub use writer::Writer;

pub use crate::dead_letter::{DeadLetter, Original};
pub use crate::error::Refusal;
pub use crate::log::{Log, TopicId};
pub use crate::position::{JobName, Position, Task};
pub use crate::refused_result::RefusedResult;

use crate::barrier::{Counts, Gathered, Reject, Samples, Tally};
use crate::chunk::Chunk;
use crate::dead_letter::Originals;
use crate::record::Partition;
use crate::staged::{Place, Staged};

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
