//! Records, and where they were read.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::time::Timestamp;

/// A value with its event time and the place where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<T> {
    /// The value.
    pub value: T,
    /// The event time.
    pub timestamp: Timestamp,
    /// Where the record was read; `None` for what an operator made of many, such as a window's result.
    pub origin: Option<Origin>,
}

impl<T> Record<T> {
    /// A record that was read there.
    #[inline]
    #[must_use]
    pub fn read(value: T, timestamp: Timestamp, origin: Origin) -> Self {
        Self { value, timestamp, origin: Some(origin) }
    }

    /// A record that was read nowhere: an operator's result.
    #[must_use]
    pub fn derived(value: T, timestamp: Timestamp) -> Self {
        Self { value, timestamp, origin: None }
    }

    /// The same record with another value.
    #[inline]
    #[must_use]
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Record<U> {
        Record { value: f(self.value), timestamp: self.timestamp, origin: self.origin }
    }

    /// Whether this record stands alone for one record of the source, which is then accounted for
    /// where this one ends. See [`Class`](crate::barrier::Class).
    #[inline]
    #[must_use]
    pub fn is_accountable(&self) -> bool {
        self.origin.is_some_and(|origin| origin.is_accountable())
    }
}

/// Where a record was read: topic, partition and offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    topic: Topic,
    number: i32,
    accountable: bool,
    offset: i64,
}

impl Origin {
    /// The record at this offset.
    #[inline]
    #[must_use]
    pub fn new(partition: Partition, offset: i64) -> Self {
        Self { topic: partition.topic, number: partition.number, accountable: true, offset }
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &'static str {
        self.topic.name()
    }

    /// The topic and the partition's number.
    #[must_use]
    pub fn partition(&self) -> Partition {
        Partition { topic: self.topic, number: self.number }
    }

    /// The offset within the partition.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Whether what becomes of this record is what becomes of the one that was read.
    #[inline]
    #[must_use]
    pub fn is_accountable(&self) -> bool {
        self.accountable
    }

    /// The same place, for one of several records made of the one that was read there: none of them is
    /// accounted for any more.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { accountable: false, ..self }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}", self.partition(), self.offset)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition(), self.offset)
    }
}

/// A partition of a topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic.
    pub topic: Topic,
    /// The partition's number, from 0.
    pub number: i32,
}

impl Partition {
    /// A partition of a topic.
    #[must_use]
    pub fn new(topic: Topic, number: i32) -> Self {
        Self { topic, number }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a topic, kept once for the life of the process, so that a record can carry it for
/// the price of a pointer. There are as many as there are topics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(&'static &'static str);

static NAMES: Mutex<Option<HashMap<&'static str, Topic>>> = Mutex::new(None);

impl Topic {
    /// The topic of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let names = names.get_or_insert_default();
        if let Some(known) = names.get(name) {
            return *known;
        }
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        let topic = Self(Box::leak(Box::new(name)));
        names.insert(name, topic);
        topic
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_kept_once() {
        let (a, b) = (Topic::new("ad-events"), Topic::new(&String::from("ad-events")));
        assert!(std::ptr::eq(a.name(), b.name()));
        assert_ne!(a, Topic::new("campaign-events"));
    }

    #[test]
    fn a_record_stays_small() {
        assert_eq!(size_of::<Option<Origin>>(), 24);
        assert_eq!(
            Origin::new(Partition::new(Topic::new("ads"), 3), 17).to_string(),
            "ads/3 at offset 17"
        );
    }
}
