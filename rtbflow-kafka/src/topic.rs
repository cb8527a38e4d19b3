//! A topic to read: its options, and how it is opened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;
use rtbflow::codec::{Decoder, Json, JsonView, View, json, json_view};
use rtbflow::source::{Context, Decoded, RawBatch, Source};
use rtbflow::{BadRecord, Error, Partition, Result, Topic};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;

use crate::blocking::spawn;
use crate::context;
use crate::deadline::Deadline;
use crate::ends::{Asker, offsets};
use crate::failure::failure;
use crate::feed::KafkaFeed;
use crate::kafka::Kafka;
use crate::layout::Layout;
use crate::mailbox::Mailbox;
use crate::option::Role;
use crate::reader::{Event, Plan, Reader};

/// How long opening may take.
const LONGEST_OPENING: Duration = Duration::from_secs(15);
/// How long one question may take while opening.
const LONGEST_QUESTION: Duration = Duration::from_secs(5);
/// How long a topic that was just made may be unknown to a broker.
const LONGEST_BIRTH: Duration = Duration::from_secs(3);
/// Events that the job has not taken yet; each rebalance makes two.
const MOST_EVENTS: usize = 64;
/// Records in a batch, unless it is said otherwise.
const MOST_RECORDS: usize = 500;
/// Bytes that librdkafka may fetch ahead, unless it is said otherwise.
const PREFETCH_BYTES: usize = 16 << 20;
/// A fetch ahead for one partition is never smaller.
const LEAST_PREFETCH_BYTES: usize = 256 << 10;
/// How often the ends are asked for at most, and at least.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);

/// A topic to read. One task a partition; the job's name is the consumer group.
///
/// # Time and state
/// A record's time is the broker's until `event_time` says otherwise. The source keeps no positions: a
/// partition is read from where the job's anchor says, from its beginning if the anchor says nothing.
///
/// # Memory
/// librdkafka fetches at most [`prefetch_bytes`](Self::prefetch_bytes) ahead, divided among the topic's
/// partitions (256 KiB each at least), exceeded by at most one fetch a partition (no larger than its
/// share, or than one record batch); between the reading thread and each task there are two batches of
/// about 1 MiB at most. A task that does not read holds up its own partitions only.
///
/// # Errors
/// A position that the log does not hold any more, or not yet, is an error with both offsets: nothing is
/// skipped or read again silently.
///
/// ```
/// use std::time::Duration;
/// use rtbflow::Timestamp;
/// use rtbflow::source::Source;
/// use rtbflow_kafka::Kafka;
///
/// #[derive(serde::Deserialize)]
/// struct Click { price: i64, timestamp: Timestamp }
///
/// let clicks = Kafka::new("127.0.0.1:9092")
///     .topic("ad-events")
///     .expected_partitions(8)
///     .json::<Click>()
///     .event_time(|click| click.timestamp, Duration::from_secs(5));
/// assert_eq!(clicks.topics(), ["ad-events"]);
/// ```
#[derive(Debug, Clone)]
pub struct KafkaTopic {
    kafka: Kafka,
    name: String,
    instance: Option<String>,
    expected_partitions: Option<u32>,
    max_poll_records: usize,
    prefetch_bytes: usize,
    stall_timeout: Duration,
}

impl KafkaTopic {
    pub(crate) fn new(kafka: Kafka, name: String) -> Self {
        Self {
            kafka,
            name,
            instance: None,
            expected_partitions: None,
            max_poll_records: MOST_RECORDS,
            prefetch_bytes: PREFETCH_BYTES,
            stall_timeout: Duration::from_secs(10),
        }
    }

    /// Names this instance, differently for each: when it is restarted before the group gives it up, it
    /// gets its tasks back and the others are not disturbed. Without a name a restart is a rebalance.
    #[must_use]
    pub fn instance(self, name: impl Into<String>) -> Self {
        Self { instance: Some(name.into()), ..self }
    }

    /// Warns, with both numbers, if the topic has another count of partitions. It is read all the same.
    #[must_use]
    pub fn expected_partitions(self, count: u32) -> Self {
        Self { expected_partitions: Some(count), ..self }
    }

    /// The most records in one batch; 500 unless it is said otherwise.
    #[must_use]
    pub fn max_poll_records(self, most: usize) -> Self {
        Self { max_poll_records: most.max(1), ..self }
    }

    /// The bytes that are fetched ahead, for all partitions together; 16 MiB unless it is said otherwise.
    #[must_use]
    pub fn prefetch_bytes(self, most: usize) -> Self {
        Self { prefetch_bytes: most, ..self }
    }

    /// How long a partition may stand still, with records to read and room for them, before it is
    /// assigned again (after a quarter of it a cheaper cure is tried); after twice as long the source asks
    /// to be opened again. 10 s unless it is said otherwise.
    #[must_use]
    pub fn stall_timeout(self, patience: Duration) -> Self {
        Self { stall_timeout: patience, ..self }
    }

    /// Decodes each record's value as JSON; see [`rtbflow::codec::json`].
    #[must_use]
    pub fn json<T: DeserializeOwned + Send + 'static>(self) -> Decoded<Self, Json<T>> {
        self.decode(json())
    }

    /// Decodes each record's value into a view that borrows from it, and keeps what `project` makes of
    /// the view; see [`rtbflow::codec::json_view`].
    #[must_use]
    pub fn json_view<V, T, F>(self, project: F) -> Decoded<Self, JsonView<V, F>>
    where
        V: View,
        T: Send + 'static,
        F: for<'a> Fn(V::Of<'a>) -> Result<T, BadRecord> + Send + Sync + 'static,
    {
        self.decode(json_view(project))
    }

    /// Decodes each record with a decoder.
    #[must_use]
    pub fn decode<D: Decoder>(self, decoder: D) -> Decoded<Self, D> {
        Decoded::new(self, decoder)
    }
}

impl Source for KafkaTopic {
    type Batch = RawBatch;
    type Feed = KafkaFeed;

    fn topics(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    async fn open(&self, context: Context) -> Result<KafkaFeed> {
        let (sender, events) = mpsc::channel(MOST_EVENTS);
        let (leaving, left) = oneshot::channel();
        let (ready, opened) = oneshot::channel();
        let mailbox = Arc::new(Mailbox::default());
        let feed = KafkaFeed { events, mailbox: Arc::clone(&mailbox), left };
        let topic = self.clone();
        // The consumer is made, used and dropped on this thread, so that no async thread waits for it.
        spawn("rtbflow-kafka", move || {
            mailbox.read_by_this_thread();
            match topic.reader(&context, mailbox, sender) {
                Err(error) => drop(ready.send(Err(error))),
                Ok(reader) => {
                    // Whoever opened may have gone: the events are then closed and the reader leaves.
                    let _ = ready.send(Ok(()));
                    reader.run();
                }
            }
            drop(leaving);
        })?;
        let attempt = || format!("open {} at {}", self.name, self.kafka.servers());
        match timeout(LONGEST_OPENING, opened).await {
            Ok(Ok(opened)) => opened.map(|()| feed),
            Ok(Err(_)) => Err(Error::permanent(attempt() + ": its thread ended early")),
            Err(_) => Err(Error::transient(attempt() + ": Kafka does not answer")),
        }
    }
}

impl KafkaTopic {
    /// Makes the clients and subscribes. Runs on the reading thread.
    fn reader(
        &self,
        context: &Context,
        mailbox: Arc<Mailbox>,
        events: mpsc::Sender<Event>,
    ) -> Result<Reader> {
        let asking = self.kafka.asking_client("ends")?;
        let layout = self.layout(&asking)?;
        let until = if context.until_end { self.ends(&asking, &layout)? } else { BTreeMap::new() };
        let consumer = self.consumer(context, layout.partitions().len())?;
        let secrets = self.kafka.secrets();
        let told = |error| failure(format!("subscribe to {}", self.name), &error, &secrets);
        consumer.subscribe(&[&self.name]).map_err(told)?;
        let interval = (context.idle_timeout / 4).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        let looks = self.stall_timeout.as_millis() / interval.as_millis().max(1);
        let plan = Plan {
            layout,
            until,
            most_records: self.max_poll_records,
            patience: u32::try_from(looks).unwrap_or(u32::MAX),
            grace: self.session_timeout().div_f32(2.0).min(Duration::from_secs(5)),
            secrets: self.kafka.secrets(),
        };
        let clock = Arc::clone(&context.clock);
        let asker = Asker::start(asking, clock, interval, Arc::clone(&mailbox))?;
        Ok(Reader::new(consumer, plan, mailbox, asker, events))
    }

    /// Asks how many partitions there are.
    fn layout(&self, asking: &BaseConsumer<context::Context>) -> Result<Layout> {
        let count = self.kafka.partitions(asking, &self.name, LONGEST_BIRTH)?;
        let Some(count) = count else {
            return Err(Error::config(format!(
                "read topic {}: Kafka at {} has no such topic; create it first",
                self.name,
                self.kafka.servers()
            )));
        };
        if let Some(expected) = self.expected_partitions.filter(|expected| *expected != count) {
            warn!("topic {} has {count} partitions, {expected} were expected", self.name);
        }
        let layout = Layout::new(vec![(Topic::new(&self.name), count)]);
        layout
            .ok_or_else(|| Error::transient(format!("read topic {}: no partitions yet", self.name)))
    }

    /// Asks where the partitions end.
    fn ends(
        &self,
        asking: &BaseConsumer<context::Context>,
        layout: &Layout,
    ) -> Result<BTreeMap<Partition, i64>> {
        let partitions = layout.partitions();
        let attempt = format!("ask where {} ends", self.name);
        let ends = offsets(asking, &partitions, Offset::End, LONGEST_QUESTION);
        let ends = ends.map_err(|error| failure(&attempt, &error, &self.kafka.secrets()))?;
        let whole = partitions.iter().all(|partition| ends.contains_key(partition));
        if whole {
            Ok(ends)
        } else {
            Err(Error::transient(attempt + ": a partition has no leader"))
        }
    }

    fn session_timeout(&self) -> Duration {
        let set = self.kafka.value("session.timeout.ms").and_then(|ms| ms.trim().parse().ok());
        Duration::from_millis(set.unwrap_or(6000))
    }

    fn consumer(
        &self,
        context: &Context,
        partitions: usize,
    ) -> Result<Arc<BaseConsumer<context::Context>>> {
        let share = (self.prefetch_bytes / partitions.max(1)).max(LEAST_PREFETCH_BYTES);
        let (kbytes, fetch) = ((share / 1024).to_string(), share.min(1 << 20).to_string());
        let heartbeat = (self.session_timeout().as_millis() / 3).min(300).to_string();
        let mut own = vec![
            ("?client.id", context.job.as_str()),
            ("group.id", context.job.as_str()),
            ("group.protocol", "classic"),
            ("?partition.assignment.strategy", "range"),
            ("?session.timeout.ms", "6000"),
            ("?heartbeat.interval.ms", &heartbeat),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("?check.crcs", "true"),
            ("?fetch.wait.max.ms", "10"),
            ("?fetch.queue.backoff.ms", "10"),
            ("?fetch.error.backoff.ms", "100"),
            ("?queued.min.messages", "10000"),
            ("?queued.max.messages.kbytes", &kbytes),
            ("?fetch.message.max.bytes", &fetch),
        ];
        if let Some(instance) = &self.instance {
            own.push(("group.instance.id", instance));
        }
        let mut consumer: BaseConsumer<context::Context> =
            self.kafka.client(Role::Consumer, "reader", &own)?;
        let reader = std::thread::current();
        consumer.set_nonempty_callback(move || reader.unpark());
        Ok(Arc::new(consumer))
    }
}

impl Kafka {
    /// How many partitions a topic has; `None` if there is no such topic, even after a while.
    pub(crate) fn partitions(
        &self,
        asking: &BaseConsumer<context::Context>,
        topic: &str,
        patience: Duration,
    ) -> Result<Option<u32>> {
        let deadline = Deadline::after(patience);
        loop {
            let metadata = asking.fetch_metadata(Some(topic), LONGEST_QUESTION);
            crate::kafka::serve_events(asking);
            let attempt = format!("ask Kafka at {} for topic {topic}", self.servers());
            let metadata = metadata.map_err(|error| failure(&attempt, &error, &self.secrets()))?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let code = found.and_then(rdkafka::metadata::MetadataTopic::error).map(Code::from);
            match (found, code) {
                (Some(found), None) if !found.partitions().is_empty() => {
                    return Ok(u32::try_from(found.partitions().len()).ok());
                }
                (_, None | Some(Code::UnknownTopicOrPartition | Code::LeaderNotAvailable)) => {}
                (_, Some(code)) => {
                    let kind = crate::failure::kind(code);
                    return Err(Error::new(kind, attempt).because(code.to_string()));
                }
            }
            if deadline.is_over() {
                return Ok(None);
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}
