//! A reader of a topic that sees what is committed, and waits until all of it is decided.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, util::Timeout};

use crate::server::{SOON, address};

/// One look at what has come, and how many may bring nothing: longer than a transaction may be open.
const LOOK: Duration = Duration::from_millis(2);
const MOST_EMPTY: u32 = 20_000;

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, Option<String>)>,
    pub(crate) timestamp_ms: Option<i64>,
}

impl Seen {
    fn of(message: &OwnedMessage) -> Self {
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(text),
            value: message.payload().map(text),
            headers: headers.map(|h| (h.key.to_owned(), h.value.map(text))).collect(),
            timestamp_ms: message.timestamp().to_millis(),
        }
    }
}

/// Reads a topic from its beginning, a piece at each call. Blocking.
pub(crate) struct Committed {
    topic: String,
    consumer: BaseConsumer,
    written: BaseConsumer,
    partitions: i32,
}

fn client(isolation: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address())
        .set("group.id", "committed")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10")
        .set("isolation.level", isolation);
    config.create().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Committed {
    pub(crate) fn new(topic: &str) -> Self {
        Self::isolated(topic, "read_committed")
    }

    fn isolated(topic: &str, isolation: &str) -> Self {
        let (consumer, written) = (client(isolation), client("read_uncommitted"));
        let metadata = written.fetch_metadata(Some(topic), SOON).unwrap();
        let partitions =
            i32::try_from(metadata.topics().first().unwrap().partitions().len()).unwrap();
        let mut list = TopicPartitionList::new();
        for number in 0..partitions {
            list.add_partition_offset(topic, number, Offset::Offset(0)).unwrap();
        }
        consumer.assign(&list).unwrap();
        Self { topic: topic.to_owned(), consumer, written, partitions }
    }

    /// Where what is written ends now, decided or not.
    fn end(&self, number: i32) -> i64 {
        self.written.fetch_watermarks(&self.topic, number, Timeout::After(SOON)).unwrap().1
    }

    fn position(&self, number: i32) -> i64 {
        let list = self.consumer.position().unwrap();
        let found = list.find_partition(&self.topic, number);
        found.and_then(|element| element.offset().to_raw()).filter(|at| *at >= 0).unwrap_or(0)
    }

    /// What was committed since the last call; whatever is written by now is decided first.
    pub(crate) fn more(&self) -> Vec<Seen> {
        self.messages().iter().map(Seen::of).collect()
    }

    /// As [`more`](Self::more), byte by byte.
    pub(crate) fn messages(&self) -> Vec<OwnedMessage> {
        let ends: Vec<i64> = (0..self.partitions).map(|number| self.end(number)).collect();
        let (mut empty, mut messages) = (0, Vec::new());
        let behind = || (0..).zip(&ends).any(|(number, end)| self.position(number) < *end);
        while behind() {
            empty += 1;
            assert!(empty < MOST_EMPTY, "{}: a transaction is not decided", self.topic);
            while let Some(message) = self.consumer.poll(LOOK) {
                messages.push(message.unwrap().detach());
            }
        }
        messages
    }
}

/// All that is committed to a topic.
pub(crate) async fn committed(topic: &str) -> Vec<Seen> {
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || Committed::new(&topic).more()).await.unwrap()
}

/// All that was written to a topic, whether it was committed or not.
pub(crate) async fn written(topic: &str) -> Vec<Seen> {
    let topic = topic.to_owned();
    let read = move || Committed::isolated(&topic, "read_uncommitted").more();
    tokio::task::spawn_blocking(read).await.unwrap()
}
