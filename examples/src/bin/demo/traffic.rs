//! Sends the generated traffic and remembers every charge by where its click was stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rtbflow::{Error, Result, Timestamp};
use rtbflow_examples::generator::{Charge, Generated};
use rtbflow_examples::topics::SystemTopic;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::arrivals::Arrivals;
use crate::progress::{Ends, Positions};

/// What the traffic and those who look at it know of each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) allowed: AtomicU64,
    pub(crate) event_time_ms: AtomicI64,
    is_over: watch::Sender<bool>,
}

impl Shared {
    /// Nothing is sent any more.
    pub(crate) fn end(&self) {
        self.is_over.send_replace(true);
    }

    /// Whether nothing is sent any more.
    pub(crate) fn is_over(&self) -> bool {
        *self.is_over.borrow()
    }

    /// Waits until nothing is sent any more.
    pub(crate) async fn over(&self) {
        // An error would say that the sender is gone, which is here.
        let _ = self.is_over.subscribe().wait_for(|is_over| *is_over).await;
    }
}

/// Where a record of ad-events is stored.
pub(crate) type Stored = (i32, i64);

/// A click as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Click {
    pub(crate) charge: Charge,
    pub(crate) timestamp: Timestamp,
}

/// What was sent so far.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    failed: AtomicU64,
    stored: Mutex<Records>,
    arrivals: Mutex<Arrivals>,
}

/// The records that are stored.
#[derive(Debug, Default, Clone)]
pub(crate) struct Records {
    /// How many, by topic.
    pub(crate) counts: HashMap<SystemTopic, u64>,
    /// Every click, by where it is stored.
    pub(crate) clicks: BTreeMap<Stored, Click>,
    /// The highest event time of each partition of ad-events.
    pub(crate) event_times: HashMap<i32, Timestamp>,
}

impl Sent {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What others have sent is known by where the topics end.
    pub(crate) fn note(&self, ends: &Ends) {
        let now = Instant::now();
        let others = ends
            .iter()
            .filter(|((topic, _), end)| *topic == SystemTopic::CompensationEvents && **end > 0);
        let mut arrivals = self.arrivals();
        others.for_each(|(at, end)| arrivals.note(*at, end - 1, now));
    }

    /// For how long the oldest record has been waiting that a pipeline has not committed.
    pub(crate) fn behind(&self, positions: &Positions, ends: &Ends) -> Duration {
        self.arrivals().behind(positions, ends, Instant::now())
    }

    /// Records that were not stored.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// What is stored.
    pub(crate) fn all(&self) -> Records {
        self.records().clone()
    }

    /// How many records of a topic are stored.
    pub(crate) fn count(&self, topic: SystemTopic) -> u64 {
        self.records().counts.get(&topic).copied().unwrap_or(0)
    }

    fn stored(&self, at: Stored, record: OnItsWay) {
        let OnItsWay { topic, timestamp, is_usable, charge } = record;
        self.arrivals().note((topic, at.0), at.1, Instant::now());
        let mut records = self.records();
        *records.counts.entry(topic).or_default() += 1;
        if topic != SystemTopic::AdEvents || !is_usable {
            return;
        }
        let latest = records.event_times.entry(at.0).or_insert(timestamp);
        *latest = timestamp.max(*latest);
        if let Some(charge) = charge {
            records.clicks.insert(at, Click { charge, timestamp });
        }
    }
}

/// What is remembered of a record until it is stored.
struct OnItsWay {
    topic: SystemTopic,
    timestamp: Timestamp,
    is_usable: bool,
    charge: Option<Charge>,
}

struct Deliveries(Arc<Sent>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<OnItsWay>;

    fn delivery(&self, result: &DeliveryResult<'_>, record: Box<OnItsWay>) {
        match result {
            Ok(stored) => self.0.stored((stored.partition(), stored.offset()), *record),
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
        let Generated { topic, timestamp, is_usable, charge, .. } = record;
        let way = Box::new(OnItsWay { topic, timestamp, is_usable, charge });
        let mut next = BaseRecord::with_opaque_to(topic.name(), way)
            .key(&record.key)
            .timestamp(timestamp.as_millis());
        next.payload = record.value.as_ref();
        loop {
            match self.producer.send(next) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    next = back;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => {
                    return Err(Error::permanent("send a record to Kafka").because(error));
                }
            }
        }
    }

    /// Waits until everything is stored.
    pub(crate) async fn finish(self, within: Duration) -> Result<()> {
        let flush = tokio::task::spawn_blocking(move || self.producer.flush(within));
        let flushed =
            flush.await.map_err(|error| Error::permanent("send to Kafka").because(error))?;
        flushed.map_err(|error| Error::transient("send the last records to Kafka").because(error))
    }
}
