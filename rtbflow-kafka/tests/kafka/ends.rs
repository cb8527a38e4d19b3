//! The end of a partition: proved, past markers and aborted records, and never a record lost there.

use rtbflow::source::{Delivery, Feed};
use tokio::task::spawn_blocking;

use crate::member::{at_end, begin, delivery, finish, open, read};
use crate::server::{kafka, topic, transaction, unique, write};

async fn transact(topic: &str, partition: i32, count: u64, commit: bool) {
    let topic = topic.to_owned();
    spawn_blocking(move || transaction(&topic, partition, count, commit)).await.unwrap();
}

/// Markers and aborted records never come as records, so "last record + 1 = end" never holds here.
#[tokio::test(flavor = "multi_thread")]
async fn until_the_end_finishes_past_markers_aborted_records_and_in_empty_partitions() {
    let topic = topic("until", 5).await;
    write(&topic, 0, 0..10).await;
    transact(&topic, 0, 5, true).await; // 10..15, marker 15
    transact(&topic, 0, 3, false).await; // 16..19 aborted, marker 19
    transact(&topic, 1, 4, false).await; // aborted records only
    write(&topic, 3, 0..1000).await;
    write(&topic, 4, 0..10).await;
    let mut feed = open(&kafka().topic(&topic), &unique("group"), true).await;
    write(&topic, 3, 1000..1100).await; // after the source was opened: not of this run
    let mut inputs = begin(&mut feed, &[(4, 10)]).await;
    let read: Vec<i64> = finish(inputs.get_mut(&0).unwrap()).await;
    assert_eq!(read, (0..15).collect::<Vec<_>>());
    assert!(finish(inputs.get_mut(&1).unwrap()).await.is_empty(), "aborted records");
    assert!(finish(inputs.get_mut(&2).unwrap()).await.is_empty(), "an empty partition");
    assert_eq!(finish(inputs.get_mut(&3).unwrap()).await, (0..1000).collect::<Vec<_>>());
    assert!(finish(inputs.get_mut(&4).unwrap()).await.is_empty(), "a position at the end");
    feed.close().await;
}

/// Every record around a proved end comes once: the trap is an end that is taken for a record.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_proved_again_and_again_and_nothing_is_lost_there() {
    let topic = topic("at-end", 1).await;
    let mut feed = open(&kafka().topic(&topic), &unique("group"), false).await;
    let mut inputs = begin(&mut feed, &[]).await;
    let input = inputs.get_mut(&0).unwrap();
    assert!(at_end(input, 0).await.is_empty(), "an empty partition stands at its end");
    let mut end = 0;
    for round in 0..3 {
        write(&topic, 0, 0..7).await;
        assert_eq!(at_end(input, end + 7).await, (end..end + 7).collect::<Vec<_>>());
        transact(&topic, 0, 2, round != 1).await;
        let committed: Vec<i64> = if round == 1 { Vec::new() } else { vec![end + 7, end + 8] };
        assert_eq!(at_end(input, end + 10).await, committed, "round {round}");
        end += 10;
    }
    feed.close().await;
}

/// A proof is put behind the records: one that overtook them would close windows too early.
#[tokio::test(flavor = "multi_thread")]
async fn no_proof_overtakes_a_record() {
    let topic = topic("order", 1).await;
    write(&topic, 0, 0..20_000).await;
    let mut feed = open(&kafka().topic(&topic), &unique("group"), false).await;
    let mut inputs = begin(&mut feed, &[]).await;
    let input = inputs.get_mut(&0).unwrap();
    let mut next = 0;
    loop {
        match delivery(input).await.unwrap() {
            Delivery::Batch(batch) => {
                assert_eq!(batch.get(0).unwrap().offset, next);
                next += i64::try_from(batch.len()).unwrap();
            }
            Delivery::AtEnd { offset, .. } => {
                assert_eq!((offset, next), (20_000, 20_000));
                break;
            }
            Delivery::Reached { .. } => {}
            Delivery::Finished => panic!("nothing ends here"),
        }
    }
    write(&topic, 0, 0..1).await;
    assert_eq!(read(input, 1).await, [20_000]);
    feed.close().await;
}
