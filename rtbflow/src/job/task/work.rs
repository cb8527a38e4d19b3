//! What a task has under way: batches at hand, a barrier in the chain, epochs on their way to the place.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{BoxStream, FuturesOrdered};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use crate::barrier::Gathering;
use crate::clock::Clock;
use crate::dead_letter::Originals;
use crate::epoch::Verdict;
use crate::error::Result;
use crate::job::intake::{Arrival, Progress};
use crate::job::renaming::{Moves, Renames};
use crate::job::task::batch_bytes::BatchBytes;
use crate::position::Position;
use crate::record::Partition;
use crate::source::{Batch, Delivery, PartitionInput};

/// Epochs of one task that are on their way to the place.
// One is being committed while another waits, so that the committer never waits for the task. Were there more, what
// comes while the place is slow would wait in epochs that grow no more, and not in one that still does.
pub(super) const MOST_IN_FLIGHT: usize = 2;

/// A partition of the task.
pub(crate) struct TaskPartition<B> {
    pub(crate) partition: Partition,
    pub(crate) deliveries: Option<BoxStream<'static, Result<Delivery<B>>>>,
    /// Where the last epoch that was built ends.
    pub(crate) position: Position,
    /// Batches given to the chain, kept until the epoch in which their last record was taken is built:
    /// dead letters are cut out of them.
    pub(crate) kept: VecDeque<Arc<B>>,
    /// Batches given to the chain and no longer kept.
    pub(crate) released: u64,
}

impl<B: Batch> TaskPartition<B> {
    /// A partition that is read from its position on.
    pub(crate) fn new(
        input: PartitionInput<B>,
        (partition, position): &(Partition, Position),
    ) -> Self {
        Self {
            partition: *partition,
            deliveries: Some(input.deliveries),
            position: *position,
            kept: VecDeque::new(),
            released: 0,
        }
    }

    /// Takes in what came, as the chain is given it.
    pub(super) fn take(&mut self, delivery: Delivery<B>, clock: &dyn Clock) -> Arrival<B> {
        match delivery {
            Delivery::Batch(batch) => {
                let batch = Arc::new(batch);
                self.kept.push_back(Arc::clone(&batch));
                Arrival::Batch(batch)
            }
            Delivery::AtEnd { asked, offset } => {
                Arrival::AtEnd { asked, steady: clock.steady(), offset }
            }
            Delivery::Reached { offset, log, anew } => Arrival::Reached { offset, log, anew },
            Delivery::Finished => {
                self.deliveries = None;
                Arrival::Finished
            }
        }
    }

    /// The batches at hand, for what may have to be cut out of them until their epoch is committed.
    pub(super) fn originals(&self) -> impl Iterator<Item = (Partition, Arc<dyn Originals>)> {
        self.kept.iter().map(|batch| (self.partition, Arc::clone(batch) as Arc<dyn Originals>))
    }
}

/// What is under way.
pub(crate) struct Work {
    pub(super) gathering: Option<Gathering>,
    pub(super) in_flight: FuturesOrdered<oneshot::Receiver<Verdict>>,
    pub(super) last_barrier: Instant,
    pub(super) waiting_since: Option<Instant>,
    pub(super) held: BatchBytes,
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) ending: bool,
    pub(super) ended: bool,
    pub(super) progress: Progress,
    pub(super) moves: Moves,
}

impl Work {
    pub(crate) fn new(renames: &Renames) -> Self {
        let now = Instant::now();
        Self {
            gathering: None,
            in_flight: FuturesOrdered::new(),
            last_barrier: now,
            waiting_since: None,
            held: BatchBytes::default(),
            timer: Box::pin(tokio::time::sleep_until(now)),
            ending: false,
            ended: false,
            progress: Progress::default(),
            moves: Moves::new(renames),
        }
    }
}
