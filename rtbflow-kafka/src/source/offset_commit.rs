//! What is committed to the group: offsets for tools that show lag, and nothing else.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::Partition;
use tracing::debug;

use crate::client::context::Callbacks;
use crate::client::deadline::Deadline;
use crate::client::offsets::Offsets;

/// The pause between two commits of the group's own offsets.
const COMMIT_PAUSE: Duration = Duration::from_secs(1);

/// Offsets to commit to the group, and when.
#[derive(Debug)]
pub(crate) struct OffsetCommit {
    committed: Offsets,
    next: Deadline,
}

impl OffsetCommit {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { committed: Offsets::new(), next: Deadline::after(COMMIT_PAUSE) }
    }

    /// Takes note of offsets that were committed.
    pub(crate) fn note(&mut self, committed: Offsets) {
        self.committed.extend(committed);
    }

    /// Whether it is time to commit.
    pub(crate) fn is_due(&self) -> bool {
        self.next.is_over()
    }

    /// Commits them to the group; does not wait for an answer.
    pub(crate) fn commit(&mut self, consumer: &BaseConsumer<Callbacks>) {
        self.next = Deadline::after(COMMIT_PAUSE);
        if self.committed.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (Partition { topic, number }, offset) in std::mem::take(&mut self.committed) {
            if let Err(error) =
                list.add_partition_offset(topic.name(), number, Offset::Offset(offset))
            {
                debug!("store the offset of {topic}/{number} for the group: {error}");
            }
        }
        // Only tools read them, and the next commit says as much: nothing is lost by one that fails.
        if let Err(error) = consumer.commit(&list, CommitMode::Async) {
            debug!("commit offsets to the group: {error}");
        }
    }
}
