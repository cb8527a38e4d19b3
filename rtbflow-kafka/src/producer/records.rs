//! What the records of a topic look like: key, headers and time of each, and what is none of them.

use std::fmt;
use std::sync::Arc;

use rtbflow::BadRecord;
use rtbflow::sink::Place;

use crate::producer::result_topics::Limit;

type Key<T> = Box<dyn Fn(&T, &mut Vec<u8>) -> bool + Send>;
type Header<T> = Box<dyn Fn(&T) -> Option<Vec<u8>> + Send>;
type Constraint<T> = Box<dyn Fn(&T) -> Result<(), BadRecord> + Send>;

/// A sink in the making: what the records of a topic look like. [`json`](Self::json) or
/// [`bytes`](Self::bytes) makes it a sink.
///
/// It is had of the place that is to write it: [`KafkaAnchor::records`](crate::KafkaAnchor::records), in
/// the step that commits the epoch, or [`KafkaWriter::records`](crate::KafkaWriter::records), before it.
///
/// # Time and state
/// The records of an epoch are kept in memory, encoded, until it is committed. Their time is that of the
/// writing unless [`event_time`](Self::event_time) says otherwise.
///
/// # Errors
/// A record that is larger than [`most_bytes`](Self::most_bytes), that does not meet a
/// [`constraint`](Self::constraint), or whose value has no JSON, becomes a dead letter. A topic that is missing is
/// waited for like a server that is away, with a message that names it.
///
/// # Examples
/// ```
/// use rtbflow::sink::Sink;
/// use rtbflow::testing::builders::record;
/// use rtbflow_kafka::Kafka;
///
/// #[derive(serde::Serialize)]
/// struct Refund { advertiser_id: String, amount: i64 }
///
/// let place = Kafka::new("127.0.0.1:9092").anchor();
/// let mut refunds = place
///     .records("refunds")
///     .key(|refund: &Refund| &refund.advertiser_id)
///     .most_bytes(2_000)
///     .json();
///
/// let refund = Refund { advertiser_id: "a1".into(), amount: 1200 };
/// refunds.write(&record(refund, 0));
/// assert_eq!(refunds.pending(), 1);
/// let huge = Refund { advertiser_id: "a".repeat(2_000), amount: 1 };
/// assert!(refunds.check(&record(huge, 0)).is_err());
/// ```
#[must_use = "it is a sink only once it says what its values are"]
pub struct KafkaSinkBuilder<T> {
    pub(super) place: Place,
    pub(super) topic: Arc<str>,
    pub(super) key: Option<Key<T>>,
    pub(super) headers: Vec<(Arc<str>, Header<T>)>,
    pub(super) event_time: bool,
    pub(super) most_bytes: Option<usize>,
    pub(super) constraint: Option<Constraint<T>>,
    pub(super) limit: Limit,
}

impl<T> fmt::Debug for KafkaSinkBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaSinkBuilder({})", self.topic)
    }
}

impl<T> KafkaSinkBuilder<T> {
    pub(crate) fn new(place: Place, topic: Arc<str>, limit: Limit) -> Self {
        Self {
            place,
            topic,
            key: None,
            headers: Vec::new(),
            event_time: false,
            most_bytes: None,
            constraint: None,
            limit,
        }
    }

    /// The key, as text. It picks the partition, by the hash that the Java client uses; records of one key
    /// stay in order. Without a key each record goes anywhere.
    pub fn key(mut self, key: impl Fn(&T) -> &str + Send + 'static) -> Self {
        self.key = Some(Box::new(move |value, out| {
            out.extend_from_slice(key(value).as_bytes());
            true
        }));
        self
    }

    /// As [`key`](Self::key), for keys that have to be put together or are no text. `None` is no key.
    pub fn key_bytes(mut self, key: impl Fn(&T) -> Option<Vec<u8>> + Send + 'static) -> Self {
        self.key = Some(Box::new(move |value, out| {
            let key = key(value);
            out.extend_from_slice(key.as_deref().unwrap_or_default());
            key.is_some()
        }));
        self
    }

    /// A header; `None` is one without a value.
    pub fn header(
        mut self,
        name: &str,
        value: impl Fn(&T) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        self.headers.push((name.into(), Box::new(value)));
        self
    }

    /// Gives each record its event time, instead of the time of its writing. A topic's retention goes by
    /// the records' time: results of an old input would be deleted as soon as they are written.
    /// A time of 1970 or before is written as that of the writing: the client knows no other.
    pub fn event_time(mut self) -> Self {
        self.event_time = true;
        self
    }

    /// The largest record that the sink takes, with its key and headers: what the topic takes
    /// (`max.message.bytes`, which is asked as the job starts) by default. A larger one becomes
    /// a dead letter.
    pub fn most_bytes(mut self, most: usize) -> Self {
        self.most_bytes = Some(most);
        self
    }

    /// What is no record of this topic, whatever its form, such as a number that its readers do not take: it
    /// becomes a dead letter with this reason.
    pub fn constraint(
        mut self,
        check: impl Fn(&T) -> Result<(), BadRecord> + Send + 'static,
    ) -> Self {
        self.constraint = Some(Box::new(check));
        self
    }
}
