//! A topic to read, or several together: their options.

use std::sync::Arc;
use std::time::Duration;

use rtbflow::codec::{Decoder, Json, JsonView, View, json, json_view};
use rtbflow::epoch::Original;
use rtbflow::source::{ByDecoder, CoGroup, Context, Decoded, RawBatch, Source};
use rtbflow::{BadRecord, Error, Origin, Result};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::client::blocking::{blocking, spawn};
use crate::client::deadline::Deadline;
use crate::client::kafka::Kafka;
use crate::source::feed::KafkaFeed;
use crate::source::mailbox::ReaderMailbox;
use crate::source::read_again::read_again;

/// How long it may take to open a topic.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long reading single records again may take.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Events that the job has not taken yet; each rebalance makes two.
const MOST_EVENTS: usize = 64;
/// Records in a batch, by default.
const MOST_RECORDS: usize = 500;
/// Bytes that librdkafka may fetch ahead, by default.
const PREFETCH_BYTES: usize = 16 << 20;

/// A topic to read, or several [together](Self::with). The job's name is the consumer group.
///
/// A single topic is one task per partition. Several are read by co-groups: the partitions that hold the same
/// keys are one task's, as [`Layout`](rtbflow::source::Layout) has it, for topics whose producers hash keys
/// alike. The group subscribes to a topic with as many partitions as there are tasks, and the partitions of
/// the others are assigned by hand. That is the first one with that count; if there is none (6 partitions
/// against 4), an empty topic `{group}.coordination-{tasks}` is made for it, on demand, and nothing is ever
/// written there. Counts without a common divisor make one task, with a warning.
///
/// # Time and state
/// A record's time is the broker's until `event_time` says otherwise. The source keeps no positions: a
/// partition is read from where the job's anchor says, from its beginning if the anchor says nothing.
///
/// # Memory
/// librdkafka fetches at most [`prefetch_bytes`](Self::prefetch_bytes) ahead, divided among all
/// partitions (256 KiB each at least), exceeded by at most one fetch per partition (no larger than its
/// share, or than one record batch); between the reading thread and each task there are two batches of
/// about 1 MiB at most. A task that does not read holds up its own partitions only. Records are not copied:
/// those in a task keep the responses in memory that they came in, until the epoch they belong to is
/// complete; where more than one in 64 has a row, until it is committed. All tasks of an instance hold some
/// 48 MiB at most, each 2 MiB in any case.
///
/// # Errors
/// A position that the log does not hold any more, or not yet, is an error with both offsets, and a topic that
/// was deleted and made anew is one with both its ids, also while it is read: nothing is skipped or read again
/// silently. See [`begin_anew`](Self::begin_anew). Brokers older than 2.8 give topics no ids.
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
    pub(crate) kafka: Kafka,
    pub(crate) topics: Vec<TopicOptions>,
    /// The address of another cluster that a topic was to be read from.
    pub(crate) other_cluster: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) max_poll_records: usize,
    pub(crate) prefetch_bytes: usize,
    pub(crate) stall_timeout: Duration,
    pub(crate) begins_anew: bool,
}

/// The options of one topic.
#[derive(Debug, Clone)]
pub(crate) struct TopicOptions {
    pub(crate) name: String,
    pub(crate) expected_partitions: Option<u32>,
}

impl Kafka {
    /// A topic to read.
    #[must_use]
    pub fn topic(&self, name: impl Into<String>) -> KafkaTopic {
        KafkaTopic::new(self.clone(), name.into())
    }
}

impl KafkaTopic {
    pub(crate) fn new(kafka: Kafka, name: String) -> Self {
        Self {
            kafka,
            topics: vec![TopicOptions { name, expected_partitions: None }],
            other_cluster: None,
            instance: None,
            max_poll_records: MOST_RECORDS,
            prefetch_bytes: PREFETCH_BYTES,
            stall_timeout: Duration::from_secs(10),
            begins_anew: false,
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
    pub fn expected_partitions(mut self, count: u32) -> Self {
        for topic in &mut self.topics {
            topic.expected_partitions = Some(count);
        }
        self
    }

    /// The most records in one batch, at least one; 500 by default.
    #[must_use]
    pub fn max_poll_records(self, most: usize) -> Self {
        Self { max_poll_records: most, ..self }
    }

    /// The bytes that are fetched ahead, for all partitions together, and of each 256 KiB at least; 16 MiB by
    /// default.
    #[must_use]
    pub fn prefetch_bytes(self, most: usize) -> Self {
        Self { prefetch_bytes: most, ..self }
    }

    /// How long a partition may stand still, with records to read and capacity for them, before it is
    /// assigned again (after a quarter of it a cheaper cure is tried); after twice as long the source asks
    /// to be opened again. 10 s by default.
    #[must_use]
    pub fn stall_timeout(self, patience: Duration) -> Self {
        Self { stall_timeout: patience, ..self }
    }

    /// Whether reading goes on where the log does not hold a position, instead of stopping with an error that says
    /// what was found: it stops by default, since somebody has to look first. It goes on
    ///
    /// - at the beginning of a topic that was deleted and made anew,
    /// - at the first record that is left where retention has removed what was not read yet,
    /// - at the cut where a broker that had fallen behind has cut the log (an unclean leader election).
    ///
    /// What was made of what was read before stays, state and event time included; where it goes on is in the
    /// log. To undo it as well, reset the job.
    #[must_use]
    pub fn begin_anew(self, begins_anew: bool) -> Self {
        Self { begins_anew, ..self }
    }

    /// Reads the topics of another one together with these, all decoded alike; for records of two kinds see
    /// [`Decoded::with`]. Options, instance name, batches, prefetch and stall time-out are this one's;
    /// [`expected_partitions`](Self::expected_partitions) stays each topic's own.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        if self.kafka.servers() != other.kafka.servers() {
            self.other_cluster = Some(other.kafka.servers().to_owned());
        }
        self.other_cluster = self.other_cluster.or(other.other_cluster);
        self.topics.extend(other.topics);
        self
    }

    /// Decodes each record's value as JSON; see [`rtbflow::codec::json`].
    #[must_use]
    pub fn json<T: DeserializeOwned + Send + 'static>(self) -> Decoded<Self, ByDecoder<Json<T>>> {
        self.decode(json())
    }

    /// Decodes each record's value into a view that borrows from it, and keeps what `project` makes of
    /// the view; see [`rtbflow::codec::json_view`].
    #[must_use]
    pub fn json_view<V, T, F>(self, project: F) -> Decoded<Self, ByDecoder<JsonView<V, F>>>
    where
        V: View,
        T: Send + 'static,
        F: for<'a> Fn(V::Of<'a>) -> Result<T, BadRecord> + Send + Sync + 'static,
    {
        self.decode(json_view(project))
    }

    /// Decodes each record with a decoder.
    #[must_use]
    pub fn decode<D: Decoder>(self, decoder: D) -> Decoded<Self, ByDecoder<D>> {
        Decoded::new(self, decoder)
    }
}

impl CoGroup for KafkaTopic {
    fn with(self, other: Self) -> Self {
        Self::with(self, other)
    }
}

impl Source for KafkaTopic {
    type Batch = RawBatch;
    type Feed = KafkaFeed;

    fn topics(&self) -> Vec<String> {
        self.topics.iter().map(|topic| topic.name.clone()).collect()
    }

    fn validate(&self) -> Result<()> {
        let partitions = || self.topics.iter().map(|topic| topic.expected_partitions);
        let settings = [
            (self.topics.iter().any(|topic| topic.name.is_empty()), "it has no name; name a topic"),
            (
                partitions().any(|count| count == Some(0)),
                "`expected_partitions` is 0; a topic has 1 or more",
            ),
            (self.instance.as_deref() == Some(""), "`instance` is empty; name it, or leave it out"),
            (self.max_poll_records == 0, "`max_poll_records` is 0; let a batch have 1 or more"),
            (self.prefetch_bytes == 0, "`prefetch_bytes` is 0; fetch 256 KiB or more ahead"),
            (
                self.stall_timeout.is_zero(),
                "`stall_timeout` is 0; let a partition stand for some seconds",
            ),
        ];
        let wrong = settings.iter().filter(|(is_wrong, _)| *is_wrong);
        let wrong = wrong
            .map(|(_, why)| Err(Error::config(format!("read topic {:?}: {why}", self.names()))));
        Error::all([self.kafka.validate(), self.check_cluster()].into_iter().chain(wrong))
    }

    async fn check(&self) -> Result<()> {
        self.kafka.check_topics_exist("read", self.topics()).await
    }

    async fn read_again(&self, origins: &[Origin]) -> Result<Vec<Option<Original>>> {
        let (kafka, wanted) = (self.kafka.clone(), origins.to_vec());
        let attempt = format!("read records of {} again", self.names());
        let read = move || read_again(&kafka, &wanted, Deadline::after(READ_TIMEOUT));
        let found = blocking(&attempt, READ_TIMEOUT * 2, read).await?;
        Ok(origins.iter().map(|origin| found.get(origin).cloned()).collect())
    }

    async fn open(&self, context: Context) -> Result<KafkaFeed> {
        let (sender, events) = mpsc::channel(MOST_EVENTS);
        let (leaving, left) = oneshot::channel();
        let (ready, opened) = oneshot::channel();
        let mailbox = Arc::new(ReaderMailbox::default());
        let feed = KafkaFeed { events, mailbox: Arc::clone(&mailbox), left };
        let topic = self.clone();
        // The consumer is made, used and dropped on threads of its own, so that no async thread waits for it.
        spawn("rtbflow-kafka", move || {
            mailbox.read_by_this_thread();
            match topic.reader(&context, mailbox, sender) {
                // Whoever opened may have gone; then nobody is left who could do something about it.
                Err(error) => drop(ready.send(Err(error))),
                Ok(reader) => {
                    // Whoever opened may have gone: the events are then closed and the reader leaves.
                    let _ = ready.send(Ok(()));
                    reader.run();
                }
            }
            // Last, so that whoever closes waits until the group knows.
            drop(leaving);
        })?;
        let attempt = || format!("open {} at {}", self.names(), self.kafka.servers());
        match timeout(OPEN_TIMEOUT, opened).await {
            Ok(Ok(opened)) => opened.map(|()| feed),
            Ok(Err(_)) => Err(Error::permanent(attempt() + ": its thread ended early")),
            Err(_) => Err(Error::transient(attempt() + ": Kafka does not answer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_set_wrongly_is_one_error() {
        let kafka = Kafka::new("a:1").option("enable.auto.commit", "true");
        let topic = kafka.topic("").expected_partitions(0).instance("").max_poll_records(0);
        let topic = topic.prefetch_bytes(0).stall_timeout(Duration::ZERO);
        let topic = topic.with(Kafka::new("b:2").topic(""));
        let error = topic.json::<u64>().validate().unwrap_err();
        assert!(error.is_config());
        for says in [
            "enable.auto.commit",
            "one cluster, and these are at a:1 and at b:2",
            "`expected_partitions` is 0",
            "`instance` is empty",
            "`max_poll_records` is 0",
            "`prefetch_bytes` is 0",
            "`stall_timeout` is 0",
            "name a topic",
        ] {
            assert!(error.report().contains(says), "{says:?} in {error:?}");
        }
        assert!(Kafka::new("a:1").topic("clicks").validate().is_ok());
    }
}
