//! Tasks are claimed where the broker that coordinates their transactions is away, and where the brokers do not let a
//! transaction be open for as long as was set.

use std::time::Duration;

use rtbflow::epoch::{Anchor, Claim, JobName, Task};
use rtbflow::{Partition, Topic};
use tokio::time::Instant;

use crate::brokers::{Brokers, kafka, topic, unique};

/// What the pipelines promise.
const LONGEST_SILENCE: Duration = Duration::from_secs(35);
const TASK: Task = Task { number: 0, of: 1 };

fn claim_of(topic: &str) -> Claim {
    Claim::new(TASK, vec![Partition::new(Topic::new(topic), 0)], 7)
}

/// As Java does it, by which a broker finds the partition of a transactional id.
fn java_hash(text: &str) -> i32 {
    text.bytes().fold(0, |hash: i32, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
}

/// The broker that coordinates the transactions of the job's one task, by the leaders of the topic of transactions.
fn coordinator(job: &str, leaders: &[i32]) -> i32 {
    let hash = java_hash(&format!("{job}-{}", TASK.number)).unsigned_abs();
    *leaders.get(usize::try_from(hash).unwrap() % leaders.len()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_claimed_though_the_coordinator_of_its_transactions_has_frozen() {
    let brokers = tokio::task::block_in_place(Brokers::take);
    tokio::task::block_in_place(|| brokers.recover());
    let input = topic("claimed", 1).await;
    // The topic of transactions is there once somebody has begun one; and the topics of the places are not made now.
    let frozen = 2;
    let mut jobs = Vec::new();
    while jobs.len() < 3 {
        let job = unique("claimed");
        let place = kafka().anchor();
        let name = JobName::new(&job).unwrap();
        place.prepare(&name).await.unwrap();
        if jobs.is_empty() {
            place.claim(&name, &claim_of(&input)).await.unwrap();
        }
        let leaders = tokio::task::block_in_place(|| brokers.leaders("__transaction_state"));
        if coordinator(&job, &leaders) == frozen {
            jobs.push((name, kafka().anchor()));
        }
    }
    brokers.freeze(frozen);
    let began = Instant::now();
    for (name, place) in &jobs {
        loop {
            match place.claim(name, &claim_of(&input)).await {
                Ok(_) => break,
                Err(error) => assert!(error.is_transient(), "{}", error.report()),
            }
            let waited = began.elapsed();
            assert!(waited < LONGEST_SILENCE, "{name} is not claimed after {waited:?}");
        }
        println!("claimed after {:?}", began.elapsed());
    }
    assert!(began.elapsed() < LONGEST_SILENCE, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_time_out_that_the_brokers_refuse_is_named_with_what_they_take() {
    let input = topic("too-long", 1).await;
    // They allow 20 s.
    let place = |ms: &str| kafka().option("transaction.timeout.ms", ms).anchor();
    let name = JobName::new(unique("too-long")).unwrap();
    let refused = place("20001");
    refused.prepare(&name).await.unwrap();
    let error = refused.claim(&name, &claim_of(&input)).await.unwrap_err();
    let text = error.report();
    assert!(error.is_config(), "{text}");
    assert!(
        text.contains("set the Kafka option transaction.timeout.ms to at most their transaction.max.timeout.ms"),
        "{text}"
    );
    // What the message says.
    place("20000").claim(&name, &claim_of(&input)).await.unwrap();
}
