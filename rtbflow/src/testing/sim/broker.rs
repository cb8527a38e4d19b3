//! What becomes of a log while it is read: retention removes its beginning, a partition is without a leader for a
//! while, and a topic is deleted and made anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::record::Partition;

/// The brokers of a simulation. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Below these nothing is left.
    starts: BTreeMap<Partition, i64>,
    /// When those have a leader again that have none.
    away: BTreeMap<Partition, Instant>,
    /// How often the topics were made anew.
    generation: usize,
}

impl Broker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a partition begins now.
    pub(crate) fn start(&self, partition: Partition) -> i64 {
        self.state().starts.get(&partition).copied().unwrap_or(0)
    }

    /// Retention removes what is below an offset.
    pub(crate) fn remove_below(&self, partition: Partition, offset: i64) {
        let mut state = self.state();
        let start = state.starts.entry(partition).or_default();
        *start = offset.max(*start);
    }

    /// A partition has no leader until then.
    pub(crate) fn goes_away(&self, partition: Partition, until: Instant) {
        self.state().away.insert(partition, until);
    }

    /// Until when a partition has no leader.
    pub(crate) fn away_until(&self, partition: Partition) -> Option<Instant> {
        self.state().away.get(&partition).copied().filter(|until| *until > Instant::now())
    }

    /// How often the topics were made anew.
    pub(crate) fn generation(&self) -> usize {
        self.state().generation
    }

    /// The topics are deleted and made anew.
    pub(crate) fn make_anew(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.starts.clear();
    }
}
