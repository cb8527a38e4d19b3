//! Dead letters: unchanged, with five headers behind their own, in the partition of their key.

use rdkafka::message::{Header, OwnedHeaders};
use rtbflow::epoch::{DeadLetter, DeadLetters, Original};
use rtbflow::source::{Delivery, Feed, RawBatch, Source};
use rtbflow::{BadRecord, Origin, Partition, Topic};
use rtbflow_kafka::TopicSpec;

use crate::committed::committed;
use crate::member::{begin, delivery, open};
use crate::refused::noise;
use crate::server::{HOUR, kafka, set, topic, topic_with, unique, write, write_one};

pub(crate) fn letter(topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> DeadLetter {
    let origin = Origin::new(Partition::new(Topic::new(topic), 3), 17);
    let headers = vec![
        ("rtbflow-error".to_owned(), Some(b"of another life".to_vec())),
        ("none".to_owned(), None),
        ("bytes".to_owned(), Some(b"\xff\x00".to_vec())),
    ];
    let original = Original::new(key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec), headers);
    DeadLetter::record(origin, original, BadRecord::new("late by a minute"))
}

/// All records of a topic's partitions, by partition.
async fn all(topic: &str) -> Vec<(i32, RawBatch)> {
    let mut feed = open(&kafka().topic(topic), &unique("group"), true).await;
    let mut batches = Vec::new();
    for (number, mut input) in begin(&mut feed, &[]).await {
        loop {
            match delivery(&mut input).await.unwrap() {
                Delivery::Batch(batch) => batches.push((number, batch)),
                Delivery::Reached { .. } | Delivery::AtEnd { .. } => {}
                Delivery::Finished => break,
            }
        }
    }
    feed.close().await;
    batches
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_unchanged_and_says_where_it_came_from() {
    let source = topic("source", 4).await;
    let kafka = kafka();
    let made = kafka.create_topics(&[TopicSpec::dead_letter(&source)]).await.unwrap();
    assert_eq!((made[0].partitions, made[0].wanted), (4, 4));
    let letters = kafka.dead_letters().pipeline("balance-worker");
    let large = vec![b'x'; 1_048_000];
    let written = [
        letter(&source, Some(b"k"), Some(b"\xff{")),
        letter(&source, None, None),
        letter(&source, Some(b""), Some(b"")),
        letter(&source, Some(b"large"), Some(&large)),
    ];
    letters.deliver("the-group", &written).await.unwrap();
    let mut found = 0;
    for (_, batch) in all(&format!("{source}.dead-letter")).await {
        for index in 0..batch.len() {
            let record = batch.get(index).unwrap();
            let same = |letter: &&DeadLetter| {
                letter.key.as_deref() == record.key && letter.value.as_deref() == record.value
            };
            assert!(written.iter().find(same).is_some(), "{record:?}");
            let headers = batch.headers(index);
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
            let headers: Vec<_> = headers.collect();
            let expected: [(&str, Option<&[u8]>); 8] = [
                ("rtbflow-error", Some(b"of another life")),
                ("none", None),
                ("bytes", Some(b"\xff\x00")),
                ("rtbflow-pipeline", Some(b"balance-worker")),
                ("rtbflow-topic", Some(source.as_bytes())),
                ("rtbflow-partition", Some(b"3")),
                ("rtbflow-offset", Some(b"17")),
                ("rtbflow-error", Some(b"late by a minute")),
            ];
            assert_eq!(headers, expected);
            found += 1;
        }
    }
    assert_eq!(found, written.len());
}

/// The vectors of the Java client's own tests: key, hash.
#[tokio::test(flavor = "multi_thread")]
async fn keys_go_where_the_java_client_sends_them() {
    let source = unique("murmur");
    let topic = format!("{source}.dead-letter");
    kafka().create_topics(&[TopicSpec::new(&topic, 8, HOUR)]).await.unwrap();
    let vectors: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    let written: Vec<_> =
        vectors.iter().map(|(key, _)| letter(&source, Some(key.as_bytes()), Some(b"v"))).collect();
    kafka().dead_letters().deliver("group", &written).await.unwrap();
    let mut found = 0;
    for (number, batch) in all(&topic).await {
        for index in 0..batch.len() {
            let key = batch.get(index).unwrap().key.unwrap();
            let (_, hash) = vectors.iter().find(|(of, _)| of.as_bytes() == key).unwrap();
            assert_eq!(number, (hash & 0x7fff_ffff) % 8, "{}", String::from_utf8_lossy(key));
            found += 1;
        }
    }
    assert_eq!(found, vectors.len());
}

/// A topic that takes less than it did when its letters began. The first attempt finds it out, and the next one is cut to
/// what it takes now: the job makes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_cut_shorter_where_its_topic_takes_less_than_it_did() {
    let source = unique("shrinks");
    let topic = format!("{source}.dead-letter");
    topic_with(&topic, &[("max.message.bytes", "3000")]).await;
    let letters = kafka().dead_letters();
    let large = [letter(&source, Some(b"k"), Some(&noise(2_500)))];
    letters.deliver("job", &large).await.unwrap();
    set(&topic, "max.message.bytes", "1000").await;
    let mut refused = 0;
    while let Err(error) = letters.deliver("job", &large).await {
        refused += 1;
        let text = error.report();
        assert!(error.is_transient() && text.contains("takes less than it did"), "{text}");
        assert!(refused < 5, "{text}");
    }
    assert!(refused > 0, "the topic still takes the large one");
    let lengths: Vec<_> =
        committed(&topic).await.into_iter().map(|seen| seen.value.unwrap().len()).collect();
    let [before, after] = lengths[..] else { panic!("{lengths:?}") };
    assert!(before == 2_500 && (500..1_000).contains(&after), "{lengths:?}");
}

/// A join rejects a record in a later epoch than it was read in: its source has it still.
#[tokio::test(flavor = "multi_thread")]
async fn single_records_are_read_again_as_long_as_they_are_there() {
    let topic = topic("again", 2).await;
    let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("v") });
    write_one(&topic, Some(b"key"), Some(b"first"), headers).await;
    let partition = *partitions_with_records(&topic).await.first().unwrap();
    write(&topic, partition, 1..3_000).await;
    let at = |offset| Origin::new(Partition::new(Topic::new(&topic), partition), offset);
    let source = kafka().topic(&topic).json::<u64>();
    let wanted = [at(2_999), at(0), at(5_000), at(7), at(0).shared()];
    let found = source.read_again(&wanted).await.unwrap();
    let values: Vec<_> =
        found.iter().map(|one| one.as_ref().and_then(|one| one.value.clone())).collect();
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(values, [bytes("2999"), bytes("first"), None, bytes("7"), bytes("first")]);
    let first = found.get(1).cloned().flatten().unwrap();
    assert_eq!(first.key, bytes("key"));
    assert_eq!(first.headers, [("h".to_owned(), bytes("v"))]);
}

async fn partitions_with_records(topic: &str) -> Vec<i32> {
    all(topic).await.into_iter().map(|(number, _)| number).collect()
}
