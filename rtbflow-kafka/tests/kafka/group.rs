//! Rebalances: none is missed, and every record is handed over once to a place that compares and sets.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::epoch::Position;
use rtbflow::source::{Delivery, Feed, SourceEvent};
use rtbflow_kafka::KafkaTopic;
use tokio::time::timeout;

use crate::member::{Group, begin, delivery, event, open, read};
use crate::server::{HOUR, SOON, address, kafka, topic, unique, write};
use crate::traffic::Traffic;

/// A batch call on the consumer's own queue would swallow rebalances here: the staying member would
/// read nothing for ever, without any error.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_joins_and_leaves_under_traffic_lose_nothing_and_repeat_nothing() {
    let topic = topic("storm", 4).await;
    storm(kafka().topic(&topic), &[(topic, 4)]).await;
}

/// The same where a task is partitions of two topics, assigned by hand.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_joins_and_leaves_of_a_co_group_lose_nothing_and_repeat_nothing() {
    let (small, large) = (topic("storm-small", 4).await, topic("storm-large", 8).await);
    let both = kafka().topic(&large).with(kafka().topic(&small));
    storm(both, &[(small, 4), (large, 8)]).await;
}

/// A member stays, another joins and leaves, and every record is committed once. Four tasks.
async fn storm(source: KafkaTopic, topics: &[(String, i32)]) {
    let group = Group::new(&unique("group"));
    let traffic = Traffic::begin(topics);
    let mut staying = group.join(source.clone());
    staying.wait(|seen| seen.tasks == 4).await;
    for _ in 0..15 {
        let mut passing = group.join(source.clone());
        passing.wait(|seen| seen.tasks == 2).await;
        staying.wait(|seen| seen.tasks == 2).await;
        let seen = passing.leave().await;
        assert_eq!((seen.lost, seen.fenced), (0, 0));
        staying.wait(|seen| seen.tasks == 4).await;
    }
    let all = traffic.end().await;
    group.commits(all).await;
    let seen = staying.leave().await;
    assert_eq!(group.collected.values().len(), all, "{seen:?}");
    assert!(seen.assigned >= 31 && seen.revoked >= 30, "a rebalance was missed: {seen:?}");
    assert_eq!((seen.lost, seen.fenced), (0, 0), "{seen:?}");
}

/// A partition that stops forgets its forwarding; one that comes back must be forwarded again *after*
/// it is assigned, or its records wait in a queue that nobody reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_comes_back_is_read_again() {
    let topic = topic("back", 2).await;
    // So patient that the watchdog, which would cure it, plays no part.
    let (group, source) = (unique("group"), kafka().topic(&topic).stall_timeout(HOUR));
    let mut first = open(&source, &group, false).await;
    let mut inputs = begin(&mut first, &[]).await;
    write(&topic, 0, 0..5).await;
    assert_eq!(read(inputs.get_mut(&0).unwrap(), 5).await, [0, 1, 2, 3, 4]);
    for round in 0..3 {
        let mut second = open(&source, &group, false).await;
        let SourceEvent::Revoked(revocation) = event(&mut first).await else { panic!("revoked") };
        assert!(!revocation.lost && revocation.tasks.len() == 2);
        drop(revocation);
        let theirs = begin(&mut second, &[(0, 5 + round), (1, round)]).await;
        drop(begin(&mut first, &[(0, 5 + round), (1, round)]).await);
        second.close().await;
        drop(theirs);
        let SourceEvent::Revoked(revocation) = event(&mut first).await else { panic!("revoked") };
        drop(revocation);
        let mut inputs = begin(&mut first, &[(0, 5 + round), (1, round)]).await;
        write(&topic, 0, [0]).await;
        write(&topic, 1, [0]).await;
        assert_eq!(read(inputs.get_mut(&0).unwrap(), 1).await, [5 + round]);
        assert_eq!(read(inputs.get_mut(&1).unwrap(), 1).await, [round]);
    }
    first.close().await;
}

/// More members than partitions: the ones that hold nothing hear so and stay ready.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_assignment_is_handed_on() {
    let topic = topic("empty", 1).await;
    let (group, source) = (unique("group"), kafka().topic(&topic));
    let mut first = open(&source, &group, false).await;
    drop(begin(&mut first, &[]).await);
    let mut second = open(&source, &group, false).await;
    let SourceEvent::Revoked(revocation) = event(&mut first).await else { panic!("revoked") };
    drop(revocation);
    let (SourceEvent::Assigned(a), SourceEvent::Assigned(b)) =
        (event(&mut first).await, event(&mut second).await)
    else {
        panic!("both learn what they have");
    };
    assert_eq!(a.tasks.len() + b.tasks.len(), 1);
    first.close().await;
    second.close().await;
}

/// A restart with the same instance name gets its task back without a rebalance at the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_instance_comes_back_and_disturbs_nobody() {
    let topic = topic("named", 2).await;
    let group = unique("group");
    let named = |name: &str| kafka().topic(&topic).instance(name);
    let mut staying = open(&named("a"), &group, false).await;
    drop(begin(&mut staying, &[]).await);
    let mut restarted = open(&named("b"), &group, false).await;
    let SourceEvent::Revoked(revocation) = event(&mut staying).await else { panic!("revoked") };
    drop(revocation);
    let (mine, mut before) = (begin(&mut staying, &[]).await, begin(&mut restarted, &[]).await);
    // Also when records of it are still held.
    let (number, input) = before.iter_mut().next().unwrap();
    write(&topic, *number, [7]).await;
    let held = loop {
        if let Delivery::Batch(batch) = delivery(input).await.unwrap() {
            break batch;
        }
    };
    restarted.close().await;
    drop(held);
    let mut restarted = open(&named("b"), &group, false).await;
    let after = begin(&mut restarted, &[]).await;
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let nothing = timeout(Duration::from_millis(300), staying.next()).await;
    assert!(nothing.is_err() && mine.len() == 1, "the staying instance was disturbed: {nothing:?}");
    staying.close().await;
    restarted.close().await;
}

/// The revocation that nobody answers holds the group up until the deadline only.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_not_answered_holds_nobody_up_for_long() {
    let topic = topic("deaf", 2).await;
    let group = unique("group");
    let source = kafka().option("session.timeout.ms", "6000").topic(&topic);
    let mut deaf = open(&source, &group, false).await;
    drop(begin(&mut deaf, &[]).await);
    let mut other = open(&source, &group, false).await;
    let SourceEvent::Revoked(revocation) = event(&mut deaf).await else { panic!("revoked") };
    assert_eq!(revocation.deadline, Duration::from_secs(3));
    let SourceEvent::Assigned(assignment) = event(&mut other).await else { panic!("assigned") };
    assert_eq!(assignment.tasks.len(), 1);
    drop(revocation);
    deaf.close().await;
    other.close().await;
}

/// Two processes under one name: the older one's error says so, and which it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_the_same_name_fences_the_first() {
    let topic = topic("twins", 1).await;
    let (group, named) = (unique("group"), kafka().topic(&topic).instance("a"));
    let mut first = open(&named, &group, false).await;
    drop(begin(&mut first, &[]).await);
    let mut second = open(&named, &group, false).await;
    drop(begin(&mut second, &[]).await);
    let error = loop {
        match timeout(SOON, first.next()).await.unwrap() {
            Ok(event) => drop(event),
            Err(error) => break error,
        }
    };
    assert!(error.is_fenced() && error.report().contains("instance name"), "{error:?}");
    assert!(error.report().contains("each one of its own"), "{error:?}");
    first.close().await;
    // With a name of its own it takes part, and the other stays.
    let mut other = open(&kafka().topic(&topic).instance("b"), &group, false).await;
    let SourceEvent::Assigned(assignment) = event(&mut other).await else { panic!("assigned") };
    assert!(assignment.tasks.len() <= 1);
    other.close().await;
    second.close().await;
}

/// The group's own offsets are information for tools, and are there when the instance has left.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_reported_to_the_group() {
    let topic = topic("reported", 1).await;
    let group = unique("group");
    write(&topic, 0, 0..10).await;
    let mut feed = open(&kafka().topic(&topic), &group, false).await;
    let mut inputs = begin(&mut feed, &[]).await;
    read(inputs.get_mut(&0).unwrap(), 10).await;
    let partition = inputs[&0].partition;
    feed.committed(&[(partition, Position { offset: Some(10), ..Position::default() })]);
    feed.close().await;
    let asked = tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address()).set("group.id", group);
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(partition.topic.name(), 0);
        let list = consumer.committed_offsets(list, SOON).unwrap();
        list.elements()[0].offset()
    });
    assert_eq!(asked.await.unwrap(), Offset::Offset(10));
}
