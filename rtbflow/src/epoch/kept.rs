//! What a place keeps of a job beside its results.

use std::collections::BTreeMap;

use crate::position::Position;
use crate::record::Partition;

/// What a place keeps of a job beside its results: what [`Anchor::forget`](crate::epoch::Anchor::forget)
/// removes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Kept {
    /// How far each partition was read.
    pub positions: BTreeMap<Partition, Position>,
    /// Buckets of the operators' state, of all tasks together.
    pub buckets: u64,
}

impl Kept {
    /// These positions, and this many buckets of state.
    #[must_use]
    pub fn new(positions: BTreeMap<Partition, Position>, buckets: u64) -> Self {
        Self { positions, buckets }
    }

    /// Whether nothing is kept: a job that starts now begins at the first record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.buckets == 0
    }
}
