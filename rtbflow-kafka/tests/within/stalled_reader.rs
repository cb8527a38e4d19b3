//! What becomes of reading when librdkafka does not do its part: tests that make it so from within.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rtbflow::clock::{Clock, SystemClock};
use rtbflow::epoch::{JobName, Position};
use rtbflow::source::{Context, Delivery, Feed, PartitionInput, RawBatch, Source, SourceEvent};
use tokio::time::timeout;

use crate::{Kafka, KafkaFeed, TopicSpec};

const SOON: Duration = Duration::from_secs(20);

fn address() -> String {
    let address = std::env::var("RTBFLOW_TEST_KAFKA");
    address.expect("RTBFLOW_TEST_KAFKA is not set: the tests need a broker; run ./dev test")
}

async fn open(stall_timeout: Duration) -> (KafkaFeed, PartitionInput<RawBatch>, String) {
    let name = format!("test-reader-{:?}-{stall_timeout:?}", SystemClock.now().as_millis());
    let kafka = Kafka::new(address());
    kafka.create_topics(&[TopicSpec::new(&name, 1, Duration::from_secs(3600))]).await.unwrap();
    let context = Context::new(JobName::new(&name).unwrap(), Arc::new(SystemClock))
        .idle_timeout(Duration::from_millis(200));
    let topic = kafka.topic(&name).stall_timeout(stall_timeout);
    let mut feed = topic.open(context).await.unwrap();
    let event = timeout(SOON, feed.next()).await.unwrap().unwrap();
    let SourceEvent::Assigned(mut assignment) = event else { panic!("assigned") };
    let input = assignment.tasks.remove(0).partitions.remove(0);
    assignment.begin(vec![(input.partition, Position::default())]);
    (feed, input, name)
}

async fn write(topic: &str) {
    let mut config = rdkafka::ClientConfig::new();
    let producer: FutureProducer = config.set("bootstrap.servers", address()).create().unwrap();
    let record = FutureRecord::<str, str>::to(topic).partition(0).payload("v");
    producer.send(record, SOON).await.map_err(|(error, _)| error).unwrap();
}

async fn read_one(input: &mut PartitionInput<RawBatch>) -> i64 {
    loop {
        let delivery = timeout(SOON, input.deliveries.next()).await.unwrap().unwrap().unwrap();
        if let Delivery::Batch(batch) = delivery {
            return batch.get(0).unwrap().offset;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_lost_its_forwarding_is_cured_or_the_source_gives_up() {
    let (mut feed, mut input, topic) = open(Duration::from_secs(1)).await;
    write(&topic).await;
    assert_eq!(read_one(&mut input).await, 0);
    feed.mailbox.update(|slots| slots.faults = 3);
    while feed.mailbox.read(|slots| slots.faults) > 0 {
        tokio::task::yield_now().await;
    }
    write(&topic).await;
    assert_eq!(read_one(&mut input).await, 1, "cured by the watchdog");
    feed.mailbox.update(|slots| slots.faults = u32::MAX);
    write(&topic).await;
    let error = timeout(3 * SOON, feed.next()).await.unwrap().unwrap_err();
    assert!(error.is_transient() && error.report().contains("delivers no record"), "{error:?}");
    feed.close().await;
}

async fn fetches(feed: &KafkaFeed, go_on: bool) {
    feed.mailbox.update(|slots| slots.fetches = Some(go_on));
    while feed.mailbox.read(|slots| slots.fetches.is_some()) {
        tokio::task::yield_now().await;
    }
}

/// A slow fetch is not silence: however long it takes, no end is proved before its records came.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_fetch_is_delayed_no_end_is_proved() {
    let (feed, mut input, topic) = open(SOON).await;
    write(&topic).await;
    assert_eq!(read_one(&mut input).await, 0);
    fetches(&feed, false).await;
    write(&topic).await;
    let written = SystemClock.now();
    let delayed = timeout(Duration::from_secs(1), async {
        loop {
            let delivery = input.deliveries.next().await.unwrap().unwrap();
            if !matches!(delivery, Delivery::AtEnd { asked, .. } if asked <= written) {
                return delivery;
            }
        }
    });
    let delayed = delayed.await;
    assert!(delayed.is_err(), "five times the idle time-out: {delayed:?}");
    fetches(&feed, true).await;
    assert_eq!(read_one(&mut input).await, 1);
    let proof = timeout(SOON, input.deliveries.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(proof, Delivery::AtEnd { offset: 2, .. }), "{proof:?}");
    feed.close().await;
}
