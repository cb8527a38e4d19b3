//! One of three brokers dies, or freezes: whatever it was for, the job goes on with the others.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::Job;

use crate::brokers::{Brokers, NODES, addresses, kafka, topic, unique};
use crate::traffic::Traffic;
use crate::watched::{Moved, Watched};

const PARTITIONS: i32 = 3;
/// What the pipelines promise.
const LONGEST_SILENCE: Duration = Duration::from_secs(35);
const SOON: Duration = Duration::from_secs(60);

/// All that is committed to a topic, counted by key and value: this many records, or what there is if nothing
/// more comes.
fn committed(topic: &str, count: usize) -> BTreeMap<(String, String), u64> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", addresses())
        .set("group.id", topic)
        .set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut found: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut read = 0;
    while read < count || found.len() < count {
        let Some(message) = consumer.poll(SOON) else { break };
        // An error of a broker that has just come back passes.
        let Ok(message) = message else { continue };
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap()).into_owned();
        *found.entry((text(message.key()), text(message.payload()))).or_default() += 1;
        read += 1;
    }
    found
}

/// Each broker in turn is taken away and comes back; each partition moves on within the promised time.
async fn each_in_turn(moved: &Moved, brokers: &Brokers, take: impl Fn(&Brokers, i32)) {
    let count = usize::try_from(PARTITIONS).unwrap();
    moved.all(count, SOON).await;
    for node in NODES {
        take(brokers, node);
        let waited = moved.all(count, LONGEST_SILENCE).await;
        println!("without broker {node} each partition went on after {waited:?}");
        let again = moved.all(count, LONGEST_SILENCE).await;
        println!("and then after {again:?}");
        tokio::task::block_in_place(|| brokers.recover());
        moved.all(count, LONGEST_SILENCE).await;
    }
}

async fn outage(name: &str, take: impl Fn(&Brokers, i32)) {
    let said = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(said).try_init();
    let brokers = tokio::task::block_in_place(Brokers::take);
    tokio::task::block_in_place(|| brokers.recover());
    let input = topic(&format!("{name}-in"), 3).await;
    let output = topic(&format!("{name}-out"), 3).await;
    println!("leaders: {:?} and {:?}", brokers.leaders(&input), brokers.leaders(&output));
    let anchor = kafka().anchor();
    let (place, moved) = Watched::new(anchor.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let into = output.clone();
    let job = Job::new(unique(name));
    let job =
        job.source(kafka().topic(&input).json::<u64>()).anchor(place).pipeline(move |numbers| {
            let numbers = numbers.map_record(|record| {
                let partition = record.origin.map_or(-1, |origin| origin.partition().number);
                (partition.to_string(), record.value)
            });
            let sink = anchor.records(into.clone()).key(|(partition, _): &(String, u64)| partition);
            numbers.to(sink.bytes(|(_, number)| Some(number.to_string().into_bytes())))
        });
    let running = tokio::spawn(async move {
        job.run_until(async {
            let _ = stopped.await;
        })
        .await
    });
    let traffic = Traffic::begin(&input, PARTITIONS);
    each_in_turn(&moved, &brokers, take).await;
    let written = traffic.end().await;
    moved.reach(&written, SOON).await;
    drop(stop);
    running.await.unwrap().unwrap();
    let count = usize::try_from(written.iter().sum::<u64>()).unwrap();
    let found = tokio::task::block_in_place(|| committed(&output, count));
    let all = (0_u64..).zip(&written).flat_map(|(partition, count)| {
        (0..*count).map(move |number| (partition.to_string(), number.to_string()))
    });
    let missing: Vec<_> = all.filter(|record| !found.contains_key(record)).collect();
    assert!(missing.is_empty(), "of {written:?} these are missing: {missing:?}");
    assert!(found.values().all(|times| *times == 1), "each is there once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_silences_no_task_for_long() {
    outage("dies", Brokers::kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_freezes_silences_no_task_for_long() {
    outage("freezes", Brokers::freeze).await;
}
