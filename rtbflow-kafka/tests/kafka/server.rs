//! The broker of the tests: topics with names of their own, and records written into them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer};
use rtbflow::clock::{Clock, SystemClock};
use rtbflow_kafka::{Kafka, TopicSpec};

pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn address() -> String {
    std::env::var("RTBFLOW_TEST_KAFKA")
        .expect("RTBFLOW_TEST_KAFKA is not set: the tests need a broker; run ./dev test")
}

pub(crate) fn kafka() -> Kafka {
    Kafka::new(address())
}

/// A name that nothing on the server has.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemClock.now().as_millis();
    format!("test-{name}-{now}-{}-{next}", std::process::id())
}

/// A new topic.
pub(crate) async fn topic(name: &str, partitions: u32) -> String {
    let name = unique(name);
    kafka().create_topics(&[TopicSpec::new(&name, partitions, HOUR)]).await.unwrap();
    name
}

pub(crate) fn producer() -> FutureProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address()).set("linger.ms", "2").set("acks", "all");
    config.create().unwrap()
}

/// Writes this many records, whose values are their numbers, into one partition.
pub(crate) async fn write(topic: &str, partition: i32, values: impl IntoIterator<Item = u64>) {
    write_with(&producer(), topic, partition, values).await;
}

pub(crate) async fn write_with(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    values: impl IntoIterator<Item = u64>,
) {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    let sent = values.iter().map(|value| {
        let record = FutureRecord::to(topic).partition(partition).key("k").payload(value);
        producer.send(record, SOON)
    });
    try_join_all(sent).await.map_err(|(error, _)| error).unwrap();
}

pub(crate) async fn write_one(
    topic: &str,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: OwnedHeaders,
) {
    let mut record = FutureRecord::to(topic).headers(headers);
    record.key = key;
    record.payload = value;
    producer().send(record, SOON).await.map_err(|(error, _)| error).unwrap();
}

/// Writes `count` records in one transaction, which is then committed or aborted. Blocking.
pub(crate) fn transaction(topic: &str, partition: i32, count: u64, commit: bool) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address()).set("transactional.id", unique("transaction"));
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(SOON).unwrap();
    producer.begin_transaction().unwrap();
    for number in 0..count {
        let value = number.to_string();
        let record = BaseRecord::<str, str>::to(topic).partition(partition).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
    if commit {
        producer.commit_transaction(SOON).unwrap();
    } else {
        producer.abort_transaction(SOON).unwrap();
    }
}

/// The topics whose names begin so.
pub(crate) async fn topics_like(prefix: &str) -> Vec<String> {
    let prefix = prefix.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        let consumer: BaseConsumer = config.set("bootstrap.servers", address()).create().unwrap();
        let metadata = consumer.fetch_metadata(None, SOON).unwrap();
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        names.filter(|name| name.starts_with(&prefix)).collect()
    });
    asked.await.unwrap()
}

/// A new topic with one partition and these settings.
pub(crate) async fn topic_with(name: &str, settings: &[(&str, &str)]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address());
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let mut topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    for answer in admin.create_topics([&topic], &options).await.unwrap() {
        answer.map_err(|(topic, code)| format!("{topic}: {code}")).unwrap();
    }
}

/// Deletes a topic and makes another one of the same name, with one partition.
pub(crate) async fn make_anew(topic: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address());
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    for answer in admin.delete_topics(&[topic], &options).await.unwrap() {
        answer.map_err(|(topic, code)| format!("{topic}: {code}")).unwrap();
    }
    kafka().create_topics(&[TopicSpec::new(topic, 1, HOUR)]).await.unwrap();
}

/// Gives a topic more partitions: this many in all.
pub(crate) async fn add_partitions(topic: &str, count: usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address());
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    let added = admin.create_partitions(&[NewPartitions::new(topic, count)], &options).await;
    for answer in added.unwrap() {
        answer.map_err(|(topic, code)| format!("{topic}: {code}")).unwrap();
    }
}

/// Has a topic keep the newest record of each key.
pub(crate) async fn compact(topic: &str) {
    set(topic, "cleanup.policy", "compact").await;
}

/// Changes a setting of a topic.
pub(crate) async fn set(topic: &str, setting: &str, value: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address());
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let wanted = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(setting, value);
    let altered = admin.alter_configs([&wanted], &AdminOptions::new()).await.unwrap();
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
}
