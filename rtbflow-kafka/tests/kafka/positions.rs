//! Where reading begins.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::source::{Delivery, Feed, Source, SourceEvent};
use rtbflow_kafka::Kafka;

use crate::member::{begin, context, delivery, event, finish, open, read};
use crate::server::{SOON, address, kafka, topic, unique, write};

#[tokio::test(flavor = "multi_thread")]
async fn reading_begins_at_the_given_offsets_and_at_the_beginning_without_one() {
    let topic = topic("from", 2).await;
    write(&topic, 0, 0..100).await;
    write(&topic, 1, 0..100).await;
    let mut feed = open(&kafka().topic(&topic), &unique("group"), true).await;
    let mut inputs = begin(&mut feed, &[(1, 42)]).await;
    assert_eq!(finish(inputs.get_mut(&0).unwrap()).await, (0..100).collect::<Vec<_>>());
    assert_eq!(finish(inputs.get_mut(&1).unwrap()).await, (42..100).collect::<Vec<_>>());
    feed.close().await;
}

pub(crate) async fn delete_before(topic: &str, offset: i64) {
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", address()).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    admin.delete_records(&list, &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_retention_has_passed_is_an_error_and_never_a_silent_jump() {
    let topic = topic("retention", 1).await;
    write(&topic, 0, 0..100).await;
    delete_before(&topic, 60).await;
    for (from, parts) in [(10, ["10", "60", "100"]), (150, ["150", "60", "100"])] {
        let mut feed = open(&kafka().topic(&topic), &unique("group"), false).await;
        let mut inputs = begin(&mut feed, &[(0, from)]).await;
        let error = delivery(inputs.get_mut(&0).unwrap()).await.unwrap_err();
        assert!(error.is_config(), "{error:?}");
        for part in parts.into_iter().chain([format!("{topic}/0").as_str()]) {
            assert!(error.report().contains(part), "{part} in {error:?}");
        }
        feed.close().await;
    }
    let mut feed = open(&kafka().topic(&topic), &unique("group"), true).await;
    let mut inputs = begin(&mut feed, &[]).await;
    assert_eq!(finish(inputs.get_mut(&0).unwrap()).await, (60..100).collect::<Vec<_>>());
    feed.close().await;
}

/// Retention that passes a reader which does not read: what it has not fetched yet is gone.
#[tokio::test(flavor = "multi_thread")]
async fn retention_that_overtakes_a_slow_reader_is_an_error_too() {
    let topic = topic("overtaken", 1).await;
    write(&topic, 0, 0..60_000).await;
    let source = kafka().topic(&topic).prefetch_bytes(1);
    let mut feed = open(&source, &unique("group"), false).await;
    let mut inputs = begin(&mut feed, &[]).await;
    let input = inputs.get_mut(&0).unwrap();
    read(input, 1).await;
    delete_before(&topic, 59_000).await;
    let error = loop {
        match delivery(input).await {
            Ok(Delivery::Batch(batch)) => {
                assert!(batch.get(0).unwrap().offset < 59_000, "a silent jump");
            }
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_config() && error.report().contains("59000"), "{error:?}");
    feed.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_or_a_topic_that_is_not_there_is_said_so() {
    let away = Kafka::new("127.0.0.1:1");
    let error = away.check(Duration::from_millis(300)).await.unwrap_err();
    assert!(error.is_transient() && error.report().contains("127.0.0.1:1"), "{error:?}");
    kafka().check(SOON).await.unwrap();
    let missing = kafka().topic(unique("missing"));
    let error = missing.open(context(&unique("group"), false)).await.unwrap_err();
    assert!(error.is_config() && error.report().contains("create it"), "{error:?}");
    let eager = kafka().option("partition.assignment.strategy", "cooperative-sticky");
    let error = eager.topic("any").open(context(&unique("group"), false)).await.unwrap_err();
    assert!(error.is_config(), "{error:?}");
}

/// The options of consumers and producers pass to those that know them; none makes a warning or fails.
#[tokio::test(flavor = "multi_thread")]
async fn options_of_both_kinds_may_be_given_together() {
    let topic = topic("options", 1).await;
    let kafka = kafka()
        .option("session.timeout.ms", "7000")
        .option("heartbeat.interval.ms", "250")
        .option("transaction.timeout.ms", "5000")
        .option("socket.keepalive.enable", "true");
    let mut feed = open(&kafka.topic(&topic), &unique("group"), true).await;
    let SourceEvent::Assigned(assignment) = event(&mut feed).await else { panic!("assigned") };
    assert_eq!(assignment.tasks.len(), 1);
    feed.close().await;
}
