//! The compare-and-set of one partition, and what became of an epoch.

use crate::barrier::Tally;
use crate::position::Position;
use crate::record::Partition;

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

/// What became of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is durable and visible, by this call or by an earlier one. The tally counts those of its
    /// records that turned out, in the place, not to be used for a result; it is the same however often
    /// the epoch is committed.
    Committed(Tally),
    /// Another owner has its partitions. Nothing of it was applied, unless the answer of an earlier call was
    /// lost and the place does not keep [where it stood then](super::Epoch::was_applied_before).
    Fenced,
}

impl Verdict {
    /// Committed, and the place had nothing to say about single records.
    pub const COMMITTED: Self = Self::Committed(Tally::NONE);
}
