//! The client library's in-process broker, which demonstrations run on, serves a source as well.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rtbflow::epoch::DeadLetters;
use rtbflow::source::Feed;
use rtbflow_kafka::{Kafka, TopicSpec};

use crate::letters::letter;
use crate::member::{at_end, begin, open};
use crate::server::{HOUR, SOON};

#[tokio::test(flavor = "multi_thread")]
async fn the_mock_cluster_is_enough_to_read_and_to_prove_the_end() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("ads", 2, 1).unwrap();
    // The mock waits three seconds before the first rebalance: a shorter session would end before it.
    let kafka = Kafka::new(cluster.bootstrap_servers());
    kafka.check(Duration::from_secs(5)).await.unwrap();
    let made = kafka.create_topics(&[TopicSpec::new("ads", 2, HOUR)]).await.unwrap();
    assert_eq!(made[0].partitions, 2);
    let mut config = rdkafka::ClientConfig::new();
    let servers = cluster.bootstrap_servers();
    let producer: FutureProducer = config.set("bootstrap.servers", servers).create().unwrap();
    for number in 0..10 {
        let value = number.to_string();
        let record = FutureRecord::<str, str>::to("ads").partition(1).payload(&value);
        producer.send(record, SOON).await.map_err(|(error, _)| error).unwrap();
    }
    let mut feed = open(&kafka.topic("ads"), "group", false).await;
    let mut inputs = begin(&mut feed, &[]).await;
    assert_eq!(at_end(inputs.get_mut(&1).unwrap(), 10).await, (0..10).collect::<Vec<_>>());
    assert!(at_end(inputs.get_mut(&0).unwrap(), 0).await.is_empty());
    feed.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_does_not_wait_for_a_controller() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["ads", "ads.dead-letter"] {
        cluster.create_topic(topic, 4, 1).unwrap();
    }
    let letters = Kafka::new(cluster.bootstrap_servers()).dead_letters();
    // The mock has no controller, and no broker of it says how large a record a topic takes.
    letters.deliver("the-group", &[letter("ads", Some(b"k"), Some(b"\xff"))]).await.unwrap();
}
