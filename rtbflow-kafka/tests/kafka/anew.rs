//! Topics that are deleted and made anew, and logs that are not what they were.

use std::time::Duration;

use rtbflow::epoch::{Log, Memory, TopicId};
use rtbflow::source::{Delivery, Feed};
use rtbflow::{Job, Partition, Timestamp, Topic};
use rtbflow_kafka::KafkaTopic;
use tokio::time::timeout;

use crate::member::{begin, delivery, open, read};
use crate::server::{kafka, make_anew, topic, unique, write};

/// What the contract allows for noticing it.
const SOON_ENOUGH: Duration = Duration::from_secs(10);

/// Reads a topic to its end and collects its values in a place.
async fn run(topic: KafkaTopic, name: &str, place: &Memory) -> rtbflow::Result<Vec<u64>> {
    let out = place.collected::<u64>();
    let (place, into) = (place.clone(), out.clone());
    let job = Job::new(name)
        .source(topic.json::<u64>().event_time(|_| Timestamp::from_millis(0), Duration::ZERO))
        .until_end(true)
        .anchor(place.clone())
        .pipeline(move |numbers| numbers.to(into.sink()));
    job.run_until(std::future::pending()).await?;
    Ok(out.values())
}

fn log_of(place: &Memory, job: &str, topic: &str) -> Option<Log> {
    let positions = place.positions(&rtbflow::epoch::JobName::new(job).unwrap());
    positions.get(&Partition::new(Topic::new(topic), 0)).and_then(|at| at.log)
}

/// Whatever its length: what was read of the old topic is no part of the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_noticed_at_the_start_however_long_it_is() {
    for length in [0, 4, 10, 25] {
        let topic = topic("anew", 1).await;
        let (group, place) = (unique("group"), Memory::new());
        write(&topic, 0, 0..10).await;
        assert_eq!(run(kafka().topic(&topic), &group, &place).await.unwrap().len(), 10);
        let was = log_of(&place, &group, &topic).unwrap();
        assert!(was.leader_epoch.is_some(), "{was:?}");
        make_anew(&topic).await;
        write(&topic, 0, 100..100 + length).await;
        let error = run(kafka().topic(&topic), &group, &place).await.unwrap_err();
        let found = run(kafka().topic(&topic), &unique("group"), &place).await;
        assert!(error.is_config(), "{length} records: {error:?}");
        let text = error.report();
        assert!(text.contains(&topic) && text.contains(&was.topic_id.to_string()), "{text}");
        assert!(text.contains("begin_anew") && text.contains("reset"), "{text}");
        assert_eq!(found.unwrap().len() as u64, length);
        // The way out that it names.
        let anew = kafka().topic(&topic).begin_anew(true);
        let read = run(anew, &group, &place).await.unwrap();
        assert_eq!(read, (100..100 + length).collect::<Vec<_>>());
        if length > 0 {
            let is = log_of(&place, &group, &topic).unwrap().topic_id;
            assert!(is != was.topic_id && text.contains(&is.to_string()), "{text}");
            assert!(run(kafka().topic(&topic), &group, &place).await.unwrap().is_empty());
        }
    }
}

/// Nothing of the new topic is handed over, and the old one's reader stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_noticed_while_it_is_read() {
    let topic = topic("anew-live", 1).await;
    write(&topic, 0, 0..10).await;
    let mut feed = open(&kafka().topic(&topic), &unique("group"), false).await;
    let mut inputs = begin(&mut feed, &[]).await;
    let input = inputs.get_mut(&0).unwrap();
    assert_eq!(read(input, 10).await.len(), 10);
    let reads = async {
        loop {
            match delivery(input).await {
                Ok(Delivery::Batch(_)) => break "a record of the new topic",
                Ok(_) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    let writes = async {
        make_anew(&topic).await;
        write(&topic, 0, 0..25).await;
        let noticed = timeout(SOON_ENOUGH, feed.next()).await.expect("noticed in time");
        noticed.unwrap_err()
    };
    let error = tokio::select! {
        handed_over = reads => panic!("{handed_over} was handed over"),
        error = writes => error,
    };
    assert!(error.is_config() && error.report().contains(&topic), "{error:?}");
    assert!(error.report().contains("its id was"), "{error:?}");
    feed.close().await;
}

/// A position that was kept before positions named their logs takes that on, also if nothing is to be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_without_a_log_takes_it_on() {
    let topic = topic("unnamed", 1).await;
    write(&topic, 0, 0..10).await;
    let mut feed = open(&kafka().topic(&topic), &unique("group"), false).await;
    let mut inputs = begin(&mut feed, &[(0, 10)]).await;
    let first = delivery(inputs.get_mut(&0).unwrap()).await.unwrap();
    let Delivery::Reached { offset: 10, log: Some(log), anew: false } = first else {
        panic!("{first:?}");
    };
    assert_ne!(log.topic_id, TopicId::new(0));
    feed.close().await;
}
