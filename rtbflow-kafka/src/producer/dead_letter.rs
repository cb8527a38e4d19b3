//! Dead letters: records that could not be used, written unchanged beside the topic they came from, and results
//! that their place refused, beside the topic they were meant for.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, try_join_all};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{FutureProducer, Producer};
use rtbflow::epoch::{DeadLetter, DeadLetters, Patience};
use rtbflow::{Error, Result};
use tokio::time::{sleep, timeout};

use crate::client::blocking::drop_elsewhere;
use crate::client::context::Callbacks;
use crate::client::failure::failure;
use crate::client::kafka::Kafka;
use crate::client::option::Role;
use crate::client::topic_spec::dead_letter_topic;
use crate::producer::letter::record;
use crate::producer::letter_topics::LetterTopics;

/// How long a delivery may take.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a letter may wait for its acknowledgement.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(25);
/// The pause while the producer's own queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// Dead letters on their way at the same time.
const MOST_UNDERWAY: usize = 1000;
/// The largest record that the producer lets through: the topic's own limit is what counts.
const MOST_BYTES: &str = "67108864";

/// The topics for dead letters: each record goes to `{topic}.dead-letter`, into the partition of its key.
///
/// A result that its place refused goes beside the topic that it was meant for, if it was meant for one.
///
/// Key, value and own headers are unchanged; five headers follow: `rtbflow-pipeline`, `rtbflow-topic`,
/// `rtbflow-partition`, `rtbflow-offset` (numbers as decimal text) and `rtbflow-error` (the reason, one
/// line). Own headers of these names stay, so a reader takes the last. Delivered means acknowledged by
/// all replicas in sync; after a failure the same letters may be written again. A letter that is larger than its
/// topic takes (`max.message.bytes`) is written with its value cut to what fits, and with a sixth header,
/// `rtbflow-cut`: how many bytes the value had. A job finds before it reads that a topic is missing; one that goes
/// later is waited for like a server that is away: the records behind the letter are not lost, only late.
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
    /// How much longer a delivery may take: as long as a broker takes letters, but not all in time.
    patience: Patience,
    /// Made with the first letter; discarded when it has failed for good.
    producer: Mutex<Option<Arc<SharedProducer>>>,
    /// The topics that were written to, and what they take.
    topics: LetterTopics,
}

impl fmt::Debug for DeadLetterTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeadLetterTopic({})", self.pipeline.as_deref().unwrap_or("the job"))
    }
}

/// A producer that is dropped on another thread, since that may wait for the broker.
struct SharedProducer(Option<FutureProducer<Callbacks>>);

impl Drop for SharedProducer {
    fn drop(&mut self) {
        drop_elsewhere(self.0.take());
    }
}

impl Kafka {
    /// The topics for dead letters: one beside each topic, `{topic}.dead-letter`.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetterTopic {
        DeadLetterTopic::new(self.clone())
    }
}

impl DeadLetterTopic {
    pub(crate) fn new(kafka: Kafka) -> Self {
        let (patience, producer) = (Patience::default(), Mutex::new(None));
        Self { kafka, pipeline: None, patience, producer, topics: LetterTopics::default() }
    }

    /// The name in the header `rtbflow-pipeline`; the job's by default.
    #[must_use]
    pub fn pipeline(self, name: impl Into<String>) -> Self {
        Self { pipeline: Some(name.into()), ..self }
    }

    /// The dead-letter topic of a topic.
    #[must_use]
    pub fn name(topic: &str) -> String {
        dead_letter_topic(topic)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<SharedProducer>>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn producer(&self) -> Result<Arc<SharedProducer>> {
        let mut slot = self.slot();
        if let Some(producer) = &*slot {
            return Ok(Arc::clone(producer));
        }
        let batch = self.topics.most_batch_bytes().to_string();
        let longest = MESSAGE_TIMEOUT.saturating_mul(self.patience.times()).as_millis().to_string();
        let own = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("?linger.ms", "5"),
            ("?compression.type", "lz4"),
            ("?message.max.bytes", MOST_BYTES),
            ("?batch.size", &batch),
            ("?message.timeout.ms", &longest),
            // How long a topic may be unknown before it counts as missing.
            ("?topic.metadata.propagation.max.ms", "5000"),
        ];
        let producer = self.kafka.client(Role::Producer, "dead letters", &own)?;
        let producer = Arc::new(SharedProducer(Some(producer)));
        *slot = Some(Arc::clone(&producer));
        Ok(producer)
    }

    async fn deliver_all(&self, job: &str, letters: &[DeadLetter]) -> Result<()> {
        let topics = letters.iter().map(|letter| Self::name(letter.beside()));
        if self.topics.ask(&self.kafka, topics).await? {
            // Its batches may be too large for a topic that it did not know.
            self.slot().take();
        }
        let shared = self.producer()?;
        // Taken out only as it is dropped.
        let producer = shared.0.as_ref();
        let producer = producer
            .ok_or_else(|| Error::broken("a producer is gone that dead letters are written by"))?;
        let pipeline = self.pipeline.as_deref().unwrap_or(job);
        let taken = AtomicUsize::new(0);
        let deliveries = self.deliver_each(producer, pipeline, letters, &taken);
        let longest = DELIVERY_TIMEOUT.saturating_mul(self.patience.times());
        let delivered = timeout(longest, deliveries).await.unwrap_or_else(|_| {
            let servers = self.kafka.servers();
            Err(Error::transient(format!(
                "write dead letters to Kafka at {servers}: not acknowledged within {longest:?}"
            )))
        });
        let made_progress = taken.load(Ordering::Relaxed) > 0;
        let is_fatal = producer.client().fatal_error().is_some();
        self.note_outcome(&shared, delivered.as_ref().err(), made_progress, is_fatal);
        delivered
    }

    /// Delivers letters, some at the same time; `taken` counts those that were acknowledged.
    async fn deliver_each(
        &self,
        producer: &FutureProducer<Callbacks>,
        pipeline: &str,
        letters: &[DeadLetter],
        taken: &AtomicUsize,
    ) -> Result<()> {
        for some in letters.chunks(MOST_UNDERWAY) {
            let some = some.iter().map(async |letter| {
                self.deliver_one(producer, pipeline, letter).await?;
                taken.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Error>(())
            });
            try_join_all(some).await?;
        }
        Ok(())
    }

    /// Decides how long the next delivery may take, and whether it is by the same producer.
    fn note_outcome(
        &self,
        producer: &Arc<SharedProducer>,
        error: Option<&Error>,
        made_progress: bool,
        is_fatal: bool,
    ) {
        let Some(error) = error else { return self.patience.shorten() };
        let needs_time = error.is_transient() && made_progress;
        if needs_time {
            self.patience.lengthen();
        }
        // A new one waits longer for each letter, too. An idempotent producer that has lost count can never write
        // again, and one whose call has failed may have lost its brokers for good.
        if error.is_transient() || is_fatal {
            self.slot().take_if(|kept| Arc::ptr_eq(kept, producer));
        }
    }

    async fn deliver_one(
        &self,
        producer: &FutureProducer<Callbacks>,
        pipeline: &str,
        letter: &DeadLetter,
    ) -> Result<()> {
        let topic = Self::name(letter.beside());
        let most = self.topics.most_bytes(&topic);
        let mut next = record(&topic, pipeline, letter, most)?;
        let delivery = loop {
            match producer.send_result(next) {
                Ok(delivery) => break delivery,
                Err((KafkaError::MessageProduction(Code::QueueFull), unsent)) => {
                    next = unsent;
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

    fn refused(&self, topic: &str, letter: &DeadLetter, error: &KafkaError) -> Error {
        let attempt = format!("write the dead letter of {} to {topic}", letter.origin);
        if error.rdkafka_error_code() == Some(Code::MessageSizeTooLarge) {
            // Its batches are as large as was known before.
            self.slot().take();
            return self.topics.too_large(topic, attempt);
        }
        let missing = [Code::UnknownTopic, Code::UnknownTopicOrPartition, Code::UnknownPartition];
        if error.rdkafka_error_code().is_some_and(|code| missing.contains(&code)) {
            // It would believe so for minutes; the next call makes another producer, which asks again.
            self.slot().take();
            return Error::transient(attempt + ": there is no such topic; create it");
        }
        failure(attempt, error, &self.kafka.secrets())
    }
}

impl DeadLetters for DeadLetterTopic {
    fn validate(&self) -> Result<()> {
        self.kafka.validate()
    }

    fn prepare<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<()>> {
        let letters = topics.iter().map(|topic| Self::name(topic)).collect();
        Box::pin(self.kafka.check_topics_exist("write dead letters to", letters))
    }

    fn deliver<'a>(&'a self, job: &'a str, letters: &'a [DeadLetter]) -> BoxFuture<'a, Result<()>> {
        if letters.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        Box::pin(self.deliver_all(job, letters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_that_got_nothing_through_is_replaced_and_one_that_was_refused_something_is_not() {
        // Nobody listens there; a client is made all the same.
        let letters = Kafka::new("127.0.0.1:1").dead_letters();
        let first = letters.producer().unwrap();
        letters.note_outcome(&first, Some(&Error::permanent("too large")), false, false);
        assert!(Arc::ptr_eq(&first, &letters.producer().unwrap()));
        letters.note_outcome(&first, Some(&Error::transient("not acknowledged")), false, false);
        assert!(!Arc::ptr_eq(&first, &letters.producer().unwrap()));
    }
}
