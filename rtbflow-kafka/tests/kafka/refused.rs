//! Results that a broker refuses for what they are: each becomes a dead letter, and all others are written.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use rtbflow::Job;
use rtbflow::clock::{Clock, SystemClock};
use rtbflow::epoch::{Anchor, Memory};
use rtbflow::job::Report;
use rtbflow::operators::window::{Count, Late, Tumbling, Windowed};
use rtbflow::source::MemorySource;
use rtbflow_kafka::{DeadLetterTopic, KafkaSink, KafkaSinkBuilder};

use crate::committed::{Seen, committed};
use crate::server::{kafka, topic_with, unique};

/// A key, and by how much its time is ahead of now.
type Click = (String, Duration);
type Counted = Windowed<String, u64>;

const LARGE: &str = "large";
const AHEAD: &str = "ahead";
const KEYLESS: &str = "keyless";
/// What the broker allows, and more.
const TOO_FAR: Duration = Duration::from_secs(2 * 3600);

/// Twenty plain clicks, and in their middle these.
fn clicks(odd: &[&str]) -> Vec<Click> {
    let plain = |number: i32| (format!("plain-{number}"), Duration::ZERO);
    let odd = odd.iter().map(|key| {
        let ahead = if key.starts_with(AHEAD) { TOO_FAR } else { Duration::ZERO };
        ((*key).to_owned(), ahead)
    });
    (0..10).map(plain).chain(odd).chain((10..20).map(plain)).collect()
}

/// Counts the clicks of each key in a window; each is a result of its own, and a large one has 3,000 bytes.
async fn count<A: Anchor>(
    place: A,
    writer: Option<rtbflow_kafka::KafkaWriter>,
    odd: &[&str],
    sink: impl Fn() -> KafkaSink<Counted> + Send + Sync + 'static,
) -> rtbflow::Result<Report> {
    let (now, topic) = (SystemClock.now(), unique("clicks"));
    topic_with(&DeadLetterTopic::name(&topic), &[]).await;
    let source = MemorySource::new(&topic, vec![clicks(odd)])
        .event_time(move |click: &Click| now + click.1, Duration::from_secs(8 * 3600));
    let mut job = Job::new(unique("refused")).source(source).anchor(place);
    job = job.dead_letters(kafka().dead_letters()).max_ahead(None);
    if let Some(writer) = writer {
        job = job.writer(writer);
    }
    let job = job.pipeline(move |clicks| {
        let windows = Tumbling::of(Duration::from_secs(1)).late(Late::DeadLetter);
        clicks
            .key_by(|click: &Click| click.0.clone())
            .window(windows)
            .aggregate("count", Count)
            .to(sink())
    });
    job.run_until(pending()).await
}

fn form(records: KafkaSinkBuilder<Counted>) -> KafkaSink<Counted> {
    let key = |result: &Counted| (result.key != KEYLESS).then(|| result.key.clone().into_bytes());
    records.key_bytes(key).event_time().bytes(|result| {
        let large = result.key.starts_with(LARGE);
        Some(if large { noise(3_000) } else { result.key.clone().into_bytes() })
    })
}

/// A topic for results and that for its dead letters.
async fn topics(settings: &[(&str, &str)], of_letters: &[(&str, &str)]) -> String {
    let topic = unique("results");
    topic_with(&topic, settings).await;
    topic_with(&DeadLetterTopic::name(&topic), of_letters).await;
    topic
}

async fn check(topic: &str, report: &Report, odd: usize) -> Vec<Seen> {
    let written = committed(topic).await;
    let keys: BTreeSet<_> = written.iter().filter_map(|seen| seen.key.clone()).collect();
    let plain = (0..20).map(|number| format!("plain-{number}"));
    assert_eq!(keys, plain.collect::<BTreeSet<_>>(), "all others are written");
    let letters = committed(&DeadLetterTopic::name(topic)).await;
    assert_eq!(letters.len(), odd, "{letters:?}");
    assert_eq!((report.results_refused, report.dead_lettered), (odd as u64, 0));
    assert_eq!((report.decoded, report.records_out), (20 + odd as u64, 20));
    letters
}

fn header(letter: &Seen, name: &str) -> String {
    let found = letter.headers.iter().find(|(key, _)| key == name);
    found.and_then(|(_, value)| value.clone()).unwrap_or_default()
}

/// The broker gives all records of a batch the same answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_whose_time_is_too_far_ahead_stops_no_other() {
    let topic = topics(&[], &[]).await;
    let (place, into) = (kafka().anchor(), topic.clone());
    let report =
        count(place.clone(), None, &[AHEAD, "ahead too"], move || form(place.records(&into)));
    let report = report.await.unwrap();
    let letters = check(&topic, &report, 2).await;
    for letter in &letters {
        let error = header(letter, "rtbflow-error");
        assert!(error.contains("message.timestamp.after.max.ms"), "{error}");
        assert_eq!(letter.key, letter.value, "it is whole");
    }
}

/// A result that the sink finds too large, since the topic was asked what it takes, and one that the broker finds so.
/// Its letter is cut to what its own topic takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_too_large_becomes_a_letter_that_is_cut_if_it_must() {
    for most_bytes in [None, Some(1 << 20)] {
        let topic =
            topics(&[("max.message.bytes", "2000")], &[("max.message.bytes", "1000")]).await;
        let (place, into) = (kafka().anchor(), topic.clone());
        let anchor = place.clone();
        let sink = move || {
            let records = place.records(&into);
            form(match most_bytes {
                Some(most) => records.most_bytes(most),
                None => records,
            })
        };
        let report = count(anchor, None, &[LARGE], sink).await.unwrap();
        let letters = check(&topic, &report, 1).await;
        let letter = letters.first().unwrap();
        let error = header(letter, "rtbflow-error");
        assert!(error.contains("takes 2000"), "{error}");
        assert_eq!(header(letter, "rtbflow-cut"), "3000");
        let length = letter.value.as_ref().unwrap().len();
        assert!((500..1_000).contains(&length), "{length} bytes are left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_without_a_key_stops_no_other_in_a_compacted_topic() {
    let topic = topics(&[("cleanup.policy", "compact")], &[]).await;
    let (place, into) = (kafka().anchor(), topic.clone());
    let report =
        count(place.clone(), None, &[KEYLESS], move || form(place.records(&into))).await.unwrap();
    let letters = check(&topic, &report, 1).await;
    let letter = letters.first().unwrap();
    let error = header(letter, "rtbflow-error");
    assert!(error.contains("no key") && letter.key.is_none(), "{letter:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_another_place_it_is_the_same() {
    let topic = topics(&[], &[]).await;
    let (writer, into) = (kafka().writer(), topic.clone());
    let sink = {
        let writer = writer.clone();
        move || form(writer.records(&into))
    };
    let report = count(Memory::new(), Some(writer), &[AHEAD], sink).await.unwrap();
    let letters = committed(&DeadLetterTopic::name(&topic)).await;
    assert_eq!((letters.len(), report.results_refused), (1, 1));
    let keys: BTreeSet<_> =
        committed(&topic).await.into_iter().filter_map(|seen| seen.key).collect();
    assert_eq!(keys.len(), 20, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_results_that_is_missing_is_found_before_anything_is_read() {
    let (place, topic) = (kafka().anchor(), unique("missing"));
    let into = topic.clone();
    let error =
        count(place.clone(), None, &[], move || form(place.records(&into))).await.unwrap_err();
    let text = error.report();
    assert!(error.is_config() && text.contains(&topic) && text.contains("create"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_of_results_that_is_missing_is_found_before_anything_is_read() {
    let (place, writer) = (kafka().anchor(), kafka().writer());
    for writes in [false, true] {
        let topic = unique("without-letters");
        topic_with(&topic, &[]).await;
        let (into, by, beside) = (topic.clone(), writer.clone(), place.clone());
        let sink = move || {
            form(if writes { by.records(into.as_str()) } else { beside.records(into.as_str()) })
        };
        let error = match writes {
            true => count(Memory::new(), Some(writer.clone()), &[], sink).await,
            false => count(place.clone(), None, &[], sink).await,
        };
        let (error, missing) = (error.unwrap_err(), DeadLetterTopic::name(&topic));
        let text = error.report();
        assert!(error.is_config() && text.contains(&missing) && text.contains("create"), "{text}");
        // What the message says.
        topic_with(&missing, &[]).await;
        let (into, by, beside) = (topic.clone(), writer.clone(), place.clone());
        let sink = move || {
            form(if writes { by.records(into.as_str()) } else { beside.records(into.as_str()) })
        };
        let report = match writes {
            true => count(Memory::new(), Some(writer.clone()), &[], sink).await,
            false => count(place.clone(), None, &[], sink).await,
        };
        assert_eq!(report.unwrap().records_out, 20);
    }
}

/// Text that no compression makes smaller.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let letter = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b' ' + u8::try_from(state >> 58).unwrap()
    };
    (0..length).map(letter).collect()
}
