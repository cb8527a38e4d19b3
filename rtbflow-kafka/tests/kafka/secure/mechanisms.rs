//! Each way to log in, with what the broker knows and with something else.

use rtbflow::epoch::Task;
use rtbflow_kafka::Kafka;

use super::{LONGEST_CHECK, given, stranger};
use crate::committed::committed;
use crate::place::{Owner, job};
use crate::server::topic;

const WRONG: &str = "canary-77aa";

/// One who logs in by a mechanism, with a password or, where there is none, with a token for this scope.
fn who(mechanism: &str, secret: &str) -> Kafka {
    let kafka = stranger(secret).option("ssl.ca.location", given("RTBFLOW_TEST_KAFKA_CA"));
    match mechanism {
        "OAUTHBEARER" => kafka
            .option("sasl.mechanism", mechanism)
            .option("enable.sasl.oauthbearer.unsecure.jwt", "true")
            .option("sasl.oauthbearer.config", format!("principal=rtbflow scope={secret}")),
        _ => kafka.option("sasl.mechanism", mechanism),
    }
}

async fn commit(kafka: &Kafka, mechanism: &str) {
    kafka.check(LONGEST_CHECK).await.unwrap_or_else(|e| panic!("{mechanism}: {}", e.report()));
    let topic = topic("mechanism", 1).await;
    let job = job("mechanism");
    let mut owner = Owner::claim(kafka.anchor(), &job, Task { number: 0, of: 1 }, 1).await;
    owner.commit(&owner.epoch(&topic, 7)).await;
    assert_eq!(committed(&topic).await.len(), 1, "{mechanism}");
}

async fn refuse(kafka: &Kafka, mechanism: &str) {
    let error = kafka.check(LONGEST_CHECK).await.unwrap_err();
    assert!(error.is_config(), "{mechanism}: {}", error.report());
    assert!(!format!("{error:?} {} {kafka:?}", error.report()).contains(WRONG), "{mechanism}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mechanism_lets_in_who_is_known_and_nobody_else() {
    let password = given("RTBFLOW_TEST_KAFKA_PASSWORD");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
        let right = if mechanism == "OAUTHBEARER" { "rtbflow" } else { &password };
        commit(&who(mechanism, right), mechanism).await;
        refuse(&who(mechanism, WRONG), mechanism).await;
    }
}
