//! Co-groups: topics with different counts of partitions, read together by key and without another topic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rtbflow::source::{Delivery, Feed, Source, SourceEvent};
use rtbflow_kafka::KafkaTopic;
use tokio::time::timeout;

use crate::member::{Group, at_end, context, delivery, event, finish, open, share};
use crate::server::{SOON, add_partitions, kafka, topic, topics_like, transaction, unique, write};
use crate::traffic::Traffic;

async fn both(one: u32, other: u32) -> (KafkaTopic, [(String, i32); 2]) {
    let (a, b) = (topic("co-a", one).await, topic("co-b", other).await);
    let source = kafka().topic(&a).expected_partitions(one).with(kafka().topic(&b));
    let counts = [(a, i32::try_from(one).unwrap()), (b, i32::try_from(other).unwrap())];
    (source, counts)
}

/// Instances come and go under traffic: every record is committed once, at every moment the tasks are
/// shared evenly, and no topic was made but the one that the group is held on where it must be.
async fn check(one: u32, other: u32, tasks: usize, coordinated: bool) {
    let (source, topics) = both(one, other).await;
    let group = Group::new(&unique("co-group"));
    let traffic = Traffic::begin(&topics);
    let mut members = Vec::new();
    for count in [1, 2, 3, 5, 3, 2, 1] {
        while members.len() < count {
            members.push(group.join(source.clone()));
        }
        while members.len() > count {
            let seen = members.remove(0).leave().await;
            assert_eq!((seen.lost, seen.fenced), (0, 0), "{seen:?}");
        }
        share(&mut members, tasks).await;
    }
    group.commits(traffic.end().await).await;
    for member in members {
        let seen = member.leave().await;
        assert_eq!((seen.lost, seen.fenced), (0, 0), "{seen:?}");
    }
    let made = topics_like(group.job.as_str()).await;
    let expected: Vec<String> = match coordinated {
        true => vec![format!("{}.coordination-{tasks}", group.job)],
        false => Vec::new(),
    };
    assert_eq!(made, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_partitions_against_four() {
    check(8, 4, 4, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_partitions_against_four() {
    check(6, 4, 2, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_partitions_against_four() {
    check(4, 4, 4, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_partitions_against_three() {
    check(5, 3, 1, true).await;
}

/// Whatever the order in which the topics are named, partitions that agree modulo the number of tasks are
/// one task's.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_with_the_same_keys_are_one_tasks() {
    let (source, [(a, _), (b, _)]) = both(6, 4).await;
    let mut feed = open(&source, &unique("co-group"), true).await;
    let SourceEvent::Assigned(assignment) = event(&mut feed).await else { panic!("assigned") };
    let tasks: BTreeMap<u32, Vec<String>> = assignment
        .tasks
        .iter()
        .map(|input| {
            let members = input.partitions.iter().map(|input| input.partition.to_string());
            (input.task.number, members.collect())
        })
        .collect();
    let named = |names: [(&str, i32); 5]| names.map(|(topic, n)| format!("{topic}/{n}")).to_vec();
    assert_eq!(tasks[&0], named([(&a, 0), (&a, 2), (&a, 4), (&b, 0), (&b, 2)]));
    assert_eq!(tasks[&1], named([(&a, 1), (&a, 3), (&a, 5), (&b, 1), (&b, 3)]));
    feed.close().await;
}

/// Ends are agreed on, proved and reached in all partitions of all topics, past what is never handed over.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_every_partition_of_every_topic_is_proved_and_reached() {
    let (source, [(a, _), (b, _)]) = both(2, 4).await;
    write(&a, 0, 0..10).await;
    write(&b, 3, 0..700).await;
    let aborted = b.clone();
    tokio::task::spawn_blocking(move || transaction(&aborted, 2, 5, false)).await.unwrap();
    for until_end in [false, true] {
        let mut feed = open(&source, &unique("co-group"), until_end).await;
        let SourceEvent::Assigned(mut assignment) = event(&mut feed).await else { panic!() };
        let tasks = std::mem::take(&mut assignment.tasks);
        let inputs: Vec<_> = tasks.into_iter().flat_map(|task| task.partitions).collect();
        let from = inputs.iter().map(|input| (input.partition, Default::default())).collect();
        assignment.begin(from);
        for mut input in inputs {
            let (name, number) = (input.partition.topic.name().to_owned(), input.partition.number);
            let (records, end) = match (name == a, number) {
                (true, 0) => (10, 10),
                (false, 3) => (700, 700),
                (false, 2) => (0, 6),
                _ => (0, 0),
            };
            let read = match until_end {
                true => finish(&mut input).await,
                false => at_end(&mut input, end).await,
            };
            assert_eq!(read, (0..records).collect::<Vec<i64>>(), "{name}/{number}");
        }
        feed.close().await;
    }
}

/// A task that waits for the partition that is behind goes on soon after that one is found to be quiet.
#[tokio::test(flavor = "multi_thread")]
async fn that_a_partition_is_quiet_is_proved_within_a_fraction_of_a_second() {
    let (source, _) = both(1, 1).await;
    let mut context = context(&unique("co-group"), false);
    context.idle_timeout = Duration::from_secs(3600);
    let mut feed = source.open(context).await.unwrap();
    let SourceEvent::Assigned(mut assignment) = event(&mut feed).await else { panic!("assigned") };
    let mut input = assignment.tasks.remove(0).partitions.remove(0);
    assignment.begin(vec![(input.partition, Default::default())]);
    let mut proofs = Vec::new();
    while proofs.len() < 6 {
        if let Delivery::AtEnd { asked, .. } = delivery(&mut input).await.unwrap() {
            proofs.push(asked);
        }
    }
    let (first, last) = (proofs[0], proofs[5]);
    assert!(last.since(first) < Duration::from_secs(3), "{proofs:?}");
    feed.close().await;
}

/// A topic named twice, and topics of two clusters: errors that say so.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_together_is_refused() {
    let (source, [(a, _), _]) = both(1, 1).await;
    let twice = source.clone().with(kafka().topic(&a));
    let error = twice.open(context("job", true)).await.unwrap_err();
    assert!(error.is_config() && error.report().contains("named twice"), "{error:?}");
    let elsewhere = source.with(rtbflow_kafka::Kafka::new("elsewhere:9092").topic("other"));
    let error = elsewhere.open(context("job", true)).await.unwrap_err();
    assert!(error.is_config() && error.report().contains("elsewhere:9092"), "{error:?}");
    let names: BTreeSet<String> = elsewhere.topics().into_iter().collect();
    assert_eq!(names.len(), 3);
}

/// Partitions that are added to a topic that the group is not held on are noticed, and read.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_gets_more_partitions_is_opened_again() {
    let (a, b) = (topic("co-a", 2).await, topic("co-b", 4).await);
    let kafka = kafka().option("topic.metadata.refresh.interval.ms", "200");
    let (source, group) = (kafka.topic(&a).with(kafka.topic(&b)), unique("co-group"));
    let mut feed = open(&source, &group, false).await;
    let SourceEvent::Assigned(assignment) = event(&mut feed).await else { panic!("assigned") };
    add_partitions(&b, 6).await;
    let error = timeout(SOON, async {
        loop {
            match feed.next().await {
                Ok(event) => drop(event),
                Err(error) => return error,
            }
        }
    });
    let error = error.await.expect("noticed in time");
    assert!(error.is_transient() && error.report().contains("6 partitions"), "{error:?}");
    drop(assignment);
    feed.close().await;
    let mut feed = open(&source, &group, false).await;
    let SourceEvent::Assigned(assignment) = event(&mut feed).await else { panic!("assigned") };
    let partitions: Vec<usize> =
        assignment.tasks.iter().map(|input| input.partitions.len()).collect();
    assert_eq!(partitions, [4, 4]);
    feed.close().await;
}
