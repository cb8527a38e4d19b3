//! Writes records to topics before the epochs commit, in a job whose results are elsewhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use rdkafka::producer::{BaseProducer, Producer};
use rtbflow::Result;
use rtbflow::epoch::{Epoch, Patience, Writer};
use rtbflow::sink::Place;

use crate::client::blocking::{blocking, drop_elsewhere};
use crate::client::context::{Callbacks, Undelivered};
use crate::client::deadline::Deadline;
use crate::client::kafka::Kafka;
use crate::producer::produce::{Sending, producer};
use crate::producer::records::KafkaSinkBuilder;
use crate::producer::refusal::{Refused, Row, rows};
use crate::producer::result_topics::ResultTopics;
use crate::producer::staged::StagedBatch;

/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a record may wait for its acknowledgement.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(25);
/// How long the check of the topics may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// What the write may take beside that until it counts as stuck.
const GRACE: Duration = Duration::from_secs(5);

/// Writes records to topics beside another anchor: each *at least once*, acknowledged before the epoch
/// that made it is committed. For each record once, let Kafka be the place:
/// [`KafkaAnchor`](crate::KafkaAnchor).
///
/// After a crash between the two steps the same records are written again, in the same order; readers have
/// to bear that, by a key of their own.
///
/// ```
/// use rtbflow::epoch::Memory;
/// use rtbflow::job::Job;
/// use rtbflow::source::MemorySource;
/// use rtbflow_kafka::Kafka;
///
/// let (place, writer) = (Memory::new(), Kafka::new("127.0.0.1:9092").writer());
/// let job = Job::new("alerts")
///     .source(MemorySource::new("numbers", vec![vec![1_u64, 2]]))
///     .anchor(place)
///     .writer(writer.clone())
///     .pipeline(move |numbers| numbers.to(writer.records("alerts").json()));
/// assert!(job.topology()?.to_string().contains("kafka"));
/// # Ok::<(), rtbflow::Error>(())
/// ```
#[derive(Clone)]
pub struct KafkaWriter {
    inner: Arc<Shared>,
}

struct Shared {
    kafka: Kafka,
    place: Place,
    results: ResultTopics,
    /// How much longer a call may take: as long as a broker takes records, but not all in time.
    patience: Patience,
    /// Made with the first record; discarded when it has failed.
    producer: Arc<Mutex<Option<BaseProducer<Callbacks>>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let producer = Arc::clone(&self.producer);
        drop_elsewhere(producer);
    }
}

impl fmt::Debug for KafkaWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaWriter({})", self.inner.kafka.servers())
    }
}

impl Kafka {
    /// Writes records to topics beside another anchor, at least once.
    #[must_use]
    pub fn writer(&self) -> KafkaWriter {
        let (kafka, place, results) = (self.clone(), Place::new("kafka"), ResultTopics::default());
        let (patience, producer) = (Patience::default(), Arc::default());
        let inner = Shared { kafka, place, results, patience, producer };
        KafkaWriter { inner: Arc::new(inner) }
    }
}

impl KafkaWriter {
    /// A sink of records for a topic.
    pub fn records<T>(&self, topic: impl Into<String>) -> KafkaSinkBuilder<T> {
        let topic: Arc<str> = topic.into().into();
        let limit = self.inner.results.limit(&topic);
        KafkaSinkBuilder::new(self.inner.place, topic, limit)
    }
}

impl Writer for KafkaWriter {
    fn place(&self) -> Place {
        self.inner.place
    }

    fn topics(&self) -> Vec<String> {
        self.inner.results.names()
    }

    fn validate(&self) -> Result<()> {
        self.inner.kafka.validate()
    }

    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        let Shared { kafka, results, .. } = &*self.inner;
        Box::pin(async move {
            kafka.check_topics_exist("write", results.names()).await?;
            results.refresh_limits(kafka, CHECK_TIMEOUT).await
        })
    }

    fn write<'a>(&'a self, epochs: &'a [Epoch]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let epochs = epochs.iter().enumerate();
            let batches = epochs.flat_map(|epoch| StagedBatch::of(epoch, self.inner.place));
            let batches: Vec<StagedBatch> = batches.collect::<Result<_>>()?;
            if batches.is_empty() {
                return Ok(());
            }
            let attempt = format!("write records to Kafka at {}", self.inner.kafka.servers());
            let inner = Arc::clone(&self.inner);
            let attempted = attempt.clone();
            let longest = WRITE_TIMEOUT.saturating_mul(inner.patience.times());
            let write = move || inner.write(&batches, &attempt, Deadline::after(longest));
            blocking(&attempted, longest + GRACE, write).await
        })
    }
}

impl Shared {
    /// Writes all rows. Which ones a broker refuses, if it does, is found out by writing them once more: whoever
    /// reads them bears that.
    fn write(&self, batches: &[StagedBatch], attempt: &str, deadline: Deadline) -> Result<()> {
        let mut undelivered = Vec::new();
        let all: Vec<Row<'_>> = rows(batches).collect();
        let Err(error) = self.send(&all, attempt, deadline, &mut undelivered) else {
            return Ok(());
        };
        let (kafka, results) = (&self.kafka, &self.results);
        let refused = Refused { kafka, results, batches, undelivered: &undelivered };
        let found = refused.error(|some| {
            let mut undelivered = Vec::new();
            match self.send(some, attempt, deadline, &mut undelivered) {
                Err(error) if undelivered.is_empty() => Err(error),
                _ => Ok(!undelivered.is_empty()),
            }
        });
        Err(found?.unwrap_or(error))
    }

    fn make_producer(&self) -> Result<BaseProducer<Callbacks>> {
        let batch = self.results.most_batch_bytes();
        let longest = MESSAGE_TIMEOUT.saturating_mul(self.patience.times());
        let longest = longest.as_millis().to_string();
        producer(&self.kafka, "writer", batch, &[("?message.timeout.ms", &longest)])
    }

    fn send(
        &self,
        rows: &[Row<'_>],
        attempt: &str,
        deadline: Deadline,
        undelivered: &mut Vec<Undelivered>,
    ) -> Result<()> {
        let mut slot = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let producer = match slot.take() {
            Some(producer) => producer,
            None => self.make_producer()?,
        };
        let sending = Sending { producer: &producer, attempt, deadline };
        let before = producer.client().context().delivered();
        let sent =
            rows.iter().try_for_each(|row| row.send(&sending)).and_then(|()| sending.flush());
        *undelivered = producer.client().context().take_undelivered();
        match &sent {
            Ok(()) => self.patience.shorten(),
            Err(error)
                if error.is_transient() && producer.client().context().delivered() > before =>
            {
                self.patience.lengthen();
            }
            Err(_) => {}
        }
        sent?;
        // One that has failed is not put back: it may have lost count, or believe a topic missing for long.
        *slot = Some(producer);
        Ok(())
    }
}
