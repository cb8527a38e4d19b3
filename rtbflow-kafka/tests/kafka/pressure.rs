//! Back-pressure: a reader that does not read holds up its own partition only, and memory is bounded.

use rdkafka::producer::{FutureRecord, Producer};
use rtbflow::source::Feed;

use crate::member::{begin, finish, open};
use crate::server::{SOON, kafka, producer, topic, unique};

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
