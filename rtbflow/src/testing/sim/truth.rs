//! How far was really committed, and as what, whatever anybody says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::barrier::Tally;
use crate::epoch::Epoch;
use crate::position::Position;
use crate::record::Partition;
use crate::testing::sim::Chance;

/// The positions of the place as they were last seen there, and how the records ended that were read up to
/// them. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth {
    positions: Arc<Mutex<BTreeMap<Partition, Position>>>,
    ended: Arc<Mutex<Ended>>,
}

/// How the records of all epochs ended that were applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) records: u64,
    skipped: u64,
    tally: Tally,
    results_refused: u64,
}

impl Truth {
    /// An epoch was applied, for the first time.
    pub(crate) fn count(&self, epoch: &Epoch, found: Tally) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.records += epoch.records_in;
        ended.skipped += epoch.skipped;
        ended.tally.merge(epoch.tally);
        ended.tally.merge(found);
        ended.results_refused += epoch.results_refused;
    }

    /// How the records ended.
    pub(crate) fn ended(&self) -> Ended {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the place holds. Positions never go back.
    pub(crate) fn see(&self, positions: BTreeMap<Partition, Position>, chance: &Chance) {
        let mut seen = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, was) in &*seen {
            let is = positions.get(partition).copied().unwrap_or_default();
            if is.offset < was.offset || is.commit < was.commit || is.event_time < was.event_time {
                chance.violated(format!("{partition} went from {was:?} back to {is:?}"));
            }
        }
        *seen = positions;
    }

    /// Somebody says how much was committed.
    pub(crate) fn hear(&self, positions: &[(Partition, Position)], chance: &Chance) {
        let seen = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, said) in positions {
            let is = seen.get(partition).copied().unwrap_or_default();
            if said.offset > is.offset {
                chance.violated(format!(
                    "{partition} was said to be committed up to {:?}, but only {:?} is",
                    said.offset, is.offset
                ));
            }
        }
    }
}
