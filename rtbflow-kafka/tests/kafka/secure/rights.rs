//! A user with exactly the rights that the README lists, and with each of them taken away.

use std::time::Duration;

use rtbflow::{Job, Result};
use rtbflow_kafka::{Kafka, TopicSpec};
use serde::{Deserialize, Serialize};

use super::access::{Operation, Resource, Right, grant, withdraw};
use super::{at, given};
use crate::committed::{committed, written};
use crate::server::{HOUR, kafka, unique, write_one};

/// Longer than any refusal takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Click {
    price: i64,
}

/// What one job works on.
struct Stage {
    job: String,
    source: String,
    results: String,
}

fn limited() -> Kafka {
    let address = given("RTBFLOW_TEST_KAFKA_TLS");
    at(address, "limited", &given("RTBFLOW_TEST_KAFKA_PASSWORD"))
        .option("ssl.ca.location", given("RTBFLOW_TEST_KAFKA_CA"))
}

impl Stage {
    /// A topic with a click and with a record that is none.
    async fn new() -> Self {
        let (job, source, results) = (unique("rights"), unique("rights-in"), unique("rights-out"));
        let topics = [&source, &results].map(|name| TopicSpec::new(name, 1, HOUR));
        kafka().create_topics(&topics).await.unwrap();
        let letters = [&source, &results].map(|name| TopicSpec::dead_letter(name));
        kafka().create_topics(&letters).await.unwrap();
        for value in [&b"{\"price\":7}"[..], b"none"] {
            write_one(&source, None, Some(value), rdkafka::message::OwnedHeaders::new()).await;
        }
        Self { job, source, results }
    }

    /// As the README lists them.
    fn rights(&self) -> Vec<Right> {
        use Operation::{Create, Read, Write};
        use Resource::{Group, Topic, TransactionalId};
        let letters = format!("{}.dead-letter", self.source);
        let refused = format!("{}.dead-letter", self.results);
        let changelog = format!("{}.changelog", self.job);
        let right =
            |resource, name: &str, operation| Right { resource, name: name.to_owned(), operation };
        vec![
            right(Topic, &self.source, Read),
            right(Group, &self.job, Read),
            right(Topic, &letters, Write),
            right(Topic, &refused, Write),
            right(Topic, &changelog, Read),
            right(Topic, &changelog, Write),
            right(Topic, &changelog, Create),
            right(Topic, &self.results, Write),
            right(TransactionalId, &format!("{}-0", self.job), Write),
        ]
    }

    async fn run(&self) -> Result<()> {
        let kafka = limited();
        let place = kafka.anchor();
        let source = kafka.topic(self.source.as_str()).json::<Click>();
        let results = self.results.clone();
        let sinks = place.clone();
        let job = Job::new(self.job.as_str())
            .source(source)
            .anchor(place)
            .dead_letters(kafka.dead_letters())
            .until_end(true)
            .pipeline(move |clicks| clicks.to(sinks.records(results.as_str()).json()));
        let ran = tokio::time::timeout(PATIENCE, job.run()).await;
        ran.unwrap_or_else(|_| panic!("{} neither ends nor is refused", self.job)).map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_rights_that_are_listed_are_enough_and_each_is_needed() {
    let stage = Stage::new().await;
    let rights = stage.rights();
    grant(&rights);
    stage.run().await.unwrap_or_else(|error| panic!("{}", error.report()));
    assert_eq!(committed(&stage.results).await.len(), 1);
    assert_eq!(written(&format!("{}.dead-letter", stage.source)).await.len(), 1);
    // A job of its own for each right, so that none finds what another has made.
    for at in 0..rights.len() {
        let other = Stage::new().await;
        let mut others = other.rights();
        grant(&others);
        let missing = others.remove(at);
        withdraw(std::slice::from_ref(&missing));
        let error = other.run().await.expect_err(&format!("{missing:?} is not needed"));
        let report = error.report();
        assert!(error.is_config() && report.contains(&missing.name), "{missing:?}: {report}");
    }
}
