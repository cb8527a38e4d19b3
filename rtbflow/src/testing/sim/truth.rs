//! How far was really committed, whatever anybody says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::position::Position;
use crate::record::Partition;
use crate::testing::sim::Chance;

/// The positions of the place as they were last seen there. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth(Arc<Mutex<BTreeMap<Partition, Position>>>);

impl Truth {
    /// Takes in what the place holds. Positions never go back.
    pub(crate) fn see(&self, positions: BTreeMap<Partition, Position>, chance: &Chance) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, was) in &*seen {
            let is = positions.get(partition).copied().unwrap_or_default();
            if is.offset < was.offset || is.commit < was.commit || is.event_time < was.event_time {
                chance.violated(format!("{partition} went from {was:?} back to {is:?}"));
            }
        }
        *seen = positions;
    }

    /// Somebody says that so much was committed.
    pub(crate) fn hear(&self, positions: &[(Partition, Position)], chance: &Chance) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
