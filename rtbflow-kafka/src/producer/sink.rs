//! A sink of records for a topic: it encodes them as they come, and stages them as a batch.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rtbflow::epoch::RefusedResult;
use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::{BadRecord, Error, Origin, Record, Result};
use serde::Serialize;

use crate::producer::batch::RecordBatch;
use crate::producer::records::KafkaSinkBuilder;
use crate::producer::staged::{SinkBatch, meant_for, too_large};

type Value<T> = Box<dyn Fn(&T, &mut Vec<u8>) -> Result<bool, BadRecord> + Send>;

impl<T> KafkaSinkBuilder<T> {
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

/// The sink that a [`KafkaSinkBuilder`] makes.
pub struct KafkaSink<T> {
    form: KafkaSinkBuilder<T>,
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
        let headers = form.headers.iter().map(|(name, header)| (name, header(value)));
        into.push(
            timestamp,
            |out| form.key.as_ref().is_some_and(|key| key(value, out)),
            |out| (self.value)(value, out),
            headers,
        )
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

    fn validate(&self) -> Result<()> {
        let KafkaSinkBuilder { topic, most_bytes, .. } = &self.form;
        let settings = [
            (topic.is_empty(), "it has no name; name a topic"),
            (
                *most_bytes == Some(0),
                "`most_bytes` is 0, and no record fits; give more, or leave it out",
            ),
        ];
        let wrong = settings.iter().filter(|(is_wrong, _)| *is_wrong);
        Error::all(
            wrong.map(|(_, why)| Err(Error::config(format!("write to topic {topic:?}: {why}")))),
        )
    }

    fn result(&self, record: &Record<T>) -> RefusedResult {
        let mut encoded = RecordBatch::default();
        // What has no encoding has none for its dead letter either: that says why.
        let _ = self.encode(record, &mut encoded);
        let message = encoded.messages().next();
        message.map_or_else(RefusedResult::default, |message| meant_for(&self.form.topic, &message))
    }

    fn write(&mut self, record: &Record<T>) {
        let checked = self.checked.take().filter(|checked| checked.len() > 0);
        let mut encoded = checked.unwrap_or_default();
        // What was not checked is encoded here; what has no encoding was refused by `check`.
        if encoded.len() > 0 || self.encode(record, &mut encoded).is_ok() {
            self.staged.append(&encoded);
            self.origins.push(record.origin);
        } else {
            Error::broken("a record is written to Kafka that `check` has refused").spoil_epoch();
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
            let batch = SinkBatch { topic, records: Arc::new(records), origins: origins.into() };
            out.push(Staged::new(self.form.place, rows, batch));
        }
    }

    fn places(&self) -> Vec<Place> {
        vec![self.form.place]
    }
}

#[cfg(test)]
mod tests {
    use rtbflow::testing::builders::record;
    use rtbflow::testing::laws;

    use super::*;
    use crate::Kafka;

    fn records<T>() -> KafkaSinkBuilder<T> {
        Kafka::new("127.0.0.1:1").anchor().records("topic")
    }

    #[test]
    fn keeps_the_laws_of_sinks() {
        let all = [record("a", 0), record("b", 1)];
        laws::sink(|| records::<&str>().key(|value| value).json(), &all);
        laws::sink(|| records::<&str>().bytes(|_| None), &all);
    }

    #[test]
    fn a_sink_that_writes_nowhere_is_refused() {
        let sink = Kafka::new("127.0.0.1:1").anchor().records::<&str>("").most_bytes(0).json();
        let error = sink.validate().unwrap_err();
        assert!(error.is_config(), "{error:?}");
        for says in ["2 errors", "it has no name", "`most_bytes` is 0"] {
            assert!(error.report().contains(says), "{error:?}");
        }
        assert!(records::<&str>().json().validate().is_ok());
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
