//! Jobs that write to topics: beside another place, and in the transaction that moves their positions.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::Duration;

use rtbflow::epoch::{Anchor, Memory, Verdict};
use rtbflow::job::Report;
use rtbflow::source::MemorySource;
use rtbflow::testing::builders::at;
use rtbflow::{Elements, Flow, Job};
use rtbflow_kafka::{KafkaAnchor, KafkaSink, KafkaSinkBuilder, KafkaWriter};

use crate::committed::{Seen, committed, written};
use crate::cuts::{END_TRANSACTION, kafka_behind_a_proxy};
use crate::place::{ONLY, Owner};
use crate::server::{kafka, topic, unique};

/// A device, and a number that is the time after a beginning as well.
type Click = (String, i64);

const BEGIN_MS: i64 = 1_700_000_000_000;

const DEVICES: i64 = 7;

fn clicks(numbers: std::ops::Range<i64>) -> MemorySource<Click> {
    let click = |n: i64| (format!("device-{}", n % DEVICES), n);
    MemorySource::new("clicks", vec![numbers.map(click).collect()])
        .event_time(|click| at(BEGIN_MS + click.1), Duration::ZERO)
}

fn sink(records: KafkaSinkBuilder<Click>) -> KafkaSink<Click> {
    let even = |click: &Click| (click.1 % 2 == 0).then(|| b"even".to_vec());
    let number = |click: &Click| Some(click.1.to_string().into_bytes());
    records.key(|click| &click.0).header("parity", even).header("n", number).event_time().json()
}

/// Writes this many numbers beside a place in memory.
async fn beside(
    job: &str,
    place: &Memory,
    writer: &KafkaWriter,
    topic: &str,
    count: i64,
) -> Report {
    let (writer, topic) = (writer.clone(), topic.to_owned());
    let job = Job::new(job).source(clicks(0..count)).anchor(place.clone());
    let job = job.writer(writer.clone());
    job.pipeline(move |clicks| clicks.to(sink(writer.records(&topic))))
        .run_until(pending())
        .await
        .unwrap()
}

/// Writes this many numbers in the transaction that moves the positions.
async fn within(job: &str, anchor: KafkaAnchor, topic: &str, count: i64) -> Report {
    let (place, topic) = (anchor.clone(), topic.to_owned());
    let job = Job::new(job).source(clicks(0..count)).anchor(anchor);
    job.pipeline(move |clicks| counted(clicks).to(sink(place.records(&topic))))
        .run_until(pending())
        .await
        .unwrap()
}

/// With state: the records of a device are numbered, and the number is its record's.
fn counted(clicks: Flow<impl Elements<Value = Click>>) -> Flow<impl Elements<Value = Click>> {
    clicks.key_by(|click: &Click| click.0.clone()).scan(
        "count",
        Duration::from_secs(3_600),
        |count: &mut i64, (device, n)| {
            assert_eq!(
                *count * DEVICES + n % DEVICES,
                n,
                "nothing is lost and nothing comes twice"
            );
            *count += 1;
            (device, n)
        },
    )
}

fn numbers(seen: &[Seen]) -> Vec<i64> {
    let number = |seen: &Seen| {
        let value = seen.value.as_deref().unwrap();
        let (_, n) = value.trim_end_matches(']').rsplit_once(',').unwrap();
        n.parse().unwrap()
    };
    let mut numbers: Vec<i64> = seen.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Key, value, headers and time are those of the click; the clicks of a device stand in one partition.
fn are_whole(seen: &[Seen]) {
    let mut partitions: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for (seen, n) in
        seen.iter().zip(seen.iter().flat_map(|seen| numbers(std::slice::from_ref(seen))))
    {
        let device = format!("device-{}", n % DEVICES);
        assert_eq!(seen.value, Some(format!("[\"{device}\",{n}]")));
        assert_eq!(seen.key.as_ref(), Some(&device));
        let parity = ("parity".to_owned(), (n % 2 == 0).then(|| "even".to_owned()));
        assert_eq!(seen.headers, [parity, ("n".to_owned(), Some(n.to_string()))]);
        assert_eq!(seen.timestamp_ms, Some(BEGIN_MS + n));
        partitions.entry(device).or_default().insert(seen.partition);
    }
    assert!(partitions.values().all(|partitions| partitions.len() == 1), "{partitions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_arrive_as_they_are_and_a_restart_writes_those_that_are_new() {
    let (topic, place, writer) = (topic("writer", 3).await, Memory::new(), kafka().writer());
    for (count, new) in [(500, 500), (500, 0), (1_234, 734)] {
        let report = beside("alerts", &place, &writer, &topic, count).await;
        assert_eq!(report.records_in(), new);
        let seen = committed(&topic).await;
        are_whole(&seen);
        assert_eq!(numbers(&seen), (0..count).collect::<Vec<_>>());
    }
    // In the order in which they were written.
    let mut last: BTreeMap<Option<String>, i64> = BTreeMap::new();
    let mut seen = committed(&topic).await;
    seen.sort_by_key(|seen| (seen.partition, seen.offset));
    for seen in seen {
        let before = last.insert(seen.key, seen.timestamp_ms.unwrap());
        assert!(before < Some(seen.timestamp_ms.unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_cut_is_made_again() {
    let topic = topic("writer-cut", 1).await;
    for cut in [100, 1_000, 3_000] {
        let (proxy, by) = kafka_behind_a_proxy().await;
        proxy.cut_after_bytes(cut);
        let report = beside("alerts", &Memory::new(), &by.writer(), &topic, 1_000).await;
        assert_eq!(report.records_in(), 1_000);
        assert_eq!(proxy.planned_cuts(), 1);
    }
    let seen = committed(&topic).await;
    are_whole(&seen);
    let counts = numbers(&seen).into_iter().fold(BTreeMap::new(), |mut counts, n| {
        *counts.entry(n).or_insert(0) += 1;
        counts
    });
    assert_eq!(counts.len(), 1_000);
    assert!(counts.values().all(|count| *count >= 3), "at least once per job: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_transaction_a_restart_writes_nothing_twice_wherever_an_answer_was_lost() {
    let (topic, job) = (topic("within", 3).await, unique("within"));
    for round in 1..=4 {
        let (proxy, by) = kafka_behind_a_proxy().await;
        if round % 2 == 0 {
            proxy.cut_before(END_TRANSACTION);
        } else {
            proxy.cut_after(END_TRANSACTION);
        }
        let count = round * 700;
        let report = within(&job, by.anchor(), &topic, count).await;
        assert_eq!(proxy.planned_cuts(), 1);
        assert_eq!(report.records_in(), 700, "it goes on where it stood");
        let seen = committed(&topic).await;
        are_whole(&seen);
        assert_eq!(numbers(&seen), (0..count).collect::<Vec<_>>(), "each once");
        let report = within(&job, kafka().anchor(), &topic, count).await;
        assert_eq!((report.records_in(), committed(&topic).await.len()), (0, seen.len()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_seen_of_an_epoch_whose_transaction_was_aborted() {
    let (topic, job) = (topic("aborted", 1).await, crate::place::job("aborted"));
    let (proxy, by) = kafka_behind_a_proxy().await;
    let mut owner = Owner::claim(by.anchor(), &job, ONLY, 1).await;
    let first = owner.epoch(&topic, 1);
    // An attempt that fails leaves its record as well: how often each is written is not known.
    proxy.cut_before(END_TRANSACTION);
    assert_eq!(owner.commit(&first).await, Verdict::COMMITTED);
    proxy.until_planned_cuts(1).await;
    // Its record is written, and it is gone before it says that it is to be seen.
    let (lost, name) = (owner.epoch(&topic, 2), job.clone());
    proxy.cut_before(END_TRANSACTION);
    proxy.stay_cut();
    let commit =
        tokio::spawn(async move { owner.anchor.commit(&name, std::slice::from_ref(&lost)).await });
    proxy.until_planned_cuts(2).await;
    let mut next = Owner::claim(kafka().anchor(), &job, ONLY, 2).await;
    let values = |seen: Vec<Seen>| seen.into_iter().map(|seen| seen.value.unwrap());
    let all_written: BTreeSet<String> = values(written(&topic).await).collect();
    assert_eq!(all_written, ["1", "2"].map(str::to_owned).into());
    assert_eq!(values(committed(&topic).await).collect::<Vec<_>>(), ["1"]);
    assert_eq!(next.at.offset, Some(1), "nor has the position moved");
    let epoch = next.epoch(&topic, 3);
    assert_eq!(next.commit(&epoch).await, Verdict::COMMITTED);
    assert_eq!(values(committed(&topic).await).collect::<Vec<_>>(), ["1", "3"]);
    commit.abort();
}
