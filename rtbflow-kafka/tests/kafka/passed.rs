//! What is no record, and still has offsets: transaction markers and aborted records.

use rtbflow::epoch::{JobName, Log, Memory};
use rtbflow::{Job, Partition, Topic};
use rtbflow_kafka::Kafka;

use crate::member::{Input, at_end, begin, delivery, open};
use crate::positions::delete_before;
use crate::server::{kafka, topic, transaction, unique, write};
use rtbflow::source::{Delivery, Feed};

async fn run(kafka: &Kafka, topic: &str, name: &str, place: &Memory) -> rtbflow::Result<usize> {
    let out = place.collected::<u64>();
    let into = out.clone();
    let job = Job::new(name)
        .source(kafka.topic(topic).json::<u64>())
        .until_end(true)
        .anchor(place.clone())
        .pipeline(move |numbers| numbers.to(into.sink()));
    job.run_until(std::future::pending()).await?;
    Ok(out.values().len())
}

/// Retention that empties the log has removed nothing that was not read.
#[tokio::test(flavor = "multi_thread")]
async fn markers_and_aborted_records_are_passed_at_the_end_and_their_removal_is_no_loss() {
    let topic = topic("markers", 1).await;
    let (group, place) = (unique("group"), Memory::new());
    let written = topic.clone();
    let writing = tokio::task::spawn_blocking(move || {
        transaction(&written, 0, 5, true);
        transaction(&written, 0, 3, false);
    });
    writing.await.unwrap();
    let (records, end) = (5, 5 + 1 + 3 + 1);
    assert_eq!(run(&kafka(), &topic, &group, &place).await.unwrap(), records);
    let positions = place.positions(&JobName::new(&group).unwrap());
    assert_eq!(positions[&Partition::new(Topic::new(&topic), 0)].offset, Some(end));
    delete_before(&topic, end).await;
    assert_eq!(run(&kafka(), &topic, &group, &place).await.unwrap(), 0, "nothing was lost");
    // What is really lost still is an alarm.
    write(&topic, 0, 0..4).await;
    delete_before(&topic, end + 3).await;
    let error = run(&kafka(), &topic, &group, &place).await.unwrap_err();
    assert!(error.is_config() && error.report().contains("removed 3 offsets"), "{error:?}");
}

/// Also while it is read, and not only where the log ends: a marker is passed with the records before it. Only the
/// end that the broker is asked for comes with a leader epoch; that end may be faster once, but not each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_is_passed_as_soon_as_the_records_before_it_were_read() {
    let topic = topic("marker-live", 1).await;
    let mut feed = open(&kafka().topic(&topic), &unique("group"), false).await;
    let mut inputs = begin(&mut feed, &[]).await;
    let input = inputs.get_mut(&0).unwrap();
    at_end(input, 0).await;
    let mut before_the_end = 0;
    for transactions in 1..=10 {
        let written = topic.clone();
        tokio::task::spawn_blocking(move || transaction(&written, 0, 5, true)).await.unwrap();
        let log = passed(input, transactions * 6).await;
        before_the_end += usize::from(log.is_none_or(|log| log.leader_epoch.is_none()));
    }
    assert!(before_the_end > 0, "positions pass markers only when the end of the log is known");
    feed.close().await;
}

/// Reads up to this offset, behind a transaction of five records; the log as it is known there.
async fn passed(input: &mut Input, end: i64) -> Option<Log> {
    let mut next = end - 6;
    loop {
        match delivery(input).await.unwrap() {
            Delivery::Batch(batch) => next += i64::try_from(batch.len()).unwrap(),
            Delivery::Reached { offset, log, .. } if next == end - 1 => {
                assert_eq!(offset, end);
                return log;
            }
            Delivery::Reached { .. } => {}
            Delivery::AtEnd { offset, .. } => assert!(offset < end, "the marker is passed first"),
            Delivery::Finished => panic!("nothing ends here"),
        }
    }
}
