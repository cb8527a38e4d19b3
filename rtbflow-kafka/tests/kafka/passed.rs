//! What is no record, and still has offsets: transaction markers and aborted records.

use rtbflow::epoch::{JobName, Memory};
use rtbflow::{Job, Partition, Topic};
use rtbflow_kafka::Kafka;

use crate::member::{at_end, begin, delivery, open};
use crate::positions::delete_before;
use crate::server::{kafka, topic, transaction, unique, write};
use rtbflow::source::{Delivery, Feed};

async fn run(kafka: &Kafka, topic: &str, name: &str, place: &Memory) -> rtbflow::Result<usize> {
    let (_, out) = place.collect::<u64>();
    let (sink, into) = (place.clone(), out.clone());
    let job = Job::new(name)?
        .source(kafka.topic(topic).json::<u64>())
        .until_end(true)
        .anchor(place.clone())
        .pipeline(move |numbers| numbers.to(sink.collect_into(&into)));
    job.run(std::future::pending()).await?;
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

/// Also while it is read, and not only where the log ends: a marker is passed with the records before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_is_passed_as_soon_as_the_records_before_it_were_read() {
    let topic = topic("marker-live", 1).await;
    let mut feed = open(&kafka().topic(&topic), &unique("group"), false).await;
    let mut inputs = begin(&mut feed, &[]).await;
    let input = inputs.get_mut(&0).unwrap();
    at_end(input, 0).await;
    let written = topic.clone();
    tokio::task::spawn_blocking(move || transaction(&written, 0, 5, true)).await.unwrap();
    let mut read = 0;
    loop {
        match delivery(input).await.unwrap() {
            Delivery::Batch(batch) => read += batch.len(),
            Delivery::Reached { offset, .. } if read == 5 => {
                assert_eq!(offset, 6);
                break;
            }
            Delivery::Reached { .. } | Delivery::AtEnd { .. } => {
                assert!(read < 5, "it comes first")
            }
            Delivery::Finished => panic!("nothing ends here"),
        }
    }
    feed.close().await;
}
