//! Asks Kafka where the topics end and how far each pipeline has reported to its group that it is.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use rtbflow::{Error, Result};
use rtbflow_examples::topics::SystemTopic;

use crate::progress::{At, Ends, PartitionPosition, Positions};

const LONGEST_QUESTION: Duration = Duration::from_secs(5);

/// A client that reads nothing and only asks.
#[derive(Clone)]
pub(crate) struct Asker {
    client: Arc<BaseConsumer>,
}

impl Asker {
    /// Asks on behalf of a consumer group, which it does not join.
    pub(crate) fn new(servers: &str, group: &str) -> Result<Self> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", group)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .create()
            .map_err(|error| Error::config("make a Kafka client for the view").because(error))?;
        Ok(Self { client: Arc::new(client) })
    }

    /// The offset after the last record of each partition.
    pub(crate) async fn ends(&self) -> Result<Ends> {
        let list = partitions(&SystemTopic::ALL, Offset::End)?;
        let ask = move |client: &BaseConsumer| client.offsets_for_times(list, LONGEST_QUESTION);
        let ends = self.ask("ask Kafka where the topics end", ask).await?;
        Ok(offsets(&ends).collect())
    }

    /// How far the group is in these topics.
    pub(crate) async fn positions(&self, topics: &'static [SystemTopic]) -> Result<Positions> {
        let list = partitions(topics, Offset::Invalid)?;
        let ask = move |client: &BaseConsumer| client.committed_offsets(list, LONGEST_QUESTION);
        let committed = self.ask("ask Kafka how far a group is", ask).await?;
        let position =
            |(at, next)| (at, PartitionPosition { next, ..PartitionPosition::default() });
        Ok(offsets(&committed).map(position).collect())
    }

    async fn ask(
        &self,
        attempt: &'static str,
        question: impl FnOnce(&BaseConsumer) -> KafkaResult<TopicPartitionList> + Send + 'static,
    ) -> Result<TopicPartitionList> {
        let client = Arc::clone(&self.client);
        let answer = tokio::task::spawn_blocking(move || question(&client)).await;
        answer
            .map_err(|error| Error::permanent(attempt).because(error))?
            .map_err(|error| Error::transient(attempt).because(error))
    }
}

fn partitions(topics: &[SystemTopic], offset: Offset) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..i32::try_from(topic.partitions()).unwrap_or(0) {
            let added = list.add_partition_offset(topic.name(), partition, offset);
            added.map_err(|error| Error::config("name a partition").because(error))?;
        }
    }
    Ok(list)
}

fn offsets(list: &TopicPartitionList) -> impl Iterator<Item = (At, i64)> {
    let offset = |element: &TopicPartitionListElem<'_>| {
        let Offset::Offset(offset) = element.offset() else { return None };
        Some(((SystemTopic::named(element.topic())?, element.partition()), offset))
    };
    let found: Vec<_> = list.elements().iter().filter_map(offset).collect();
    found.into_iter()
}
