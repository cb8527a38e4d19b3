//! A broker that wants TLS and a password: certificates and SCRAM, by options alone.

mod access;
mod certificates;
mod mechanisms;
mod rights;

use std::time::Duration;

use rtbflow::epoch::Task;
use rtbflow::testing::laws;
use rtbflow_kafka::{Kafka, TopicSpec};

use crate::committed::committed;
use crate::laws::{Written, letter};
use crate::place::{Owner, job};
use crate::server::{HOUR, topic, unique, write};

const LONGEST_CHECK: Duration = Duration::from_secs(5);

fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run ./dev test"))
}

/// Who speaks TLS at this address, and trusts nobody yet.
fn at(address: String, user: &str, password: &str) -> Kafka {
    Kafka::new(address)
        .option("security.protocol", "SASL_SSL")
        .option("sasl.mechanism", "SCRAM-SHA-256")
        .option("sasl.username", user)
        .option("sasl.password", password)
}

/// The secured listener, for who trusts nobody yet.
fn stranger(password: &str) -> Kafka {
    at(given("RTBFLOW_TEST_KAFKA_TLS"), "rtbflow", password)
}

fn secure() -> Kafka {
    let password = given("RTBFLOW_TEST_KAFKA_PASSWORD");
    stranger(&password).option("ssl.ca.location", given("RTBFLOW_TEST_KAFKA_CA"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_keeps_its_laws() {
    let topic = topic("secure", 1).await;
    write(&topic, 0, 0..600).await;
    let records = (0..600).map(|offset| letter(&topic, 0, offset)).collect();
    laws::source(&Written { kafka: secure(), topic, records }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_and_transactions_committed() {
    secure().check(LONGEST_CHECK).await.unwrap();
    let topic = unique("secure-out");
    secure().create_topics(&[TopicSpec::new(&topic, 1, HOUR)]).await.unwrap();
    let mut owner =
        Owner::claim(secure().anchor(), &job("secure"), Task { number: 0, of: 1 }, 1).await;
    owner.commit(&owner.epoch(&topic, 7)).await;
    let values: Vec<_> = committed(&topic).await.into_iter().map(|seen| seen.value).collect();
    assert_eq!(values, [Some("7".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_learns_why_and_no_secret() {
    let wrong = stranger("hunter2").option("ssl.ca.location", given("RTBFLOW_TEST_KAFKA_CA"));
    let refused = wrong.check(LONGEST_CHECK).await.unwrap_err();
    assert!(refused.is_config(), "{}", refused.report());
    assert!(refused.report().contains("uthentication failed"), "{}", refused.report());
    assert!(!format!("{refused:?} {wrong:?}").contains("hunter2"));

    let untrusting = stranger(&given("RTBFLOW_TEST_KAFKA_PASSWORD"));
    let refused = untrusting.check(LONGEST_CHECK).await.unwrap_err();
    assert!(refused.is_config(), "{}", refused.report());
    assert!(refused.report().contains("certificate"), "{}", refused.report());
}
