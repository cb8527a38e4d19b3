//! What one test has for itself: its turn, fresh topics, a schema in Postgres and a database in Redis.

use std::env;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use rtbflow::{Clock, SystemClock};
use rtbflow_examples::topics::specs;
use rtbflow_kafka::Kafka;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

use crate::cache::Cache;
use crate::ledger::Ledger;
use crate::worker::Kind;

/// The topic that both pipelines read.
pub(crate) const ADS: &str = "ad-events";
/// Where its dead letters go.
pub(crate) const DEAD_LETTERS: &str = "ad-events.dead-letter";
/// The topic that is read together with it.
pub(crate) const CONVERSIONS: &str = "conversion-events";
/// Where its dead letters go.
pub(crate) const DEAD_CONVERSIONS: &str = "conversion-events.dead-letter";
/// Where refunds go.
pub(crate) const COMPENSATIONS: &str = "compensation-events";
/// All that a test may make.
const TOPICS: [&str; 8] = [
    ADS,
    DEAD_LETTERS,
    CONVERSIONS,
    DEAD_CONVERSIONS,
    COMPENSATIONS,
    "compensation-events.dead-letter",
    "campaign-events",
    "campaign-events.dead-letter",
];

/// The longest wait for anything that is expected to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The pause between two looks at something that cannot tell by itself.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The longest wait for the other tests.
const LONGEST_TURN: Duration = Duration::from_secs(600);
/// Held by the test whose turn it is, whatever process it runs in. The number means nothing else.
const TURN: i64 = 7_254_190_311;

fn server(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run ./dev test"))
}

pub(crate) fn kafka() -> String {
    server("RTBFLOW_TEST_KAFKA")
}

pub(crate) fn redis() -> String {
    server("RTBFLOW_TEST_REDIS")
}

pub(crate) fn postgres() -> String {
    server("RTBFLOW_TEST_POSTGRES")
}

/// The `host:port` of a URL.
pub(crate) fn address(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap().to_owned()
}

/// Looks again and again until it holds; fails with what was last seen.
pub(crate) async fn until<T: std::fmt::Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<(), T>,
) {
    let mut seen = None;
    let looks = async {
        while let Err(now) = look().await {
            seen = Some(now);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if timeout(SOON, looks).await.is_err() {
        panic!("{what}: not within {SOON:?}; last seen: {seen:?}");
    }
}

/// Room for one test. What was made for it goes with it.
pub(crate) struct Stage {
    pub(crate) ledger: Ledger,
    pub(crate) cache: Cache,
    _turn: Client,
}

impl Stage {
    /// Waits for its turn; then there are empty topics with this many partitions.
    pub(crate) async fn new(what: &str, partitions: i32) -> Self {
        let stage = Self::without_topics(what).await;
        make_topic(ADS, partitions).await;
        make_topic(DEAD_LETTERS, partitions).await;
        stage
    }

    /// Waits for its turn; then there are no topics.
    pub(crate) async fn without_topics(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = SystemClock.now().as_millis();
        let name = format!("rtbflow_test_{what}_{}_{now}_{number}", std::process::id());
        let turn = connect(&postgres()).await;
        timeout(LONGEST_TURN, turn.execute("select pg_advisory_lock($1)", &[&TURN]))
            .await
            .expect("the other tests do not end")
            .unwrap();
        remove_topics().await;
        let ledger = Ledger::new(&name).await;
        let cache = Cache::new(&name).await;
        Self { ledger, cache, _turn: turn }
    }
}

impl Stage {
    /// Makes the topics that a pipeline reads and writes, as it would itself.
    pub(crate) async fn make_topics_of(&self, kind: Kind) {
        let pipeline = kind.pipeline();
        Kafka::new(kafka()).create_topics(&specs(pipeline.reads, pipeline.writes)).await.unwrap();
    }

    /// Deletes a topic, and makes it again.
    pub(crate) async fn make_anew(&self, topic: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(SOON));
        let deleted = admin.delete_topics(&[topic], &options).await.unwrap();
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
        make_topic(topic, partitions).await;
    }

    /// Removes the records of a partition below an offset, as retention does.
    pub(crate) async fn delete_records(&self, topic: &str, partition: i32, below: i64) {
        let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(below)).unwrap();
        let options = AdminOptions::new().operation_timeout(Some(SOON));
        let left = admin.delete_records(&list, &options).await.unwrap();
        assert_eq!(left.find_partition(topic, partition).unwrap().offset(), Offset::Offset(below));
    }
}

/// A connection that ends when the client is dropped.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka());
    config
}

/// Removes a topic, which is there.
pub(crate) async fn remove_topic(name: &str) {
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    let answers = admin.delete_topics(&[name], &options).await.unwrap();
    answers.into_iter().for_each(|answer| drop(answer.unwrap()));
}

async fn remove_topics() {
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    for answer in admin.delete_topics(&TOPICS, &options).await.unwrap() {
        match answer {
            Ok(_) | Err((_, Code::UnknownTopicOrPartition)) => {}
            Err((topic, code)) => panic!("remove {topic}: {code}"),
        }
    }
}

/// The names of all topics but the broker's own.
pub(crate) fn topics() -> Vec<String> {
    let asking: BaseConsumer = client().create().unwrap();
    let metadata = asking.fetch_metadata(None, SOON).unwrap();
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    names.filter(|name| !name.starts_with("__")).collect()
}

/// Makes a topic and waits until every partition of it, and nothing of an earlier one, has a leader.
pub(crate) async fn make_topic(name: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    until(name, async || {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1))
            .set("max.message.bytes", "16777216");
        let options = AdminOptions::new().operation_timeout(Some(SOON));
        let answers = admin.create_topics([&topic], &options).await.unwrap();
        answers.into_iter().try_for_each(|answer| answer.map(drop))
    })
    .await;
    let asking: BaseConsumer = client().create().unwrap();
    until(name, async || {
        let metadata = asking.fetch_metadata(Some(name), SOON).unwrap();
        let found = metadata.topics()[0].partitions();
        let led = found.iter().filter(|partition| partition.leader() >= 0).count();
        if led == usize::try_from(partitions).unwrap() { Ok(()) } else { Err(led) }
    })
    .await;
}
