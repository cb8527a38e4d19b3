//! Dead letters: records that could not be used, written unchanged beside the topic they came from, and results
//! that their place refused, beside the topic they were meant for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, try_join_all};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rtbflow::epoch::{DeadLetter, DeadLetters, Patience};
use rtbflow::{Error, Result};
use tokio::time::{sleep, timeout};

use crate::client::blocking::{blocking, drop_elsewhere};
use crate::client::context::Context;
use crate::client::create::{Creation, dead_letter_topic};
use crate::client::failure::failure;
use crate::client::kafka::Kafka;
use crate::client::option::Role;
use crate::producer::batch::{FRAME_BYTES, HEADER_BYTES};
use crate::producer::result_topics::{ResultTopics, refresh_limit};

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
/// How long the requests about a topic may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The header of a letter whose value was cut: how many bytes it had.
const CUT: &str = "rtbflow-cut";

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
    topics: Topics,
}

impl fmt::Debug for DeadLetterTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeadLetterTopic({})", self.pipeline.as_deref().unwrap_or("the job"))
    }
}

/// A producer that is dropped on another thread, since that may wait for the broker.
struct SharedProducer(Option<FutureProducer<Context>>);

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
        Self { kafka, pipeline: None, patience, producer, topics: Topics::default() }
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
        let batch = self.topics.limits.most_batch_bytes().to_string();
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
        if self.topics.ask(&self.kafka, letters).await? {
            // Its batches may be too large for a topic that it did not know.
            self.slot().take();
        }
        let shared = self.producer()?;
        let Some(producer) = &shared.0 else { return Err(Error::permanent("find the producer")) };
        let pipeline = self.pipeline.as_deref().unwrap_or(job);
        let taken = AtomicUsize::new(0);
        let deliveries = async {
            for some in letters.chunks(MOST_UNDERWAY) {
                let some = some.iter().map(async |letter| {
                    self.deliver_one(producer, pipeline, letter).await?;
                    taken.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Error>(())
                });
                try_join_all(some).await?;
            }
            Ok(())
        };
        let attempt = "write dead letters";
        let longest = DELIVERY_TIMEOUT.saturating_mul(self.patience.times());
        let delivered = timeout(longest, deliveries).await.unwrap_or_else(|_| {
            Err(Error::transient(format!("{attempt}: not acknowledged within {longest:?}")))
        });
        match &delivered {
            Ok(()) => self.patience.shorten(),
            Err(error) if error.is_transient() && taken.load(Ordering::Relaxed) > 0 => {
                self.patience.lengthen();
                // The next one waits longer for each letter, too.
                self.slot().take_if(|kept| Arc::ptr_eq(kept, &shared));
            }
            Err(_) => {}
        }
        if delivered.is_err() && producer.client().fatal_error().is_some() {
            // An idempotent producer that lost count can never write again; the next call makes another.
            self.slot().take_if(|kept| Arc::ptr_eq(kept, &shared));
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
        let most = self.topics.limits.limit(&topic.as_str().into()).load(Ordering::Relaxed);
        let mut record = Some(self.record(&topic, pipeline, letter, most)?);
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
        most: usize,
    ) -> Result<FutureRecord<'a, [u8], [u8]>> {
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
        let all: Vec<(&str, Option<&[u8]>)> = own.chain(ours).collect();
        let (value, full) = cut(letter, &all, most).ok_or_else(|| {
            Error::permanent(format!(
                "write the dead letter of {} to {topic}: its key and headers alone are larger than the topic \
                 takes, {most} bytes; raise its max.message.bytes",
                letter.origin
            ))
        })?;
        let full = full.map(|full| full.to_string());
        let cut = full.as_ref().map(|full| (CUT, Some(full.as_bytes())));
        let headers = all.into_iter().chain(cut).fold(
            OwnedHeaders::new_with_capacity(letter.headers.len() + 6),
            |headers, (key, value)| headers.insert(Header { key, value }),
        );
        let mut record = FutureRecord::to(topic).headers(headers);
        record.key = letter.key.as_deref();
        record.payload = value;
        Ok(record)
    }

    fn refused(&self, topic: &str, letter: &DeadLetter, error: &KafkaError) -> Error {
        let attempt = format!("write the dead letter of {} to {topic}", letter.origin);
        if error.rdkafka_error_code() == Some(Code::MessageSizeTooLarge) {
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

/// The topics of dead letters.
#[derive(Default)]
struct Topics {
    limits: ResultTopics,
    /// Those that were asked what they take, and whether one has refused a letter that was made to fit.
    asked: Mutex<BTreeMap<String, bool>>,
}

impl Topics {
    fn asked(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what the topics of these letters take, where that is not known. Whether anything was asked.
    async fn ask(&self, kafka: &Kafka, letters: &[DeadLetter]) -> Result<bool> {
        let topics: BTreeSet<&str> = letters.iter().map(DeadLetter::beside).collect();
        let topics = topics.into_iter().map(DeadLetterTopic::name);
        let topics: Vec<String> =
            topics.filter(|topic| !self.asked().contains_key(topic)).collect();
        if topics.is_empty() {
            return Ok(false);
        }
        let (kafka, limits, names) = (kafka.clone(), self.limits.clone(), topics.clone());
        let attempt = format!("ask what {} take", topics.join(", "));
        let ask = move || {
            let creation = Creation::new(&kafka, REQUEST_TIMEOUT)?;
            names.iter().try_for_each(|topic| {
                let limit = limits.limit(&topic.as_str().into());
                // One that is missing is found so by the letter.
                match creation.count(topic, Duration::ZERO)? {
                    Some(_) => refresh_limit(&creation, topic, &limit),
                    None => Ok(()),
                }
            })
        };
        blocking(&attempt, REQUEST_TIMEOUT + FULL_PAUSE, ask).await?;
        self.asked().extend(topics.into_iter().map(|topic| (topic, false)));
        Ok(true)
    }

    /// A letter was refused that was made to fit: what the topic takes has changed, or is not known.
    fn too_large(&self, topic: &str, attempt: String) -> Error {
        let limit = self.limits.limit(&topic.into()).load(Ordering::Relaxed);
        let again = self.asked().insert(topic.to_owned(), true) == Some(true);
        if again {
            return Error::permanent(format!(
                "{attempt}: it does not take {limit} bytes, as it should; raise its max.message.bytes"
            ));
        }
        self.limits.forget(topic);
        self.asked().remove(topic);
        Error::transient(attempt + ": it takes less than it did; its letters are cut shorter")
    }
}

/// The value of a letter, cut to what fits into its topic beside the rest, and how long it was if it was cut.
/// `None` if the rest alone does not fit.
fn cut<'a>(
    letter: &'a DeadLetter,
    headers: &[(&str, Option<&[u8]>)],
    most: usize,
) -> Option<(Option<&'a [u8]>, Option<usize>)> {
    let header = |(name, value): &(&str, Option<&[u8]>)| {
        name.len() + HEADER_BYTES + value.map_or(0, <[u8]>::len)
    };
    let key = letter.key.as_ref().map_or(0, Vec::len);
    let rest = FRAME_BYTES + key + headers.iter().map(header).sum::<usize>();
    let value = letter.value.as_deref();
    let full = value.map_or(0, <[u8]>::len);
    if rest + full <= most {
        return Some((value, None));
    }
    let left = most.checked_sub(rest + CUT.len() + HEADER_BYTES + 20)?;
    Some((value.map(|value| value.get(..left.min(full)).unwrap_or(value)), Some(full)))
}

#[cfg(test)]
mod tests {
    use rtbflow::{BadRecord, Origin, Partition, Topic};

    use super::*;

    #[test]
    fn a_value_is_cut_to_what_fits_beside_the_rest() {
        let origin = Origin::new(Partition::new(Topic::new("ads"), 0), 1);
        let value = Some(vec![7; 1000]);
        let original = rtbflow::epoch::Original::new(Some(vec![1; 10]), value, Vec::new());
        let letter = DeadLetter::record(origin, original, BadRecord::new("why"));
        let headers = [("rtbflow-error", Some(b"why".as_slice()))];
        let (whole, full) = cut(&letter, &headers, 1_164).unwrap();
        assert_eq!((whole.unwrap().len(), full), (1000, None));
        let (some, full) = cut(&letter, &headers, 1_163).unwrap();
        assert_eq!((some.unwrap().len(), full), (958, Some(1000)));
        assert_eq!(cut(&letter, &headers, 200), None);
    }
}
