//! What an author brings to have an anchor tried.

use std::future::Future;

use crate::epoch::Anchor;
use crate::record::Record;
use crate::staged::Staged;

/// A place whose anchor is to keep the laws, with a sink that adds numbers.
pub trait AnchorUnderTest: Sync {
    /// Its anchor.
    type Anchor: Anchor;

    /// Whether the place keeps where a partition stood when it was claimed last, so that a former owner finds
    /// out what became of its last epoch: see [`Epoch::was_applied_before`](crate::epoch::Epoch::was_applied_before).
    const TELLS_FORMER_OWNERS: bool = false;

    /// Another handle on the place, with connections of its own where it has any, as another instance
    /// would open it. All of them carry the same [`Place`](crate::staged::Place) as what is
    /// [staged](Self::stage).
    fn anchor(&self) -> Self::Anchor;

    /// What a sink of this place stages for one row with this value.
    fn stage(&self, value: i64) -> Staged;

    /// What a sink of this place stages for one record of a value that may be there already: then it is
    /// left out and found to be a duplicate. `None`, unless overridden, for a place whose sinks find
    /// nothing out.
    fn stage_distinct(&self, record: &Record<i64>) -> Option<Staged> {
        let _ = record;
        None
    }

    /// The sum of the values of all rows that a reader of the place sees.
    fn total(&self) -> impl Future<Output = i64> + Send;
}
