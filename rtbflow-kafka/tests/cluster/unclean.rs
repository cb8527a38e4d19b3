//! A leader that had fallen behind takes over: records that were read are gone, and others stand in their place.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rtbflow::clock::{Clock, SystemClock};
use rtbflow::epoch::{JobName, Memory};
use rtbflow::{Job, Partition, Result, Topic};
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::brokers::{Brokers, addresses, kafka, unique};

const SOON: Duration = Duration::from_secs(60);

/// A topic whose one partition is led by broker 1 and copied to broker 2; one copy is enough to write, and to
/// take over. Broker 3 has none: with either of the others it decides who leads.
async fn topic_of_two() -> String {
    let name = unique("unclean");
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", addresses()).create().unwrap();
    let topic = NewTopic::new(&name, 1, TopicReplication::Variable(&[&[1, 2]]))
        .set("min.insync.replicas", "1")
        .set("unclean.leader.election.enable", "true");
    let made = admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(std::result::Result::is_ok), "{made:?}");
    name
}

/// Writes numbers, each of which every copy has that is in step.
async fn write(topic: &str, numbers: std::ops::Range<u64>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", addresses()).set("acks", "all");
    let producer: FutureProducer =
        config.set("topic.metadata.refresh.interval.ms", "500").create().unwrap();
    for number in numbers {
        let value = number.to_string();
        let record = FutureRecord::<str, str>::to(topic).partition(0).payload(&value);
        producer.send(record, SOON).await.unwrap();
    }
}

/// Waits until this broker leads the topic.
fn until_led_by(brokers: &Brokers, topic: &str, node: i32) {
    let deadline = SystemClock.now() + SOON;
    while brokers.leaders(topic) != [node] {
        assert!(SystemClock.now() < deadline, "led by {:?}", brokers.leaders(topic));
    }
}

/// Reads the topic to its end; how many records.
async fn read(topic: &str, name: &str, place: &Memory, anew: bool) -> Result<usize> {
    let out = place.collected::<u64>();
    let into = out.clone();
    let job = Job::new(name)
        .source(kafka().topic(topic).begin_anew(anew).json::<u64>())
        .until_end(true)
        .anchor(place.clone())
        .pipeline(move |numbers| numbers.to(into.sink()));
    job.run_until(std::future::pending()).await?;
    Ok(out.values().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_an_unclean_leader_has_cut_is_an_error_though_it_has_grown_beyond_the_position()
{
    let brokers = block_in_place(Brokers::take);
    block_in_place(|| brokers.recover());
    let (topic, group, place) = (topic_of_two().await, unique("group"), Memory::new());
    block_in_place(|| until_led_by(&brokers, &topic, 1));
    write(&topic, 0..10).await;
    brokers.kill(2);
    // Broker 1 alone takes them, as soon as the others have noticed that it is alone.
    write(&topic, 10..15).await;
    let first = timeout(SOON, read(&topic, &group, &place, false)).await.expect("in time");
    assert_eq!(first.unwrap(), 15);
    let at = place.positions(&JobName::new(&group).unwrap());
    let at = at[&Partition::new(Topic::new(&topic), 0)];
    assert_eq!(at.offset, Some(15));
    assert!(at.log.is_some_and(|log| log.leader_epoch.is_some()), "{at:?}");
    brokers.kill(1);
    brokers.start(2);
    block_in_place(|| until_led_by(&brokers, &topic, 2));
    write(&topic, 100..110).await;
    let again = timeout(SOON, read(&topic, &group, &place, false)).await.expect("in time");
    let error = again.unwrap_err();
    assert!(error.is_config(), "{error:?}");
    for part in [&format!("{topic}/0 from offset 15"), "cut at offset 10", "begin_anew", "reset"] {
        assert!(error.report().contains(part), "{part} in {error:?}");
    }
    // The way out that it names.
    let on = timeout(SOON, read(&topic, &group, &place, true)).await.expect("in time");
    assert_eq!(on.unwrap(), 10, "what stands behind the cut");
}
