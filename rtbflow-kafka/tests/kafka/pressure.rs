//! Back-pressure: a reader that does not read holds up its own partition only, and memory is bounded.

use rdkafka::producer::{FutureRecord, Producer};
use rtbflow::clock::{Clock, SystemClock};
use rtbflow::source::{Delivery, Feed};

use crate::member::{at_end, begin, delivery, finish, open, value};
use crate::server::{SOON, kafka, producer, topic, unique, write};

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_bounds_memory_and_holds_up_nobody_else() {
    const RECORDS: i64 = 40_000;
    let topic = topic("pressure", 2).await;
    let (producer, value) = (producer(), "x".repeat(1000));
    for partition in 0..2 {
        let mut underway = Vec::new();
        for _ in 0..RECORDS {
            let record = FutureRecord::<str, str>::to(&topic).partition(partition).payload(&value);
            match producer.send_result(record) {
                Ok(sent) => underway.push(sent),
                Err((error, _)) => panic!("{error}"),
            }
        }
        for sent in underway {
            sent.await.unwrap().map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(SOON).unwrap();
    drop(producer);
    let mut feed =
        open(&kafka().topic(&topic).prefetch_bytes(4 << 20), &unique("group"), true).await;
    let before = resident_bytes();
    let mut inputs = begin(&mut feed, &[]).await;
    let mut slow = inputs.remove(&0).unwrap();
    let read = finish(inputs.get_mut(&1).unwrap()).await;
    assert_eq!(read, (0..RECORDS).collect::<Vec<_>>());
    let held = resident_bytes().saturating_sub(before);
    assert!(held < 32 << 20, "{held} bytes more with 40 MB unread");
    assert_eq!(finish(&mut slow).await, (0..RECORDS).collect::<Vec<_>>());
    feed.close().await;
}

/// A task may still have records when the reading thread leaves: they stay, and keep nobody waiting.
#[tokio::test(flavor = "multi_thread")]
async fn records_stay_when_the_reader_leaves() {
    let (topic, group) = (topic("outlive", 1).await, unique("group"));
    write(&topic, 0, 0..100).await;
    let mut feed = open(&kafka().topic(&topic), &group, false).await;
    let mut inputs = begin(&mut feed, &[]).await;
    let held = loop {
        if let Delivery::Batch(held) = delivery(inputs.get_mut(&0).unwrap()).await.unwrap() {
            break held;
        }
    };
    feed.close().await;
    let left = SystemClock.now();
    let mut next = open(&kafka().topic(&topic), &group, true).await;
    let mut again = begin(&mut next, &[]).await;
    let waited = SystemClock.now().since(left);
    assert!(waited.as_secs() < 5, "the session time-out is 6 s, and this took {waited:?}");
    assert_eq!(finish(again.get_mut(&0).unwrap()).await.len(), 100);
    next.close().await;
    let values: Vec<u64> = (0..held.len()).map(|index| value(&held, index)).collect();
    assert_eq!(values, (0..values.len() as u64).collect::<Vec<_>>());
    assert!(held.headers(0).is_empty());
}

/// From the producer's hand to the task: the thread sleeps, but is woken.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_handed_over_within_milliseconds() {
    const RECORDS: usize = 200;
    let topic = topic("latency", 1).await;
    let mut feed = open(&kafka().topic(&topic), &unique("group"), false).await;
    let mut inputs = begin(&mut feed, &[]).await;
    let input = inputs.get_mut(&0).unwrap();
    at_end(input, 0).await;
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", crate::server::address()).set("linger.ms", "0");
    let producer: rdkafka::producer::FutureProducer = config.create().unwrap();
    let mut waits = Vec::new();
    while waits.len() < RECORDS {
        let written =
            producer.send_result(FutureRecord::<str, str>::to(&topic).payload("v")).unwrap();
        let acknowledged = written.await.unwrap().map(|_| SystemClock.now()).unwrap();
        while !matches!(delivery(input).await.unwrap(), Delivery::Batch(_)) {}
        waits.push(SystemClock.now().since(acknowledged));
    }
    waits.sort_unstable();
    let (median, p99) = (waits[RECORDS / 2], waits[RECORDS * 99 / 100]);
    println!("from acknowledged to handed over: p50 {median:?}, p99 {p99:?}");
    // A lost wake-up would cost 20 ms each time.
    assert!(median.as_millis() < 15, "p50 {median:?}, p99 {p99:?}");
    feed.close().await;
}
