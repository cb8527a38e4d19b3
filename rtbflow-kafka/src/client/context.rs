//! What librdkafka calls back: log lines, errors and rebalances.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tracing::{debug, error, info, warn};

use crate::client::option::Secrets;
use crate::client::outages::{OutageReport, Outages};

/// What librdkafka says, by `debug=topic`, when it finds a topic with another id than it knew, and before it
/// fetches of that one. It says so nowhere else.
const NEW_ID: &str = " changed id from ";

/// A rebalance that is to be answered by `assign` or `unassign`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rebalance {
    /// These partitions of the topic that the group subscribes to are this member's: each stands for a task.
    Assign(Vec<i32>),
    /// All partitions are to be given back.
    Revoke,
}

/// What librdkafka says, as an error that is fatal for a client, where the brokers do not let a transaction be open for
/// as long as it asks for. Another client asks for less then, and the log says so once.
const TIMEOUT_TOO_LONG: &str = "Transaction timeout is larger than the maximum";

/// What librdkafka's log lines about lost connections and requests without an answer begin with.
const ABOUT_BROKERS: &[&str] = &["FAIL", "REQTMOUT", "GETPID", "COMMITFAIL"];
/// What it says of brokers that are away.
const AWAY: &[RDKafkaErrorCode] = &[
    RDKafkaErrorCode::BrokerTransportFailure,
    RDKafkaErrorCode::AllBrokersDown,
    RDKafkaErrorCode::OperationTimedOut,
    RDKafkaErrorCode::Resolve,
];

/// A record that could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Undelivered {
    /// The number that it was sent with.
    pub(crate) number: usize,
    pub(crate) topic: String,
    /// Why.
    pub(crate) code: RDKafkaErrorCode,
}

/// The context of every client: of consumers, producers and query clients.
pub(crate) struct Callbacks {
    /// The client that the log lines are about.
    client: String,
    secrets: Secrets,
    /// Events served so far: more may wait behind one that was served.
    served: AtomicU64,
    last_error: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// How many records were delivered.
    delivered: AtomicU64,
    /// The records that could not be delivered.
    undelivered: Mutex<Vec<Undelivered>>,
    rebalance: Mutex<Option<Rebalance>>,
    /// How often a topic turned out to have another id than this client knew, or its first one.
    new_topic_ids: AtomicU64,
    /// Whether somebody wants librdkafka's debug lines.
    debugs: bool,
    /// What all clients of the cluster say of brokers that are away.
    outages: Arc<Outages>,
    /// Set before the consumer is dropped: rebalances are then answered at once.
    closing: AtomicBool,
    /// Set when the client has lost all its brokers.
    all_down: AtomicBool,
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Callbacks({})", self.client)
    }
}

impl Callbacks {
    /// A context for one client; `secrets` never reach a log line.
    pub(crate) fn new(client: &str, secrets: Secrets, debugs: bool, outages: Arc<Outages>) -> Self {
        Self {
            client: client.to_owned(),
            secrets,
            served: AtomicU64::new(0),
            last_error: Mutex::default(),
            delivered: AtomicU64::new(0),
            undelivered: Mutex::default(),
            rebalance: Mutex::default(),
            new_topic_ids: AtomicU64::new(0),
            debugs,
            outages,
            closing: AtomicBool::new(false),
            all_down: AtomicBool::new(false),
        }
    }

    fn serve(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    /// How many events were served so far.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// How often a topic turned out to have another id. What is fetched afterwards is of the new topic.
    pub(crate) fn new_topic_ids(&self) -> u64 {
        self.new_topic_ids.load(Ordering::Relaxed)
    }

    /// The rebalance that came, if one did.
    pub(crate) fn take_rebalance(&self) -> Option<Rebalance> {
        self.rebalance.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the client had lost all its brokers at some time since this was called last.
    pub(crate) fn take_all_down(&self) -> bool {
        self.all_down.swap(false, Ordering::Relaxed)
    }

    /// The last error that librdkafka reported, in its own words.
    pub(crate) fn last_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many records were delivered so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// The records that could not be delivered since this was called last.
    pub(crate) fn take_undelivered(&self) -> Vec<Undelivered> {
        std::mem::take(&mut *self.undelivered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first record that could not be delivered.
    pub(crate) fn first_undelivered(&self) -> Option<Undelivered> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// What librdkafka says where it is debugged: a part of it always is, for the ids of topics.
    fn log_debug(&self, facility: &str, message: &str) {
        if message.contains(NEW_ID) {
            self.new_topic_ids.fetch_add(1, Ordering::Relaxed);
        }
        if self.debugs {
            debug!(client = self.client, facility, "librdkafka: {message}");
        }
    }

    /// A broker is away: it is said at once, and then now and again.
    fn log_away(&self, code: RDKafkaErrorCode, reason: &str) {
        let client = &self.client;
        match self.outages.report() {
            OutageReport::First => warn!(client, "a Kafka broker is unreachable: {reason}"),
            OutageReport::Ongoing(time) => {
                let seconds = time.as_secs();
                warn!(client, "a Kafka broker has been unreachable for {seconds} s: {reason}");
            }
            OutageReport::Repeated => debug!(client, "Kafka: {code}: {reason}"),
        }
    }

    /// From now on rebalances are answered at once: the consumer is about to be dropped.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.serve();
        let (client, message) = (&self.client, self.secrets.scrub(message));
        let is_noted = ABOUT_BROKERS.contains(&facility) || message.contains(TIMEOUT_TOO_LONG);
        if is_noted && !matches!(level, RDKafkaLogLevel::Debug) {
            // Errors come once more, by `error`.
            debug!(client, facility, "librdkafka: {message}");
            return;
        }
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => error!(client, facility, "librdkafka: {message}"),
            RDKafkaLogLevel::Warning => warn!(client, facility, "librdkafka: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                info!(client, facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Debug => self.log_debug(facility, &message),
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {
        self.serve();
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.serve();
        let (client, reason) = (&self.client, self.secrets.scrub(reason));
        let Some(code) = error.rdkafka_error_code() else {
            warn!(client, "Kafka: {reason}");
            return;
        };
        if AWAY.contains(&code) {
            self.log_away(code, &reason);
            self.all_down.fetch_or(code == RDKafkaErrorCode::AllBrokersDown, Ordering::Relaxed);
        } else if reason.contains(TIMEOUT_TOO_LONG) {
            debug!(client, "Kafka: {code}: {reason}");
        } else {
            warn!(client, "Kafka: {code}: {reason}");
        }
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        // It follows whatever else is wrong, and does not say what.
        if last.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *last = Some((code, reason.into_owned()));
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for Callbacks {
    /// The number that the record was sent with.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        self.serve();
        let Err((error, message)) = result else {
            self.delivered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        // One without a code is none of the broker's: the record is sent again, as after any that passes.
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let mut undelivered = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = message.topic().to_owned();
        undelivered.push(Undelivered { number, topic, code });
    }
}

impl ConsumerContext for Callbacks {
    /// Only notes the rebalance: the reading thread answers it as soon as `poll` returns, by
    /// `assign` or `unassign`. Until then the group waits for this member.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        self.serve();
        // Anything that assigns nothing takes everything back, as librdkafka has it of errors, too.
        let revoked = event != RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Relaxed) {
            if let Err(error) = consumer.unassign() {
                // The client is about to go, and with it what is assigned to it.
                debug!(client = self.client, "unassign while leaving: {error}");
            }
            return;
        }
        let rebalance = if revoked {
            Rebalance::Revoke
        } else {
            // All of one topic: the group subscribes to no other.
            let numbers = partitions.elements().iter().map(|e| e.partition()).collect();
            Rebalance::Assign(numbers)
        };
        // The slot is empty: the next one does not come before this one is answered.
        let mut slot = self.rebalance.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(rebalance);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.serve();
        // Only tools read what was to be committed.
        if let Err(error) = result {
            debug!(client = self.client, "commit offsets to the group: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::{Interest, set_global_default};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;

    /// Counts the warnings and errors that are logged on one thread.
    #[derive(Clone)]
    struct Warnings(ThreadId, Arc<AtomicU64>);

    impl Warnings {
        /// From now on what is logged on this thread. It is the process's: what another thread logs first, and nobody
        /// counts there, would else be counted nowhere.
        fn begin() -> Self {
            let warnings = Self(thread::current().id(), Arc::default());
            set_global_default(warnings.clone()).unwrap();
            warnings
        }

        fn count(&self) -> u64 {
            self.1.load(Ordering::Relaxed)
        }
    }

    impl Subscriber for Warnings {
        fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
            Interest::sometimes()
        }

        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= Level::WARN && thread::current().id() == self.0
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn what_is_dealt_with_or_said_elsewhere_is_not_said_by_each_client() {
        let (warnings, outages) = (Warnings::begin(), Arc::<Outages>::default());
        let client = |name| Callbacks::new(name, Secrets::default(), false, Arc::clone(&outages));
        let clients = ["reader", "anchor", "ends"].map(client);
        for client in &clients {
            for _ in 0..20 {
                for (level, facility) in [
                    (RDKafkaLogLevel::Error, "FAIL"),
                    (RDKafkaLogLevel::Warning, "REQTMOUT"),
                    (RDKafkaLogLevel::Warning, "GETPID"),
                ] {
                    client.log(level, facility, "[thrd:a:1/1]: a:1/1: Connection refused");
                }
                for code in AWAY {
                    client.error(KafkaError::Global(*code), "a:1/1: Connection refused");
                }
            }
        }
        assert_eq!(warnings.count(), 1);
        // What is wrong otherwise is said each time.
        let [client, ..] = clients;
        client.error(KafkaError::Global(RDKafkaErrorCode::TopicAuthorizationFailed), "ads");
        client.log(RDKafkaLogLevel::Error, "SASL", "no mechanism");
        assert_eq!(warnings.count(), 3);
        // That brokers allow shorter transactions is no error: another client asks for less.
        let reason = "Failed to acquire PID from broker: Broker: Transaction timeout is larger than the maximum value \
                      allowed by the broker's max.transaction.timeout.ms";
        let fatal = |why: &str| format!("Fatal transaction error: {why}");
        client.log(RDKafkaLogLevel::Alert, "TXNERR", &fatal(reason));
        client.error(KafkaError::Global(RDKafkaErrorCode::InvalidTransactionTimeout), reason);
        assert_eq!(warnings.count(), 3);
        client.log(RDKafkaLogLevel::Alert, "TXNERR", &fatal("fenced"));
        assert_eq!(warnings.count(), 4);
    }
}
