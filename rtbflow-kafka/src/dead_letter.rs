//! Dead letters: records that could not be used, written unchanged beside the topic they came from.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, try_join_all};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rtbflow::epoch::{DeadLetter, DeadLetters};
use rtbflow::{Error, Result};
use tokio::time::{sleep, timeout};

use crate::blocking::drop_elsewhere;
use crate::context::Context;
use crate::failure::failure;
use crate::kafka::Kafka;
use crate::option::Role;

/// How long a delivery may take.
const LONGEST_DELIVERY: Duration = Duration::from_secs(30);
/// The pause while the producer's own queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// Dead letters on their way at the same time.
const MOST_UNDERWAY: usize = 1000;
/// A record with its five headers is larger than it was: dead-letter topics take that much.
pub(crate) const MOST_BYTES: &str = "16777216";

/// The topics for dead letters: each record goes to `{topic}.dead-letter`, into the partition of its key.
///
/// Key, value and own headers are unchanged; five headers follow: `rtbflow-pipeline`, `rtbflow-topic`,
/// `rtbflow-partition`, `rtbflow-offset` (numbers as decimal text) and `rtbflow-error` (the reason, one
/// line). Own headers of these names stay, so a reader takes the last. Delivered means acknowledged by
/// all replicas in sync; after a failure the same letters may be written again. A topic that is missing
/// when the job starts is an error before anything is read; one that is deleted later is waited for like a
/// server that is away: the records behind the letter are not lost, only late.
///
/// ```
/// use rtbflow_kafka::Kafka;
///
/// let letters = Kafka::new("127.0.0.1:9092").dead_letters().pipeline("balance-worker");
/// assert_eq!(format!("{letters:?}"), "DeadLetterTopic(balance-worker)");
/// ```
pub struct DeadLetterTopic {
    kafka: Kafka,
    pipeline: Option<String>,
    /// Made with the first letter; thrown away when it has failed for good.
    producer: Mutex<Option<Arc<Held>>>,
}

impl fmt::Debug for DeadLetterTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeadLetterTopic({})", self.pipeline.as_deref().unwrap_or("the job"))
    }
}

/// A producer that is let go of on another thread, since that may wait for the broker.
struct Held(Option<FutureProducer<Context>>);

impl Drop for Held {
    fn drop(&mut self) {
        drop_elsewhere(self.0.take());
    }
}

impl DeadLetterTopic {
    pub(crate) fn new(kafka: Kafka) -> Self {
        Self { kafka, pipeline: None, producer: Mutex::new(None) }
    }

    /// The name in the header `rtbflow-pipeline`; the job's unless it is said otherwise.
    #[must_use]
    pub fn pipeline(self, name: impl Into<String>) -> Self {
        Self { pipeline: Some(name.into()), ..self }
    }

    /// The dead-letter topic of a topic.
    #[must_use]
    pub fn name(topic: &str) -> String {
        format!("{topic}.dead-letter")
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Held>>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn producer(&self) -> Result<Arc<Held>> {
        let mut held = self.held();
        if let Some(producer) = &*held {
            return Ok(Arc::clone(producer));
        }
        let own = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("?linger.ms", "5"),
            ("?compression.type", "lz4"),
            ("?message.max.bytes", MOST_BYTES),
            ("?message.timeout.ms", "25000"),
            // How long a topic may be unknown before it counts as missing.
            ("?topic.metadata.propagation.max.ms", "5000"),
        ];
        let producer = self.kafka.client(Role::Producer, "dead letters", &own)?;
        let producer = Arc::new(Held(Some(producer)));
        *held = Some(Arc::clone(&producer));
        Ok(producer)
    }

    async fn deliver_all(&self, job: &str, letters: &[DeadLetter]) -> Result<()> {
        let held = self.producer()?;
        let Some(producer) = &held.0 else { return Err(Error::permanent("find the producer")) };
        let pipeline = self.pipeline.as_deref().unwrap_or(job);
        let deliveries = async {
            for some in letters.chunks(MOST_UNDERWAY) {
                let some = some.iter().map(|letter| self.deliver_one(producer, pipeline, letter));
                try_join_all(some).await?;
            }
            Ok(())
        };
        let attempt = "write dead letters";
        let delivered = timeout(LONGEST_DELIVERY, deliveries).await.unwrap_or_else(|_| {
            Err(Error::transient(format!(
                "{attempt}: not acknowledged within {LONGEST_DELIVERY:?}"
            )))
        });
        if delivered.is_err() && producer.client().fatal_error().is_some() {
            // An idempotent producer that lost count can never write again; the next call makes another.
            self.held().take_if(|kept| Arc::ptr_eq(kept, &held));
        }
        delivered
    }

    async fn deliver_one(
        &self,
        producer: &FutureProducer<Context>,
        pipeline: &str,
        letter: &DeadLetter,
    ) -> Result<()> {
        let topic = Self::name(letter.beside());
        let mut record = Some(self.record(&topic, pipeline, letter));
        let delivery = loop {
            let Some(next) = record.take() else {
                return Err(Error::permanent("write a dead letter twice"));
            };
            match producer.send_result(next) {
                Ok(delivery) => break delivery,
                Err((KafkaError::MessageProduction(Code::QueueFull), unsent)) => {
                    record = Some(unsent);
                    sleep(FULL_PAUSE).await;
                }
                Err((error, _)) => return Err(self.refused(&topic, letter, &error)),
            }
        };
        let delivered: Result<OwnedDeliveryResult, _> = delivery.await;
        match delivered {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(self.refused(&topic, letter, &error)),
            Err(_) => Err(Error::transient("write a dead letter: its producer ended")),
        }
    }

    fn record<'a>(
        &self,
        topic: &'a str,
        pipeline: &str,
        letter: &'a DeadLetter,
    ) -> FutureRecord<'a, [u8], [u8]> {
        let own = letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let (partition, offset) = (letter.origin.partition().number, letter.origin.offset());
        let (partition, offset) = (partition.to_string(), offset.to_string());
        let ours = [
            ("rtbflow-pipeline", pipeline),
            ("rtbflow-topic", letter.origin.topic()),
            ("rtbflow-partition", &partition),
            ("rtbflow-offset", &offset),
            ("rtbflow-error", letter.reason.reason()),
        ];
        let ours = ours.into_iter().map(|(name, value)| (name, Some(value.as_bytes())));
        let headers = own.chain(ours).fold(
            OwnedHeaders::new_with_capacity(letter.headers.len() + 5),
            |headers, (key, value)| headers.insert(Header { key, value }),
        );
        let mut record = FutureRecord::to(topic).headers(headers);
        record.key = letter.key.as_deref();
        record.payload = letter.value.as_deref();
        record
    }

    fn refused(&self, topic: &str, letter: &DeadLetter, error: &KafkaError) -> Error {
        let attempt = format!("write the dead letter of {} to {topic}", letter.origin);
        let missing = [Code::UnknownTopic, Code::UnknownTopicOrPartition, Code::UnknownPartition];
        if error.rdkafka_error_code().is_some_and(|code| missing.contains(&code)) {
            // It would believe so for minutes; the next call makes another, which looks again.
            self.held().take();
            return Error::transient(attempt + ": there is no such topic; create it");
        }
        failure(attempt, error, &self.kafka.secrets())
    }
}

impl DeadLetters for DeadLetterTopic {
    fn prepare<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<()>> {
        let letters = topics.iter().map(|topic| Self::name(topic)).collect();
        Box::pin(self.kafka.are_there("write dead letters to", letters))
    }

    fn deliver<'a>(&'a self, job: &'a str, letters: &'a [DeadLetter]) -> BoxFuture<'a, Result<()>> {
        if letters.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        Box::pin(self.deliver_all(job, letters))
    }
}
