//! Hands records to a producer and waits until the brokers have acknowledged all of them.
//!
//! rdkafka's own `flush` sleeps for 100 ms as soon as anything is on its way, and a transaction's commit
//! calls it: here the producer is emptied before, by whoever waits for its reports.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rtbflow::{Error, ErrorKind, Result};

use crate::client::context::Callbacks;
use crate::client::deadline::Deadline;
use crate::client::failure::{code as code_of, kind};
use crate::client::kafka::Kafka;
use crate::client::native::Reports;
use crate::client::option::Role;
use crate::producer::batch::Message;

/// How long it may take until all is known of records that were not delivered.
const LONGEST_REPORTS: Duration = Duration::from_millis(500);
/// The largest record that a producer lets through: the topic's own limit is what counts.
const MOST_BYTES: &str = "67108864";

/// A producer that delivers each record once, to where the Java client would.
pub(crate) fn producer(
    kafka: &Kafka,
    purpose: &str,
    most_batch_bytes: usize,
    more: &[(&str, &str)],
) -> Result<BaseProducer<Callbacks>> {
    let batch = most_batch_bytes.to_string();
    let mut own = vec![
        // Many records in one batch stay below what a topic takes.
        ("?batch.size", batch.as_str()),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("partitioner", "murmur2_random"),
        ("?linger.ms", "1"),
        ("?compression.type", "lz4"),
        ("?message.max.bytes", MOST_BYTES),
        // How long a topic may be unknown before it counts as missing.
        ("?topic.metadata.propagation.max.ms", "5000"),
    ];
    own.extend_from_slice(more);
    kafka.client(Role::Producer, purpose, &own)
}

/// What is being sent, for the messages of its errors.
pub(crate) struct Sending<'a> {
    pub(crate) producer: &'a BaseProducer<Callbacks>,
    pub(crate) attempt: &'a str,
    pub(crate) deadline: Deadline,
}

impl Sending<'_> {
    /// Sends one record; without a partition its key picks one. Should it not be delivered, it is known by
    /// its number.
    pub(crate) fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        number: usize,
        message: &Message<'_>,
    ) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, number);
        (record.key, record.payload) = (message.key, message.value);
        (record.partition, record.timestamp) = (partition, message.timestamp_ms);
        if !message.headers.is_empty() {
            let headers = message.headers.iter().map(|(key, value)| Header { key, value: *value });
            let empty = OwnedHeaders::new_with_capacity(message.headers.len());
            record.headers = Some(headers.fold(empty, OwnedHeaders::insert));
        }
        let mut unsent = record;
        loop {
            unsent = match self.producer.send(unsent) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => back,
                Err((error, _)) => {
                    // One without a code is none of the broker's: it may pass.
                    let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                    return Err(self.refused(topic, code));
                }
            };
            // Full: what was acknowledged makes place for it.
            Reports::of(self.producer).serve(self.deadline.left());
            self.check()?;
        }
    }

    /// Waits until all records are acknowledged.
    pub(crate) fn flush(&self) -> Result<()> {
        let reports = Reports::of(self.producer);
        while self.producer.in_flight_count() > 0 {
            reports.serve(self.deadline.left());
            self.check()?;
        }
        self.check_undelivered()
    }

    fn check(&self) -> Result<()> {
        self.check_undelivered()?;
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            return Err(
                Error::new(producer_kind(code), self.attempt).because(format!("{code}: {reason}"))
            );
        }
        if self.deadline.is_over() {
            let attempt = format!("{}: not acknowledged in time", self.attempt);
            let last = self.producer.client().context().last_error();
            let error = Error::transient(attempt);
            return Err(match last {
                Some((_, reason)) => error.because(reason),
                None => error,
            });
        }
        Ok(())
    }

    fn check_undelivered(&self) -> Result<()> {
        let Some(first) = self.producer.client().context().first_undelivered() else {
            return Ok(());
        };
        // What happened to the others of its batch is reported with it.
        let (reports, deadline) = (Reports::of(self.producer), Deadline::after(LONGEST_REPORTS));
        while self.producer.in_flight_count() > 0 && !deadline.is_over() {
            reports.serve(deadline.left());
        }
        Err(self.refused(&first.topic, self.cause(first.code)))
    }

    /// Why a record was not delivered that went no further because its transaction had failed. That one cannot be begun
    /// inside of it is certain; what the client says is by which error it failed.
    fn cause(&self, code: Code) -> Code {
        let purged = [Code::PurgeQueue, Code::PurgeInflight].contains(&code);
        let failed = purged.then(|| self.producer.begin_transaction().err()).flatten();
        let cause = failed.as_ref().and_then(code_of);
        // Of a producer without transactions, and of a transaction that goes on, nothing more is known.
        cause.filter(|cause| ![Code::State, Code::NotConfigured].contains(cause)).unwrap_or(code)
    }

    #[cold]
    fn refused(&self, topic: &str, code: Code) -> Error {
        let attempt = format!("{}: write to {topic}", self.attempt);
        if [Code::UnknownTopic, Code::UnknownTopicOrPartition, Code::UnknownPartition]
            .contains(&code)
        {
            return Error::transient(attempt + ": there is no such topic; create it");
        }
        if code == Code::MessageSizeTooLarge {
            let hint = ": it takes no record of this size; raise its max.message.bytes, or lower the sink's \
                        most_bytes to it, and batch.size if that is larger";
            return Error::permanent(attempt + hint);
        }
        Error::new(producer_kind(code), attempt).because(code.to_string())
    }
}

/// The kind of answer that a producer's error asks for. Being fenced as a producer says that another one
/// was made, not who owns the positions: that is read.
pub(crate) fn producer_kind(code: Code) -> ErrorKind {
    let kind = kind(code);
    if kind == ErrorKind::Fenced { ErrorKind::Transient } else { kind }
}
