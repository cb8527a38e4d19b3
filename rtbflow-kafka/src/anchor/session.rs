//! The session of one task: its producer, which is the fence, and what is known of where the place stands.

use std::collections::VecDeque;

use rdkafka::producer::{BaseProducer, Producer};
use rtbflow::Result;
use rtbflow::epoch::Patience;
use rtbflow::state::Chunk;

use crate::anchor::changelog::Lengths;
use crate::anchor::positions::Positions;
use crate::anchor::target::Target;
use crate::client::blocking::drop_elsewhere;
use crate::client::context::Callbacks;
use crate::client::deadline::{Deadline, Moment};

/// The session of one task.
pub(crate) struct Session {
    /// When a call of it has ended last.
    pub(crate) used: Moment,
    /// The task's producer, until it fails.
    pub(crate) producer: Option<TaskProducer>,
    /// How long the logs of the buckets are while the place stands at these positions.
    pub(crate) lengths: Option<(Positions, Lengths)>,
    /// What is being restored, and the mark that the next page is asked for with.
    pub(crate) restoring: Option<(String, VecDeque<Chunk>)>,
    /// How much longer a commit may take.
    pub(crate) patience: Patience,
    /// Whether the last commit has delivered a record, though not all of them.
    pub(crate) made_progress: bool,
    /// Whether the commit before has timed out although it made progress.
    pub(crate) timed_out: bool,
}

/// A producer, and where the place stands for as long as it is not refused.
pub(crate) struct TaskProducer {
    pub(crate) producer: BaseProducer<Callbacks>,
    pub(crate) positions: Positions,
}

impl TaskProducer {
    /// How many records it has delivered so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.producer.client().context().delivered()
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            used: Moment::now(),
            producer: None,
            lengths: None,
            restoring: None,
            patience: Patience::default(),
            made_progress: false,
            timed_out: false,
        }
    }
}

impl Session {
    /// Drops the producer: it failed, or it is not known what became of the records that it sent.
    pub(crate) fn discard_producer(&mut self) {
        if let Some(discarded) = self.producer.take() {
            drop_elsewhere(discarded.producer);
        }
    }

    /// Makes a new producer, and reads where the place stands after that.
    pub(crate) fn renew_producer(
        &mut self,
        target: &Target<'_>,
        deadline: Deadline,
    ) -> Result<&mut TaskProducer> {
        self.discard_producer();
        // In this order: once the new producer is there, nothing that another one has begun is undecided, and what is
        // read then cannot be moved by it.
        let producer = target.producer(deadline)?;
        let replay = target.replay()?;
        let read = replay.decided_range(deadline).and_then(|range| replay.positions(range));
        match read {
            Ok(positions) => Ok(self.producer.insert(TaskProducer { producer, positions })),
            Err(error) => {
                drop_elsewhere(producer);
                Err(error)
            }
        }
    }
}
