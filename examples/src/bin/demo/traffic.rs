//! Sends the generated traffic and remembers every charge by where its click was stored.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rtbflow::{Error, Result};
use rtbflow_examples::generator::{Charge, Generated};
use rtbflow_examples::topics::SystemTopic;

/// Where a record of ad-events is stored.
pub(crate) type Stored = (i32, i64);

/// What was sent so far.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    failed: AtomicU64,
    stored: Mutex<Ads>,
}

/// The records of ad-events that are stored.
#[derive(Debug, Default)]
struct Ads {
    count: u64,
    charges: HashMap<Stored, Charge>,
    ends: HashMap<i32, i64>,
}

impl Sent {
    fn ads(&self) -> MutexGuard<'_, Ads> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that were not stored.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Every charge, by where its click is stored.
    pub(crate) fn charges(&self) -> HashMap<Stored, Charge> {
        self.ads().charges.clone()
    }

    /// The offset after the last stored record of each partition of ad-events, and how many are stored.
    pub(crate) fn ends(&self) -> (HashMap<i32, i64>, u64) {
        let ads = self.ads();
        (ads.ends.clone(), ads.count)
    }

    fn stored(&self, at: Stored, charge: Option<Charge>) {
        let (partition, offset) = at;
        let mut ads = self.ads();
        ads.count += 1;
        let end = ads.ends.entry(partition).or_default();
        *end = (*end).max(offset + 1);
        if let Some(charge) = charge {
            ads.charges.insert(at, charge);
        }
    }
}

/// What is remembered of a record until it is stored.
struct OnItsWay {
    topic: SystemTopic,
    charge: Option<Charge>,
}

struct Deliveries(Arc<Sent>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<OnItsWay>;

    fn delivery(&self, result: &DeliveryResult<'_>, record: Box<OnItsWay>) {
        match result {
            Ok(stored) if record.topic == SystemTopic::AdEvents => {
                self.0.stored((stored.partition(), stored.offset()), record.charge);
            }
            Ok(_) => {}
            Err((error, _)) => {
                tracing::warn!(%error, "a record was not stored");
                self.0.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Sends records to Kafka.
pub(crate) struct Sender {
    producer: ThreadedProducer<Deliveries>,
}

impl Sender {
    /// A sender that hashes keys as every producer of the system does.
    pub(crate) fn new(servers: &str, sent: Arc<Sent>) -> Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("partitioner", "murmur2_random")
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "zstd")
            .set("linger.ms", "5")
            .create_with_context(Deliveries(sent))
            .map_err(|error| Error::config("make a Kafka producer").because(error))?;
        Ok(Self { producer })
    }

    /// Hands a record over; waits while the producer is full.
    pub(crate) async fn send(&self, record: Generated) -> Result<()> {
        let way = Box::new(OnItsWay { topic: record.topic, charge: record.charge });
        let mut next = BaseRecord::with_opaque_to(record.topic.name(), way)
            .key(&record.key)
            .timestamp(record.timestamp.as_millis());
        next.payload = record.value.as_ref();
        loop {
            match self.producer.send(next) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    next = back;
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                Err((error, _)) => {
                    return Err(Error::permanent("send a record to Kafka").because(error));
                }
            }
        }
    }

    /// Waits until everything is stored.
    pub(crate) async fn finish(self, within: std::time::Duration) -> Result<()> {
        let flush = tokio::task::spawn_blocking(move || self.producer.flush(within));
        let flushed =
            flush.await.map_err(|error| Error::permanent("send to Kafka").because(error))?;
        flushed.map_err(|error| Error::transient("send the last records to Kafka").because(error))
    }
}
