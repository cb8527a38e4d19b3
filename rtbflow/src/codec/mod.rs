//! How bytes become values.

#[cfg(feature = "csv")]
mod csv;
mod json;
mod plain;

use std::fmt;

#[cfg(feature = "csv")]
pub use csv::{Csv, csv};
pub use json::{Json, JsonView, View, json, json_view};
pub use plain::{Plain, PlainFields};

use crate::error::BadRecord;
use crate::raw_record::RawRecord;

/// Makes a value of a raw record.
pub trait Decoder: Send + Sync + 'static {
    /// What it makes.
    type Value: Send + 'static;

    /// Decodes a record, which has a value.
    ///
    /// # Errors
    /// If it does not decode; the record becomes a dead letter.
    fn decode(&self, record: &RawRecord<'_>) -> Result<Self::Value, BadRecord>;
}

/// A closure that decodes; see [`decode_with`].
#[derive(Clone)]
pub struct DecodeWith<F>(F);

impl<F> fmt::Debug for DecodeWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecodeWith")
    }
}

/// A decoder made of a closure.
#[must_use]
pub fn decode_with<T, F>(decode: F) -> DecodeWith<F>
where
    T: Send + 'static,
    F: Fn(&RawRecord<'_>) -> Result<T, BadRecord> + Send + Sync + 'static,
{
    DecodeWith(decode)
}

impl<T, F> Decoder for DecodeWith<F>
where
    T: Send + 'static,
    F: Fn(&RawRecord<'_>) -> Result<T, BadRecord> + Send + Sync + 'static,
{
    type Value = T;

    fn decode(&self, record: &RawRecord<'_>) -> Result<T, BadRecord> {
        (self.0)(record)
    }
}
