//! How far the pipelines are: the positions that they committed, against what was sent.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use rtbflow::{Error, Result};
use rtbflow_examples::topics::SystemTopic;

/// How long the broker may take to answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(2);

/// Asks how far a consumer group has committed ad-events. It is no member of the group.
pub(crate) struct Progress {
    consumer: BaseConsumer,
}

impl Progress {
    /// Prepares to ask about a group.
    pub(crate) fn of(servers: &str, group: &str) -> Result<Self> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()
            .map_err(|error| Error::config("make a Kafka client").because(error))?;
        Ok(Self { consumer })
    }

    /// Records committed, partition by partition as far as these ends say that there are any. Blocks for
    /// a while; `None` if there is no answer.
    pub(crate) fn committed(&self, ends: &HashMap<i32, i64>) -> Option<u64> {
        let mut partitions = TopicPartitionList::new();
        let mut numbers: Vec<i32> = ends.keys().copied().collect();
        numbers.sort_unstable();
        for partition in numbers {
            partitions.add_partition(SystemTopic::AdEvents.name(), partition);
        }
        let answer = self.consumer.committed_offsets(partitions, LONGEST_ANSWER).ok()?;
        let offset = |offset| match offset {
            Offset::Offset(next) => u64::try_from(next).unwrap_or(0),
            Offset::Beginning
            | Offset::End
            | Offset::Stored
            | Offset::Invalid
            | Offset::OffsetTail(_) => 0,
        };
        Some(answer.elements().iter().map(|partition| offset(partition.offset())).sum())
    }
}
