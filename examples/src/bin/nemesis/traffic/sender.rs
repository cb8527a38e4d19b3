//! Sends the history to Kafka, whatever the brokers do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{History, Outgoing, POISON};
use crate::Fallible;
use crate::findings::Findings;

const TICK: Duration = Duration::from_millis(50);
const FULL: Duration = Duration::from_millis(20);
const LONGEST_FLUSH: Duration = Duration::from_secs(120);

/// The offset behind the last record that is stored, by topic and partition.
pub(crate) type Ends = BTreeMap<(String, i32), i64>;

struct Deliveries {
    ends: Arc<Mutex<Ends>>,
    findings: Findings,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(stored) => {
                let at = (stored.topic().to_owned(), stored.partition());
                let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
                let end = ends.entry(at).or_default();
                *end = (*end).max(stored.offset() + 1);
            }
            // The checker reads what is stored, so it is right nevertheless.
            Err(_) => self.findings.count("records that no broker took", 1),
        }
    }
}

/// Who sends.
pub(crate) struct Sender {
    producer: ThreadedProducer<Deliveries>,
    ends: Arc<Mutex<Ends>>,
    findings: Findings,
}

impl Sender {
    pub(crate) fn new(brokers: &str, findings: &Findings) -> Fallible<Self> {
        let ends: Arc<Mutex<Ends>> = Arc::default();
        let context = Deliveries { ends: Arc::clone(&ends), findings: findings.clone() };
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("partitioner", "murmur2_random")
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.timeout.ms", "0")
            .set("socket.timeout.ms", "5000")
            .set("topic.metadata.refresh.interval.ms", "2000")
            .create_with_context(context)?;
        Ok(Self { producer, ends, findings: findings.clone() })
    }

    /// Where the partitions end by what was stored so far.
    pub(crate) fn ends(&self) -> Arc<Mutex<Ends>> {
        Arc::clone(&self.ends)
    }

    /// Hands a record over; waits while too many are not stored yet.
    pub(crate) async fn send(&self, record: &Outgoing) -> Fallible {
        let mut headers = OwnedHeaders::new();
        if record.is_poison {
            headers = headers.insert(Header { key: POISON, value: Some("yes") });
        }
        let mut next = BaseRecord::to(record.topic.name()).key(&record.key).headers(headers);
        next.payload = record.value.as_ref();
        loop {
            match self.producer.send(next) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    next = back;
                    sleep(FULL).await;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        self.findings.count("records sent", 1);
        Ok(())
    }

    /// Waits until all is stored.
    pub(crate) async fn flush(&self) -> Fallible {
        let producer = self.producer.clone();
        tokio::task::spawn_blocking(move || producer.flush(LONGEST_FLUSH)).await??;
        Ok(())
    }
}

/// Traffic that goes on by itself.
pub(crate) struct Traffic {
    stop: watch::Sender<bool>,
    sending: JoinHandle<Fallible<(History, Sender)>>,
}

impl Traffic {
    /// Sends about this many records in a second from now on.
    pub(crate) fn begin(mut history: History, sender: Sender, rate: u32) -> Self {
        let (stop, stopped) = watch::channel(false);
        let sending = tokio::spawn(async move {
            let mut tick = interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut owed = 0;
            while !*stopped.borrow() {
                tick.tick().await;
                owed += rate;
                while owed >= 20 {
                    owed -= 20;
                    sender.send(&history.next()).await?;
                }
            }
            Ok((history, sender))
        });
        Self { stop, sending }
    }

    /// Stops; what is under way is sent, and all is stored.
    pub(crate) async fn end(self) -> Fallible<(History, Sender)> {
        self.stop.send_replace(true);
        let (mut history, sender) = self.sending.await??;
        for record in history.rest() {
            sender.send(&record).await?;
        }
        sender.flush().await?;
        Ok((history, sender))
    }
}
