//! What a task knows of its place: its changelog, how its producers are made, and one transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer};
use rtbflow::epoch::{JobName, Task};
use rtbflow::{Error, Partition, Result, Topic};
use tracing::warn;

use crate::anchor::replay::{OffsetClients, Replay};
use crate::client::blocking::drop_elsewhere;
use crate::client::context::Context;
use crate::client::create::{Creation, TopicSpec};
use crate::client::deadline::Deadline;
use crate::client::failure::failure;
use crate::client::kafka::Kafka;
use crate::producer::produce::{Sending, passing, producer};
use crate::producer::result_topics::Results;

/// How long one call of a new producer may take before it is made again.
const LONGEST_CALL: Duration = Duration::from_secs(5);
/// To how little the time is brought down that a transaction may be open, where the brokers do not allow more.
const SHORTEST_TRANSACTION: Duration = Duration::from_secs(2);

/// What a call needs to know besides its seat.
pub(crate) struct Room<'a> {
    pub(crate) kafka: &'a Kafka,
    pub(crate) results: &'a Results,
    pub(crate) offset_clients: &'a OffsetClients,
    pub(crate) job: &'a JobName,
    pub(crate) task: Task,
    pub(crate) creates: bool,
    /// How long a transaction may be open.
    pub(crate) open_for: Duration,
    /// Whether the changelog is known to keep what is written.
    pub(crate) lasting: &'a AtomicBool,
}

/// The name of the changelog.
pub(crate) fn changelog(job: &JobName) -> String {
    TopicSpec::changelog(job, 0).name().to_owned()
}

impl Room<'_> {
    pub(crate) fn partition(&self) -> Result<Partition> {
        let number = i32::try_from(self.task.number);
        let number =
            number.map_err(|_| Error::config(format!("number a task {}", self.task.number)))?;
        Ok(Partition::new(Topic::new(&changelog(self.job)), number))
    }

    pub(crate) fn replay(&self) -> Result<Replay<'_>> {
        let (kafka, offset_clients, job) = (self.kafka, self.offset_clients, self.job);
        Ok(Replay { kafka, offset_clients, job, partition: self.partition()? })
    }

    /// How many partitions the changelog has; `None` if there is none, even after a while: a broker that has
    /// just started may not know its topics yet.
    pub(crate) fn count(&self, patience: Duration) -> Result<Option<u32>> {
        self.kafka.partitions(self.offset_clients.any(), &changelog(self.job), patience)
    }

    /// Sees to it that there is a changelog for this number of tasks.
    pub(crate) fn ensure_changelog(&self, deadline: Deadline) -> Result<()> {
        let (topic, task, of) = (changelog(self.job), self.task, self.task.of);
        let count = match self.count(Duration::ZERO)? {
            Some(count) => count,
            None if self.creates => {
                let made = Creation::new(self.kafka, deadline.left())?
                    .run(&[TopicSpec::changelog(self.job, of)])?;
                made.first().map_or(0, |made| made.partitions)
            }
            None => {
                return Err(Error::config(format!(
                    "take over task {task} of job {}: there is no topic {topic}; create it, compacted and with \
                     {of} partitions, or let the anchor do so",
                    self.job
                )));
            }
        };
        if count == of {
            return self.check_policy(&topic, deadline);
        }
        Err(task.laid_out_for(count, self.job, &format!("the topic {topic}")))
    }

    /// A changelog that retention shortens would lose positions and state: it has to be compacted only.
    fn check_policy(&self, topic: &str, deadline: Deadline) -> Result<()> {
        if self.lasting.load(Ordering::Relaxed) {
            return Ok(());
        }
        match Creation::new(self.kafka, deadline.left())?.setting(topic, "cleanup.policy") {
            Ok(policy) if policy.trim() == "compact" => {}
            Ok(policy) => {
                return Err(Error::config(format!(
                    "keep positions and state in topic {topic}: its cleanup.policy is {policy}, with which they \
                     would be lost one day; set it to compact"
                )));
            }
            Err(error) if error.is_transient() => return Err(error),
            // Whoever may not ask has to know.
            Err(error) => warn!("{}; it has to be compact", error.report()),
        }
        self.lasting.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A new producer for the task. When it is there, nothing that a former one has begun is undecided, and
    /// nothing that it sends is taken any more. Where the brokers do not let a transaction be open for as long as
    /// ours may be, it is as long as they do.
    pub(crate) fn producer(&self, deadline: Deadline) -> Result<BaseProducer<Context>> {
        let mut open_for = self.open_for;
        let (set, least) = ("transaction.timeout.ms", SHORTEST_TRANSACTION);
        loop {
            let error = match self.producer_with(open_for, deadline)? {
                Ok(producer) => return Ok(producer),
                Err(error) => error,
            };
            let too_long = error.rdkafka_error_code() == Some(Code::InvalidTransactionTimeout);
            if !too_long {
                return Err(self.failure(&format!("begin transactions as {}", self.id()), &error));
            }
            if open_for <= least || self.kafka.value(set).is_some() {
                let servers = self.kafka.servers();
                return Err(Error::config(format!(
                    "begin transactions as {} at {servers}: its brokers allow none as long as {set}; set the \
                     Kafka option {set} to at most their transaction.max.timeout.ms",
                    self.id()
                )));
            }
            open_for /= 2;
            warn!(
                "the brokers' transaction.max.timeout.ms is below {} ms; a transaction may be open for {} ms",
                open_for.as_millis() * 2,
                open_for.as_millis()
            );
        }
    }

    fn id(&self) -> String {
        format!("{}-{}", self.job, self.task.number)
    }

    fn producer_with(
        &self,
        open_for: Duration,
        deadline: Deadline,
    ) -> Result<Result<BaseProducer<Context>, KafkaError>> {
        let (id, open_for) = (self.id(), open_for.as_millis().to_string());
        let own = [("transactional.id", id.as_str()), ("?transaction.timeout.ms", &open_for)];
        let batch = self.results.most_batch_bytes();
        let producer = producer(self.kafka, "anchor", batch, &own)?;
        loop {
            let made = producer.init_transactions(deadline.left().min(LONGEST_CALL));
            producer.poll(Duration::ZERO);
            let error = match made {
                Ok(()) => return Ok(Ok(producer)),
                Err(error) => error,
            };
            if !may_be_repeated(&error) || deadline.is_over() {
                drop_elsewhere(producer);
                return Ok(Err(error));
            }
        }
    }

    /// Being refused as a producer says that another one was made; whose the positions are is read.
    pub(crate) fn failure(&self, attempt: &str, error: &KafkaError) -> Error {
        let attempt = format!("{attempt} at {}", self.kafka.servers());
        let code = error.rdkafka_error_code();
        let made = failure(attempt.clone(), error, &self.kafka.secrets());
        match code {
            Some(code) if passing(code) != made.kind() => {
                Error::new(passing(code), attempt).because(error.to_string())
            }
            Some(_) | None => made,
        }
    }

    /// One transaction with what `send` hands over.
    pub(crate) fn transact(
        &self,
        producer: &BaseProducer<Context>,
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
        sending.settle()?;
        producer.commit_transaction(deadline.left()).map_err(failed)
    }
}

fn may_be_repeated(error: &KafkaError) -> bool {
    let KafkaError::Transaction(error) = error else { return false };
    error.is_retriable() || error.code() == Code::OperationTimedOut
}
