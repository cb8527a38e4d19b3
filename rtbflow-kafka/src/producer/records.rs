//! A sink of records for a topic: key, value, headers and time of each.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rtbflow::epoch::{Epoch, RefusedResult};
use rtbflow::sink::{Place, Sink, Staged, StagedRows};
use rtbflow::{BadRecord, Error, Origin, Record};
use serde::Serialize;

use crate::producer::batch::{Message, RecordBatch};
use crate::producer::result_topics::Limit;

type Key<T> = Box<dyn Fn(&T, &mut Vec<u8>) -> bool + Send>;
type Value<T> = Box<dyn Fn(&T, &mut Vec<u8>) -> Result<bool, BadRecord> + Send>;
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
/// [`constraint`](Self::constraint), or whose value has no JSON, becomes a dead letter. A topic that is missing is waited for like a server that is away, with a message that
/// names it.
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
pub struct Records<T> {
    place: Place,
    topic: Arc<str>,
    key: Option<Key<T>>,
    headers: Vec<(Arc<str>, Header<T>)>,
    event_time: bool,
    most_bytes: Option<usize>,
    constraint: Option<Constraint<T>>,
    limit: Limit,
}

impl<T> fmt::Debug for Records<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({})", self.topic)
    }
}

impl<T> Records<T> {
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

    /// A sink whose values are JSON.
    #[must_use]
    pub fn json(self) -> KafkaSink<T>
    where
        T: Serialize,
    {
        self.with(Box::new(|value, out| match serde_json::to_writer(out, value) {
            Ok(()) => Ok(true),
            Err(error) => Err(BadRecord::new(format!("it has no JSON: {error}"))),
        }))
    }

    /// A sink whose values are these bytes. `None` is a tombstone: in a compacted topic it deletes its key.
    #[must_use]
    pub fn bytes(self, value: impl Fn(&T) -> Option<Vec<u8>> + Send + 'static) -> KafkaSink<T> {
        self.with(Box::new(move |record, out| {
            let bytes = value(record);
            out.extend_from_slice(bytes.as_deref().unwrap_or_default());
            Ok(bytes.is_some())
        }))
    }

    fn with(self, value: Value<T>) -> KafkaSink<T> {
        let (staged, checked) = (RecordBatch::default(), RefCell::default());
        KafkaSink { form: self, value, staged, origins: Vec::new(), checked }
    }
}

/// The sink that [`Records`] make.
pub struct KafkaSink<T> {
    form: Records<T>,
    value: Value<T>,
    staged: RecordBatch,
    /// Where the records were read that those staged were made of.
    origins: Vec<Option<Origin>>,
    /// The record that was checked last, encoded, so that it need not be encoded again to be written.
    checked: RefCell<Option<RecordBatch>>,
}

impl<T> fmt::Debug for KafkaSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaSink({}, {} records)", self.form.topic, self.staged.len())
    }
}

impl<T> KafkaSink<T> {
    fn encode(&self, record: &Record<T>, into: &mut RecordBatch) -> Result<(), BadRecord> {
        let (form, value) = (&self.form, &record.value);
        let timestamp = form.event_time.then(|| record.timestamp.as_millis().max(0));
        into.push(
            timestamp,
            |out| form.key.as_ref().is_some_and(|key| key(value, out)),
            |out| (self.value)(value, out),
        )?;
        for (name, header) in &form.headers {
            into.header(name, header(value).as_deref());
        }
        Ok(())
    }
}

impl<T: 'static> Sink<T> for KafkaSink<T> {
    fn check(&self, record: &Record<T>) -> Result<(), BadRecord> {
        if let Some(constraint) = &self.form.constraint {
            constraint(&record.value)?;
        }
        let mut checked = self.checked.borrow_mut();
        let mut encoded = checked.take().unwrap_or_default();
        encoded.clear();
        self.encode(record, &mut encoded)?;
        let limit = || self.form.limit.load(Ordering::Relaxed);
        let (bytes, most) = (encoded.bytes(), self.form.most_bytes.unwrap_or_else(limit));
        if bytes > most {
            return Err(too_large(bytes, &self.form.topic, most));
        }
        *checked = Some(encoded);
        Ok(())
    }

    fn result(&self, record: &Record<T>) -> RefusedResult {
        let mut encoded = RecordBatch::default();
        let _ = self.encode(record, &mut encoded);
        let message = encoded.messages().next();
        message.map_or_else(RefusedResult::default, |message| meant_for(&self.form.topic, &message))
    }

    fn write(&mut self, record: &Record<T>) {
        let checked = self.checked.take().filter(|checked| checked.len() > 0);
        let mut encoded = checked.unwrap_or_default();
        // What was not checked is encoded here; what has no encoding was refused before.
        if encoded.len() > 0 || self.encode(record, &mut encoded).is_ok() {
            self.staged.append(&encoded);
            self.origins.push(record.origin);
        }
        encoded.clear();
        *self.checked.get_mut() = Some(encoded);
    }

    fn pending(&self) -> usize {
        self.staged.len()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        let records = std::mem::take(&mut self.staged);
        let rows = records.len();
        if rows > 0 {
            let (topic, origins) =
                (Arc::clone(&self.form.topic), std::mem::take(&mut self.origins));
            let batch = Batch { topic, records: Arc::new(records), origins: origins.into() };
            out.push(Staged::new(self.form.place, rows, batch));
        }
    }

    fn places(&self) -> Vec<Place> {
        vec![self.form.place]
    }
}

/// A record is larger than its topic takes.
pub(crate) fn too_large(bytes: usize, topic: &str, most: usize) -> BadRecord {
    BadRecord::new(format!("it has {bytes} bytes and {topic} takes {most} (max.message.bytes)"))
}

/// A record as a dead letter carries it that no place takes.
fn meant_for(topic: &Arc<str>, message: &Message<'_>) -> RefusedResult {
    let key = message.key.map(<[u8]>::to_vec);
    let mut result = RefusedResult::default().meant_for(Arc::clone(topic), key);
    result.value = message.value.map(<[u8]>::to_vec);
    result
}

/// What a [`KafkaSink`] stages. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    topic: Arc<str>,
    records: Arc<RecordBatch>,
    origins: Arc<[Option<Origin>]>,
}

impl StagedRows for Batch {
    fn origin(&self, row: usize) -> Option<Origin> {
        self.origins.get(row).copied().flatten()
    }

    fn result(&self, row: usize) -> RefusedResult {
        let message = self.records.messages().nth(row);
        message.map_or_else(RefusedResult::default, |message| meant_for(&self.topic, &message))
    }
}

/// A batch on its way: without the rows that were refused.
#[derive(Debug, Clone)]
pub(crate) struct StagedBatch {
    /// The number of its epoch among those that are written together.
    pub(crate) epoch: usize,
    /// Its number among all that the epoch has staged.
    pub(crate) staged: usize,
    batch: Batch,
    refused: Vec<usize>,
}

impl StagedBatch {
    /// The batches that are staged for a place, in order.
    pub(crate) fn of(
        (epoch_number, epoch): (usize, &Epoch),
        place: Place,
    ) -> impl Iterator<Item = rtbflow::Result<Self>> {
        let ours = epoch.staged.iter().enumerate().filter(move |(_, staged)| staged.place == place);
        ours.map(move |(number, staged)| {
            let batch = staged.batch::<Batch>().cloned().ok_or_else(|| {
                Error::permanent("write to Kafka what no sink of its own has staged")
            })?;
            let refused = staged.refused().to_vec();
            Ok(Self { epoch: epoch_number, staged: number, batch, refused })
        })
    }

    pub(crate) fn topic(&self) -> &str {
        &self.batch.topic
    }

    /// Its rows, each with its number in the batch.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (usize, Message<'_>)> {
        let rows = self.batch.records.messages().enumerate();
        rows.filter(|(row, _)| self.refused.binary_search(row).is_err())
    }
}

#[cfg(test)]
mod tests {
    use rtbflow::testing::builders::record;
    use rtbflow::testing::laws;

    use super::*;
    use crate::Kafka;

    fn records<T>() -> Records<T> {
        Kafka::new("127.0.0.1:1").anchor().records("topic")
    }

    #[test]
    fn keeps_the_laws_of_sinks() {
        let all = [record("a", 0), record("b", 1)];
        laws::sink(|| records::<&str>().key(|value| value).json(), &all);
        laws::sink(|| records::<&str>().bytes(|_| None), &all);
    }

    #[test]
    fn what_was_checked_is_written_once_and_as_it_was_checked() {
        let mut sink = records::<&str>()
            .key(|value| value)
            .header("h", |_| Some(b"x".to_vec()))
            .event_time()
            .json();
        for value in ["one", "two"] {
            let record = record(value, 42);
            sink.check(&record).unwrap();
            sink.write(&record);
        }
        sink.write(&record("three", -5));
        let all: Vec<_> = sink.staged.messages().collect();
        let values: Vec<_> = all.iter().map(|message| message.value.unwrap()).collect();
        assert_eq!(values, [b"\"one\"".as_slice(), b"\"two\"", b"\"three\""]);
        assert_eq!(all[1].key, Some(b"two".as_slice()));
        assert_eq!(all[1].headers, [("h", Some(b"x".as_slice()))]);
        assert_eq!((all[1].timestamp_ms, all[2].timestamp_ms), (Some(42), Some(0)));
    }

    #[test]
    fn what_is_too_large_or_has_no_encoding_is_refused() {
        let sink = records::<String>().most_bytes(1000).json();
        assert_eq!(sink.check(&record("x".repeat(800), 0)), Ok(()));
        let refused = sink.check(&record("x".repeat(1000), 0)).unwrap_err();
        assert!(refused.reason().contains("topic takes 1000"), "{refused}");
        let small = |n: &i64| if *n > 9 { Err(BadRecord::new("too much")) } else { Ok(()) };
        let sink = records().constraint(small).json();
        assert_eq!(sink.check(&record(9, 0)), Ok(()));
        assert_eq!(sink.check(&record(10, 0)).unwrap_err().reason(), "too much");
        assert_eq!(Sink::result(&sink, &record(10, 0)).value, Some(b"10".to_vec()));
        let map = std::collections::BTreeMap::from([((1, 2), 3)]);
        let refused = records().json().check(&record(map, 0)).unwrap_err();
        assert!(refused.reason().contains("no JSON"), "{refused}");
    }
}
