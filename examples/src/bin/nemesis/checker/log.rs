//! Topics as a reader of committed records sees them.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::Fallible;
use crate::traffic::POISON;

const LONGEST_ANSWER: Duration = Duration::from_secs(60);

/// A record as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Stored {
    /// Whether it was spoilt on purpose.
    pub(crate) fn is_poison(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == POISON)
    }

    /// Where it is.
    pub(crate) fn at(&self) -> (String, i32, i64) {
        (self.topic.clone(), self.partition, self.offset)
    }
}

/// All committed records of a topic, in order of partition and offset; none if there is no such topic.
pub(crate) async fn read(brokers: &str, topic: &str) -> Fallible<Vec<Stored>> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    let read = move || -> Fallible<Vec<Stored>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "nemesis-checker")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.message.max.bytes", "16777216")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(&topic), LONGEST_ANSWER)?;
        let mut from = TopicPartitionList::new();
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let mut open = 0;
        for partition in partitions {
            from.add_partition_offset(&topic, partition.id(), Offset::Beginning)?;
            open += 1;
        }
        consumer.assign(&from)?;
        let mut records = Vec::new();
        while open > 0 {
            match consumer.poll(LONGEST_ANSWER) {
                Some(Ok(message)) => records.push(stored(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => return Err(error.into()),
                None => return Err(format!("{topic} could not be read to its end").into()),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    };
    tokio::task::spawn_blocking(read).await?
}

fn stored(message: &rdkafka::message::BorrowedMessage<'_>) -> Stored {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let header = |header: rdkafka::message::Header<'_, &[u8]>| {
        (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
    };
    Stored {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(header).collect(),
    }
}
