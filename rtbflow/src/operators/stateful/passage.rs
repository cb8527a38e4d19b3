//! What an operator with state does as a barrier passes: takes its state back, or hands over what changed.

use std::sync::Arc;

use crate::barrier::Barrier;
use crate::chunk::Chunk;
use crate::error::Error;
use crate::operators::stateful::logic::Logic;
use crate::operators::stateful::operator::Operator;
use crate::state::{Snapshot, words};

impl<L: Logic> Operator<L> {
    /// Takes back a part of the state, which comes with a barrier.
    fn restore(&mut self, barrier: &Barrier, chunks: &[Chunk]) {
        for chunk in chunks {
            if let Err(error) = self.logic.restore(chunk) {
                return barrier.fail(named(error, chunks));
            }
        }
        if barrier.is_last_restoring() {
            self.logic.restored(&mut self.out);
        }
    }

    /// A barrier reaches an operator with state: this and the sink are the two places that handle one.
    pub(super) fn pass(&mut self, barrier: &Barrier) {
        if let Some(chunks) = barrier.restored(&self.name) {
            return self.restore(barrier, &chunks);
        }
        let Self { logic, name, operator, out, .. } = self;
        let mut snapshot = Snapshot::new(Arc::clone(name));
        logic.snapshot(&mut snapshot);
        let (mut chunks, failure) = snapshot.finish();
        let (tally, samples) = (std::mem::take(&mut out.tally), std::mem::take(&mut out.samples));
        barrier.gather_of(operator, |epoch| {
            epoch.results += std::mem::take(&mut out.results);
            epoch.chunks.append(&mut chunks);
            epoch.tally.merge(tally);
            epoch.samples.merge(&samples);
            epoch.behind += std::mem::take(&mut out.behind);
            epoch.reject(out.rejects.drain(..));
            epoch.refused.append(&mut out.refused);
        });
        if let Some(error) = failure {
            barrier.fail(error);
        }
    }
}

/// An error of state that cannot be read, with what is stored: only one of an operator's chunks says it.
fn named(error: Error, chunks: &[Chunk]) -> Error {
    match chunks.iter().find_map(words) {
        Some(stored) if error.is_config() && std::error::Error::source(&error).is_none() => {
            error.because(format!("the operator's state was stored as `{stored}`"))
        }
        _ => error,
    }
}
