//! Writes records to topics before the epochs commit, in a job whose results are elsewhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use rdkafka::producer::BaseProducer;
use rtbflow::Result;
use rtbflow::epoch::{Epoch, Writer};
use rtbflow::sink::Place;

use crate::blocking::{blocking, drop_elsewhere};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::kafka::Kafka;
use crate::present::Written;
use crate::produce::{Sending, producer};
use crate::records::{Batch, Records};

/// How long one write may take.
const LONGEST_WRITE: Duration = Duration::from_secs(30);
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
/// let job = Job::new("alerts")?
///     .source(MemorySource::new("numbers", vec![vec![1_u64, 2]]))
///     .anchor(place)
///     .writer(writer.clone())
///     .pipeline(move |numbers| numbers.to(writer.records("alerts").json()));
/// assert!(job.topology()?.to_string().contains("kafka"));
/// # Ok::<(), rtbflow::Error>(())
/// ```
#[derive(Clone)]
pub struct KafkaWriter {
    inner: Arc<Inner>,
}

struct Inner {
    kafka: Kafka,
    place: Place,
    /// Made with the first record; thrown away when it has failed.
    producer: Arc<Mutex<Option<BaseProducer<Context>>>>,
    written: Written,
}

impl Drop for Inner {
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
        let (kafka, place) = (self.clone(), Place::new("kafka"));
        let (producer, written) = (Arc::default(), Written::default());
        KafkaWriter { inner: Arc::new(Inner { kafka, place, producer, written }) }
    }
}

impl KafkaWriter {
    /// A sink of records for a topic.
    pub fn records<T>(&self, topic: impl Into<String>) -> Records<T> {
        let topic = topic.into();
        self.inner.written.add(&topic);
        Records::new(self.inner.place, topic)
    }
}

impl Writer for KafkaWriter {
    fn place(&self) -> Place {
        self.inner.place
    }

    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.kafka.are_there("write", self.inner.written.topics()))
    }

    fn write<'a>(&'a self, epochs: &'a [Epoch]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let batches = epochs.iter().flat_map(|epoch| Batch::of(epoch, self.inner.place));
            let batches: Vec<Batch> = batches.collect::<Result<_>>()?;
            if batches.is_empty() {
                return Ok(());
            }
            let (kafka, held) = (self.inner.kafka.clone(), Arc::clone(&self.inner.producer));
            let attempt = format!("write records to Kafka at {}", kafka.servers());
            let told = attempt.clone();
            blocking(&told, LONGEST_WRITE + GRACE, move || write(&kafka, &held, &batches, &attempt))
                .await
        })
    }
}

fn write(
    kafka: &Kafka,
    held: &Mutex<Option<BaseProducer<Context>>>,
    batches: &[Batch],
    attempt: &str,
) -> Result<()> {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    let made = match held.take() {
        Some(made) => made,
        None => producer(kafka, "writer", &[("?message.timeout.ms", "25000")])?,
    };
    let deadline = Deadline::after(LONGEST_WRITE);
    let sending = Sending { producer: &made, attempt, deadline };
    for batch in batches {
        for message in batch.records.messages() {
            sending.send(&batch.topic, None, &message)?;
        }
    }
    sending.settle()?;
    // One that has failed is not put back: it may have lost count, or believe a topic missing for long.
    *held = Some(made);
    Ok(())
}
