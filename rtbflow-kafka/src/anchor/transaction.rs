//! The producers of a task, and single transactions with them.

use std::time::Duration;

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer, PurgeConfig};
use rtbflow::{Error, Partition, Result};
use tracing::warn;

use crate::anchor::failure::may_be_repeated;
use crate::anchor::target::Target;
use crate::client::blocking::drop_elsewhere;
use crate::client::context::Callbacks;
use crate::client::deadline::Deadline;
use crate::client::native::Reports;
use crate::producer::batch::RecordBatch;
use crate::producer::produce::{Sending, producer};

/// The shortest that a transaction may be open, where the brokers do not allow more.
const SHORTEST_TRANSACTION: Duration = Duration::from_secs(2);
/// The number of a record that is no row of the results.
const NO_ROW: usize = usize::MAX;

impl Target<'_> {
    /// A new producer for the task. When it is there, nothing that an earlier one has begun is undecided, and
    /// the broker refuses whatever that one sends. Where the brokers do not let a transaction be open for as long
    /// as ours may be, it is as long as they do.
    pub(crate) fn producer(&self, deadline: Deadline) -> Result<BaseProducer<Callbacks>> {
        let mut timeout = self.transaction_timeout;
        let option = "transaction.timeout.ms";
        loop {
            let error = match self.producer_with(timeout, deadline)? {
                Ok(producer) => return Ok(producer),
                Err(error) => error,
            };
            let attempt = format!("begin transactions as {}", self.transactional_id());
            if error.rdkafka_error_code() != Some(Code::InvalidTransactionTimeout) {
                return Err(self.failure(&attempt, &error));
            }
            if timeout <= SHORTEST_TRANSACTION || self.kafka.value(option).is_some() {
                return Err(too_long(&attempt, self.kafka.servers(), option));
            }
            timeout /= 2;
            warn!(
                "the brokers' transaction.max.timeout.ms is below {} ms; a transaction may be open for {} ms",
                timeout.as_millis() * 2,
                timeout.as_millis()
            );
        }
    }

    fn transactional_id(&self) -> String {
        format!("{}-{}", self.job, self.task.number)
    }

    fn producer_with(
        &self,
        transaction_timeout: Duration,
        deadline: Deadline,
    ) -> Result<Result<BaseProducer<Callbacks>, KafkaError>> {
        let (id, ms) = (self.transactional_id(), transaction_timeout.as_millis().to_string());
        let own = [("transactional.id", id.as_str()), ("?transaction.timeout.ms", &ms)];
        let batch = self.results.most_batch_bytes();
        let producer = producer(self.kafka, "anchor", batch, &own)?;
        loop {
            let initialised = producer.init_transactions(deadline.left());
            // For its log lines and errors: nobody else polls it yet.
            producer.poll(Duration::ZERO);
            let error = match initialised {
                Ok(()) => return Ok(Ok(producer)),
                Err(error) => error,
            };
            if !may_be_repeated(&error) || deadline.is_over() {
                drop_elsewhere(producer);
                return Ok(Err(error));
            }
        }
    }

    /// One transaction with the records that `send` sends.
    pub(crate) fn transact(
        &self,
        producer: &BaseProducer<Callbacks>,
        deadline: Deadline,
        send: impl FnOnce(&Sending<'_>) -> Result<()>,
    ) -> Result<()> {
        let attempt = format!("commit task {} of job {} to Kafka", self.task, self.job);
        let failed = |error| self.failure(&attempt, &error);
        // What was reported to an earlier transaction is not about this one.
        let _ = producer.client().context().take_undelivered();
        producer.begin_transaction().map_err(failed)?;
        let sending = Sending { producer, attempt: &attempt, deadline };
        send(&sending)?;
        // All acknowledged before the commit: a record that comes later than the end of its transaction would be taken
        // for part of the next one (see `KafkaAnchor`).
        sending.flush()?;
        producer.commit_transaction(deadline.left()).map_err(failed)
    }
}

/// The error where the brokers do not let a transaction be open for as long as it has to be.
#[cold]
fn too_long(attempt: &str, servers: &str, option: &str) -> Error {
    Error::config(format!(
        "{attempt} at {servers}: its brokers allow none as long as {option}; set the Kafka option {option} to at most \
         their transaction.max.timeout.ms"
    ))
}

/// Sends records that are no results to a partition.
pub(crate) fn send_all(
    sending: &Sending<'_>,
    partition: Partition,
    records: &RecordBatch,
) -> Result<()> {
    let (topic, number) = (partition.topic.name(), Some(partition.number));
    records.messages().try_for_each(|message| sending.send(topic, number, NO_ROW, &message))
}

/// Aborts a transaction in which something failed. Records that still wait are purged before: the client would
/// wait for them, and nothing would answer it.
pub(crate) fn abort(producer: &BaseProducer<Callbacks>, deadline: Deadline) -> KafkaResult<()> {
    producer.purge(PurgeConfig::default().queue().inflight());
    let reports = Reports::of(producer);
    while producer.in_flight_count() > 0 && !deadline.is_over() {
        reports.serve(deadline.left());
    }
    // What was purged is reported as not delivered; why this was aborted is known already.
    let _ = producer.client().context().take_undelivered();
    producer.abort_transaction(deadline.left())
}
