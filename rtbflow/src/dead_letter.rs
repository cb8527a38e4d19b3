//! Records and results that could not be used, on their way to a dead-letter topic.

use std::fmt;
use std::sync::Arc;

use crate::error::BadRecord;
use crate::record::{Origin, Partition};
use crate::refused_result::RefusedResult;

/// A record that could not be used, as it was read; or a result that its place refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Where the record was read; of a result, where the last record was read before it was emitted.
    pub origin: Origin,
    /// The topic that a result was meant for; `None` for a record, and for a result of another place.
    pub topic: Option<Arc<str>>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` also for sources whose records have no bytes.
    pub value: Option<Vec<u8>>,
    /// Its own headers, in order; a name may stand there more than once.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Why it was not used.
    pub reason: BadRecord,
}

impl DeadLetter {
    /// The letter of a record, as it was read.
    #[must_use]
    pub fn record(origin: Origin, original: Original, reason: BadRecord) -> Self {
        let Original { key, value, headers } = original;
        Self { origin, topic: None, key, value, headers, reason }
    }

    /// The letter of a result.
    #[must_use]
    pub fn result(origin: Origin, result: RefusedResult, reason: BadRecord) -> Self {
        let RefusedResult { topic, key, value } = result;
        Self { origin, topic, key, value, headers: Vec::new(), reason }
    }

    /// The topic beside which it is written: the one that a result was meant for, else the one that the
    /// record was read from.
    #[must_use]
    pub fn beside(&self) -> &str {
        self.topic.as_deref().unwrap_or_else(|| self.origin.topic())
    }
}

/// A record as it stands in its source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Original {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order; a name may stand there more than once.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Original {
    /// A record with this key, this value and these headers.
    #[must_use]
    pub fn new(
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Vec<(String, Option<Vec<u8>>)>,
    ) -> Self {
        Self { key, value, headers }
    }
}

/// A batch as the committer sees it: what records can be cut out of.
pub(crate) trait Originals: Send + Sync {
    /// The record at an offset, unchanged as it was read; `None` if it is not in it.
    fn letter(&self, partition: Partition, offset: i64, reason: BadRecord) -> Option<DeadLetter>;
}

impl fmt::Debug for dyn Originals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Originals")
    }
}
