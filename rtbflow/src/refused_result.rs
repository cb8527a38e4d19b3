//! A result that its place refused, as a dead letter carries it.

use std::sync::Arc;

/// What a dead letter carries of a result, which was read nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RefusedResult {
    /// The topic that the result was meant for, where it was meant for one.
    pub topic: Option<Arc<str>>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// The whole result: a record's value, or a row as a JSON object.
    pub value: Option<Vec<u8>>,
}

impl RefusedResult {
    /// A result of this value, such as a row as a JSON object.
    #[must_use]
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self { topic: None, key: None, value: Some(value.into()) }
    }

    /// The topic that it was meant for, with its key.
    #[must_use]
    pub fn meant_for(self, topic: Arc<str>, key: Option<Vec<u8>>) -> Self {
        Self { topic: Some(topic), key, ..self }
    }
}
