//! What an earlier build has stored in Kafka half-way is gone on with, as if nothing had happened.

#[path = "../../../rtbflow/tests/stored_state/five_operators.rs"]
mod five_operators;
#[path = "../../../rtbflow/tests/stored_state/fixtures.rs"]
mod fixtures;
#[path = "../../../rtbflow/tests/stored_state/lines.rs"]
mod lines;

use rdkafka::message::Message;
use rdkafka::producer::FutureRecord;
use rtbflow::epoch::JobName;
use rtbflow_kafka::{KafkaAnchor, KafkaSink, TopicSpec};

use self::five_operators::{OPERATORS, TASKS, in_one_go, run_half, run_rest};
use self::lines::{line, lines};
use crate::committed::Committed;
use crate::place::job;
use crate::server::{HOUR, SOON, kafka, producer};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/stored");
/// What stands for a key or a value that is not there.
const NONE: &[u8] = b"-";

/// A job, its changelog, and the topic of its results.
struct Place {
    job: JobName,
    changelog: String,
    results: String,
}

impl Place {
    /// With the topic of the results, and nothing in it.
    async fn new() -> Self {
        let job = job("stored");
        let (changelog, results) = (format!("{job}.changelog"), format!("{job}-results"));
        kafka().create_topics(&[TopicSpec::new(&results, 1, HOUR)]).await.unwrap();
        Self { job, changelog, results }
    }

    /// In which all lies that was stored.
    async fn loaded(dump: &str) -> Self {
        let place = Self::new().await;
        kafka().create_topics(&[TopicSpec::changelog(&place.job, TASKS)]).await.unwrap();
        let producer = producer();
        for record in lines(dump) {
            let [topic, partition, key, value] = record.try_into().unwrap();
            let topic = if topic == b"changelog" { &place.changelog } else { &place.results };
            let mut record = FutureRecord::to(topic);
            record.partition = Some(String::from_utf8(partition).unwrap().parse().unwrap());
            record.key = Some(&key).filter(|key| *key != NONE);
            record.payload = Some(&value).filter(|value| *value != NONE);
            producer.send(record, SOON).await.map_err(|(error, _)| error).unwrap();
        }
        place
    }

    /// All that lies in it: topic, partition, key and value of each record.
    async fn dump(&self) -> String {
        let topics = [("changelog", self.changelog.clone()), ("results", self.results.clone())];
        let read = move || {
            let mut dump = String::new();
            for (name, topic) in topics {
                let mut records: Vec<_> = Committed::new(&topic).messages();
                records.sort_by_key(|record| (record.partition(), record.offset()));
                for record in records {
                    let partition = record.partition().to_string();
                    let [key, value] =
                        [record.key(), record.payload()].map(|at| at.unwrap_or(NONE));
                    dump += &line([name.as_bytes(), partition.as_bytes(), key, value]);
                }
            }
            dump
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    fn sink(&self, anchor: &KafkaAnchor) -> impl Fn() -> KafkaSink<String> + Clone + use<> {
        let (anchor, topic) = (anchor.clone(), self.results.clone());
        move || anchor.records(&topic).bytes(|result: &String| Some(result.clone().into_bytes()))
    }

    async fn go_on(&self) -> rtbflow::Result<Vec<String>> {
        let anchor = kafka().anchor();
        let sink = self.sink(&anchor);
        run_rest((self.job.as_str(), anchor), sink).await?;
        let records = crate::committed::committed(&self.results).await;
        let mut results: Vec<_> = records.into_iter().filter_map(|record| record.value).collect();
        results.sort_unstable();
        Ok(results)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_build_has_stored_goes_on() {
    let expected = in_one_go().await;
    for (build, dump) in fixtures::stored(FOLDER) {
        assert_eq!(Place::loaded(&dump).await.go_on().await.unwrap(), expected, "{build}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_build_stores_goes_on() {
    let place = Place::new().await;
    let anchor = kafka().anchor();
    let sink = place.sink(&anchor);
    run_half((place.job.as_str(), anchor), sink).await;
    let dump = place.dump().await;
    fixtures::store(FOLDER, ("txt", "#"), &dump);
    assert_eq!(Place::loaded(&dump).await.go_on().await.unwrap(), in_one_go().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_state_of_which_a_byte_has_changed_is_refused() {
    for (_, dump) in fixtures::stored(FOLDER) {
        for name in OPERATORS.into_iter().chain(["positions"]) {
            let spoilt = fixtures::spoilt(&dump, &["changelog", &format!("{name} 0x")]);
            let report = Place::loaded(&spoilt).await.go_on().await.unwrap_err().report();
            assert!(report.contains(name), "{report}");
        }
    }
}
