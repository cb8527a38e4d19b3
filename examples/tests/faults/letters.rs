//! The dead-letter topic, read whole.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedHeaders};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::stage::{ADS, DEAD_LETTERS, SOON, kafka};

/// A header; its value may be none.
pub(crate) type Header = (String, Option<Vec<u8>>);

/// A record as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sending {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
}

/// A dead letter without the five headers, and the reason that it gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) record: Sending,
    pub(crate) reason: String,
}

/// All dead letters: of which pipeline, and of which partition and offset.
pub(crate) type Letters = BTreeMap<(String, i32, i64), Vec<Letter>>;

/// Reads all dead letters and checks their five headers.
pub(crate) fn all() -> Letters {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .set("group.id", "nobody")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "16777216")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(DEAD_LETTERS), SOON).unwrap();
    let mut from = TopicPartitionList::new();
    let mut left = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(DEAD_LETTERS, partition.id(), SOON).unwrap();
        left += high - low;
        from.add_partition_offset(DEAD_LETTERS, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&from).unwrap();
    let mut letters = Letters::new();
    while left > 0 {
        let message = consumer.poll(SOON).expect("a dead letter that the topic has").unwrap();
        let headers = message.headers().map(rdkafka::message::BorrowedHeaders::detach);
        let (pipeline, partition, offset, headers, reason) = ours(headers.unwrap_or_default());
        let record = Sending {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        };
        let place = (pipeline, partition, offset);
        letters.entry(place).or_default().push(Letter { record, reason });
        left -= 1;
    }
    letters
}

/// Takes the last five headers, which are the library's, off the record's own.
fn ours(headers: OwnedHeaders) -> (String, i32, i64, Vec<Header>, String) {
    let mut headers: Vec<Header> = headers
        .iter()
        .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
        .collect();
    let mut take = |name: &str| {
        let (key, value) = headers.pop().unwrap();
        assert_eq!(key, name);
        String::from_utf8(value.unwrap()).unwrap()
    };
    let reason = take("rtbflow-error");
    let offset = take("rtbflow-offset").parse().unwrap();
    let partition = take("rtbflow-partition").parse().unwrap();
    assert_eq!(take("rtbflow-topic"), ADS);
    let pipeline = take("rtbflow-pipeline");
    assert!(!reason.is_empty() && reason.lines().count() == 1, "{reason:?}");
    (pipeline, partition, offset, headers, reason)
}
