//! Bad input of every kind goes where the contract says, and everything is accounted for.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::letters::{self, Letters, Sending};
use crate::spoilt::{Class, FUTURE, LAST, cases, click};
use crate::stage::{ADS, DEAD_LETTERS, SOON, Stage, make_topic, remove_topic, until};
use crate::traffic::{Sent, Traffic, producer};
use crate::worker::Kind;

const KINDS: [Kind; 2] = [Kind::Balance, Kind::Performance];

/// Sends a record as it is; where it went.
pub(crate) async fn send(
    producer: &FutureProducer,
    partition: i32,
    record: &Sending,
) -> (i32, i64) {
    let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: value.as_ref() })
    });
    let mut sending = FutureRecord::<[u8], [u8]>::to(ADS).partition(partition).headers(headers);
    sending.key = record.key.as_deref();
    sending.payload = record.value.as_deref();
    let delivered = producer.send(sending, SOON).await.map_err(|(error, _)| error).unwrap();
    (delivered.partition, delivered.offset)
}

pub(crate) fn plain(value: &[u8]) -> Sending {
    Sending { key: Some(b"k".to_vec()), value: Some(value.to_vec()), headers: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_goes_where_the_contract_says() {
    let stage = Stage::new("bad_input", 8).await;
    let producer = producer();
    let mut owed = [Sent::default(), Sent::default()];
    let mut counts = [[0; 5]; 2];
    let mut expected = Letters::new();
    for case in cases() {
        let at = send(&producer, case.partition, &case.record).await;
        for (which, class) in case.classes.into_iter().enumerate() {
            counts[which][class as usize] += 1;
            let value = case.record.value.as_deref().unwrap_or_default();
            match class {
                Class::Used => owed[which].add(value, at),
                Class::Filtered | Class::Skipped => owed[which].passed(at),
                Class::Bad | Class::Late => {
                    owed[which].passed(at);
                    let reason = if class == Class::Late { "late" } else { case.name };
                    let reason = reason.to_owned();
                    let letter = letters::Letter { record: case.record.clone(), reason };
                    expected.insert((KINDS[which].name().to_owned(), at.0, at.1), vec![letter]);
                }
            }
        }
    }
    let runs = KINDS.map(|kind| stage.start(kind).flag("--until-end").run());
    for ((run, counts), owed) in runs.into_iter().zip(counts).zip(&owed) {
        let ended = run.end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        let classes = ["decoded", "filtered", "skipped", "dead_lettered", "late"];
        assert_eq!(classes.map(|class| ended.count(class)), counts, "{classes:?}: {}", ended.log);
        assert_eq!((ended.count("records_in"), ended.count("pending")), (owed.records, 0));
        assert_eq!(ended.count("restarts"), 0, "{}", ended.log);
    }
    let mut found = letters::all();
    for (place, letters) in &mut found {
        for letter in letters {
            // A reason has words of its own; only the lateness is promised.
            let wanted = expected.get(place).map(|letters| letters[0].reason.clone());
            if wanted.as_deref() != Some("late") || letter.reason.contains("late") {
                letter.reason = wanted.unwrap_or_default();
            }
        }
    }
    assert!(found == expected, "the dead letters differ");
    let [charged, counted] = owed;
    stage.ledger.is_exact(&charged).await;
    stage.cache.is_exact(&counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_far_ahead_is_a_dead_letter_to_live_windows_and_a_charge_all_the_same() {
    let stage = Stage::new("far_ahead", 8).await;
    let producer = producer();
    let runs = KINDS.map(|kind| stage.start(kind).run());
    let mut owed = [Sent::default(), Sent::default()];
    let now = "2024-01-15T10:31:00Z";
    let mut expected = None;
    for at in [now, LAST, now] {
        let value = click("one", at).to_string().into_bytes();
        let record = plain(&value);
        let place = send(&producer, FUTURE, &record).await;
        owed[0].add(&value, place);
        if at == LAST {
            owed[1].passed(place);
            expected = Some(((KINDS[1].name().to_owned(), place.0, place.1), record));
        } else {
            owed[1].add(&value, place);
        }
    }
    stage.ledger.until_read(&owed[0].ends).await;
    stage.cache.until_read(&owed[1].ends).await;
    for (run, classes) in runs.into_iter().zip([(3, 0), (2, 1)]) {
        let ended = run.stop().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!((ended.count("decoded"), ended.count("dead_lettered")), classes);
        assert_eq!(ended.count("records_in"), 3, "{}", ended.log);
    }
    let letters: Vec<_> = letters::all().into_iter().collect();
    let [(place, letter)] = &*letters else { panic!("{letters:?}") };
    assert_eq!(Some((place.clone(), letter[0].record.clone())), expected);
    assert!(letter[0].reason.contains("future"), "{letter:?}");
    let ended = stage.start(Kind::Performance).flag("--until-end").run().end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    stage.ledger.is_exact(&owed[0]).await;
    stage.cache.is_exact(&owed[1]).await;
}

/// A topic that is missing would show only with the first bad record; so would a table with the first result.
#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_missing_is_said_before_anything_is_read() {
    let stage = Stage::without_topics("missing").await;
    make_topic(ADS, 8).await;
    let mut traffic = Traffic::new(5);
    traffic.send(200, 0).await;
    let (tables, topics) = ("balance_ledger", DEAD_LETTERS);
    let ended = stage.start(Kind::Balance).without("--create-tables").run().end().await;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    let last = ended.log.lines().last().unwrap_or_default();
    assert!(last.contains(tables) && last.contains(topics), "{last}");
    assert_eq!(ended.count("records_in"), 0, "{}", ended.log);

    let ended = stage.start(Kind::Balance).run().end().await;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    let last = ended.log.lines().last().unwrap_or_default();
    assert!(last.contains(topics) && !last.contains(tables), "{last}");
    let skips = stage.start(Kind::Balance).with("--dead-letter", "skip").flag("--until-end");
    let ended = skips.run().end().await;
    assert_eq!((ended.code, ended.count("records_in")), (Some(0), 200), "{}", ended.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_that_is_deleted_is_waited_for_with_a_line_that_says_so() {
    let stage = Stage::without_topics("no_letters").await;
    make_topic(ADS, 8).await;
    make_topic(DEAD_LETTERS, 8).await;
    let worker = stage.start(Kind::Balance).run();
    worker.until_assigned().await;
    remove_topic(DEAD_LETTERS).await;
    let mut traffic = Traffic::new(5);
    traffic.send(200, 0).await;
    let bad = plain(b"not json");
    let place = send(&producer(), 0, &bad).await;
    traffic.send(200, 0).await;
    worker.until_said(&format!("{DEAD_LETTERS}: there is no such topic"), 1).await;
    let reached = stage.ledger.positions().await.get(&place.0).copied().unwrap_or(0);
    assert!(reached <= place.1, "it went on to {reached}, past a dead letter at {place:?}");
    make_topic(DEAD_LETTERS, 8).await;
    let mut sent = traffic.sent();
    sent.passed(place);
    stage.ledger.until_read(&sent.ends).await;
    let ended = worker.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!((ended.count("dead_lettered"), ended.count("decoded")), (1, sent.clicks));
    assert_eq!(ended.count("records_in"), sent.records, "{}", ended.log);
    stage.ledger.is_exact(&sent).await;
    until("the dead letter is in its topic", async || {
        let letters = letters::all();
        let found = letters.get(&("balance-worker".to_owned(), place.0, place.1));
        if found.is_some_and(|found| found[0].record == bad) && letters.len() == 1 {
            Ok(())
        } else {
            Err(letters)
        }
    })
    .await;
}
