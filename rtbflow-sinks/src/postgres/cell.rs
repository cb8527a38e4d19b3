//! One value as Postgres takes it, and the type of its column.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use rtbflow::{BadRecord, Error, Result, Timestamp};
use tokio_postgres::types::Type;

use crate::postgres::calendar::{days, from_days, from_micros, micros};
use crate::postgres::date::Date;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Text,
    BigInt,
    Int,
    Bool,
    Double,
    Timestamp,
    Date,
    Bytes,
}

impl Kind {
    /// Its name in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::BigInt => "bigint",
            Self::Int => "int",
            Self::Bool => "boolean",
            Self::Double => "double precision",
            Self::Timestamp => "timestamptz",
            Self::Date => "date",
            Self::Bytes => "bytea",
        }
    }

    pub(crate) fn scalar(self) -> Type {
        match self {
            Self::Text => Type::TEXT,
            Self::BigInt => Type::INT8,
            Self::Int => Type::INT4,
            Self::Bool => Type::BOOL,
            Self::Double => Type::FLOAT8,
            Self::Timestamp => Type::TIMESTAMPTZ,
            Self::Date => Type::DATE,
            Self::Bytes => Type::BYTEA,
        }
    }

    pub(crate) fn array(self) -> Type {
        match self {
            Self::Text => Type::TEXT_ARRAY,
            Self::BigInt => Type::INT8_ARRAY,
            Self::Int => Type::INT4_ARRAY,
            Self::Bool => Type::BOOL_ARRAY,
            Self::Double => Type::FLOAT8_ARRAY,
            Self::Timestamp => Type::TIMESTAMPTZ_ARRAY,
            Self::Date => Type::DATE_ARRAY,
            Self::Bytes => Type::BYTEA_ARRAY,
        }
    }

    /// Whether there are values of this kind that Postgres cannot take.
    pub(crate) fn needs_check(self) -> bool {
        matches!(self, Self::Text | Self::Timestamp | Self::Date)
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    BigInt(i64),
    Int(i32),
    Bool(bool),
    Double(f64),
    Timestamp(Timestamp),
    Date(Date),
}

impl Cell<'_> {
    /// Reads an element of this kind back, in the wire form in which [`Cells`](super::cells::Cells) have it.
    ///
    /// # Errors
    /// If it is none: what is folded again of it would be another number.
    pub(crate) fn read(kind: Kind, element: &[u8]) -> Result<Cell<'_>> {
        let read = || {
            let (length, bytes) = element.split_first_chunk::<4>()?;
            // The length of a null is -1, and nothing follows.
            if i32::from_be_bytes(*length) < 0 {
                return Some(Cell::Null);
            }
            let long = || bytes.try_into().ok().map(i64::from_be_bytes);
            let short = || bytes.try_into().ok().map(i32::from_be_bytes);
            Some(match kind {
                // Bytes are state, which nobody reads as a row.
                Kind::Text | Kind::Bytes => Cell::Text(std::str::from_utf8(bytes).ok()?.into()),
                Kind::BigInt => Cell::BigInt(long()?),
                Kind::Int => Cell::Int(short()?),
                Kind::Bool => Cell::Bool(*bytes.first()? != 0),
                Kind::Double => Cell::Double(f64::from_bits(long()?.cast_unsigned())),
                Kind::Timestamp => Cell::Timestamp(from_micros(long()?)),
                Kind::Date => Cell::Date(from_days(short()?)),
            })
        };
        read().ok_or_else(|| {
            Error::broken("a value that was staged for Postgres cannot be read back")
        })
    }

    /// Whether Postgres can take this value.
    pub(crate) fn check(&self, column: &str) -> Result<(), BadRecord> {
        let outside = |what: &dyn fmt::Display| {
            BadRecord::new(format!("column {column}: {what} is outside the calendar of Postgres"))
        };
        match self {
            Self::Text(text) if text.as_bytes().contains(&0) => Err(BadRecord::new(format!(
                "column {column}: text with U+0000, which Postgres cannot hold"
            ))),
            Self::Timestamp(time) if micros(*time).is_none() => Err(outside(time)),
            Self::Date(date) if days(*date).is_none() => Err(outside(date)),
            Self::Null
            | Self::Text(_)
            | Self::BigInt(_)
            | Self::Int(_)
            | Self::Bool(_)
            | Self::Double(_)
            | Self::Timestamp(_)
            | Self::Date(_) => Ok(()),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn into_owned(self) -> Cell<'static> {
        match self {
            Self::Null => Cell::Null,
            Self::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
            Self::BigInt(number) => Cell::BigInt(number),
            Self::Int(number) => Cell::Int(number),
            Self::Bool(truth) => Cell::Bool(truth),
            Self::Double(number) => Cell::Double(number),
            Self::Timestamp(time) => Cell::Timestamp(time),
            Self::Date(date) => Cell::Date(date),
        }
    }

    /// The order of two values of one column; null is unordered, as in `greatest` and `least`.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::BigInt(a), Self::BigInt(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            // No column of another kind keeps the greatest or the least.
            _ => None,
        }
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::BigInt(number) => write!(f, "{number}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Double(number) => write!(f, "{number}"),
            Self::Timestamp(time) => write!(f, "{time}"),
            Self::Date(date) => write!(f, "{date}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgres_cannot_hold_is_refused() {
        let far = Cell::Timestamp(Timestamp::from_millis(i64::MAX - 1));
        assert!(far.check("at").unwrap_err().reason().contains("calendar"));
        assert!(Cell::Date(Date::from_days(i32::MAX)).check("day").is_err());
        assert!(Cell::Text("a\0b".into()).check("name").unwrap_err().reason().contains("U+0000"));
        assert!(Cell::Text("O'Brien\"; --한".into()).check("name").is_ok());
    }
}
