//! Values in the form in which Postgres takes them: cells, and columns of cells.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::error::Error as StdError;
use std::fmt;
use std::sync::OnceLock;

use bytes::{BufMut, BytesMut};
use rtbflow::{BadRecord, Timestamp};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

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
    /// Reads an element of this kind in wire form.
    pub(crate) fn read(kind: Kind, element: &[u8]) -> Cell<'_> {
        let Some((length, bytes)) = element.split_first_chunk::<4>() else { return Cell::Null };
        if i32::from_be_bytes(*length) < 0 {
            return Cell::Null;
        }
        let long = || bytes.try_into().map(i64::from_be_bytes).unwrap_or_default();
        let short = || bytes.try_into().map(i32::from_be_bytes).unwrap_or_default();
        match kind {
            Kind::Text | Kind::Bytes => Cell::Text(String::from_utf8_lossy(bytes)),
            Kind::BigInt => Cell::BigInt(long()),
            Kind::Int => Cell::Int(short()),
            Kind::Bool => Cell::Bool(bytes.first().is_some_and(|truth| *truth != 0)),
            Kind::Double => Cell::Double(f64::from_bits(long().cast_unsigned())),
            Kind::Timestamp => Cell::Timestamp(from_micros(long())),
            Kind::Date => Cell::Date(from_days(short())),
        }
    }

    /// Whether Postgres can take this value.
    pub(crate) fn check(&self, column: &str) -> Result<(), BadRecord> {
        let outside = |what: &dyn fmt::Display| {
            BadRecord::new(format!("column {column}: {what} is outside the calendar of Postgres"))
        };
        match self {
            Self::Text(text) if text.as_bytes().contains(&0) => {
                Err(BadRecord::new(format!("column {column}: text with U+0000")))
            }
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

/// 2000-01-01T00:00:00Z, where the times of Postgres begin.
const ORIGIN_MS: i64 = 946_684_800_000;
const ORIGIN_DAYS: i32 = 10_957;

/// The time as Postgres counts it, if its calendar reaches that far.
fn micros(time: Timestamp) -> Option<i64> {
    const FIRST: i64 = -211_813_488_000_000_000;
    const END: i64 = 9_223_371_331_200_000_000;
    match time {
        Timestamp::MIN | Timestamp::MAX => Some(time.as_millis()),
        _ => time
            .as_millis()
            .checked_sub(ORIGIN_MS)
            .and_then(|ms| ms.checked_mul(1000))
            .filter(|micros| (FIRST..END).contains(micros)),
    }
}

/// The time that Postgres counts so, to the millisecond.
pub(crate) fn from_micros(micros: i64) -> Timestamp {
    match micros {
        i64::MIN | i64::MAX => Timestamp::from_millis(micros),
        _ => Timestamp::from_millis(micros.div_euclid(1000) + ORIGIN_MS),
    }
}

fn days(date: Date) -> Option<i32> {
    const RANGE: std::ops::Range<i32> = -2_451_507..2_145_031_949;
    date.as_days().checked_sub(ORIGIN_DAYS).filter(|days| RANGE.contains(days))
}

/// The day that Postgres counts so.
pub(crate) fn from_days(days: i32) -> Date {
    Date::from_days(days.saturating_add(ORIGIN_DAYS))
}

/// Values of one column, each as an element of an array on the wire: its length, then its bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cells {
    count: usize,
    nulls: bool,
    bytes: Vec<u8>,
    /// Where each element begins: made when one is asked for, after the last was added.
    starts: OnceLock<Vec<usize>>,
}

impl Cells {
    /// An element in wire form, by its number. Nothing may be added afterwards.
    pub(crate) fn element(&self, number: usize) -> Option<&[u8]> {
        let starts = self.starts.get_or_init(|| {
            let mut next = 0;
            let begin = |element: &[u8]| {
                let begin = next;
                next += element.len();
                begin
            };
            elements(&self.bytes).map(begin).collect()
        });
        let begin = self.bytes.get(*starts.get(number)?..)?;
        begin.get(..element_length(begin)?)
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a value. What [`Cell::check`] refuses never comes here; a time beyond the calendar would
    /// become infinite.
    pub(crate) fn push(&mut self, cell: &Cell<'_>) {
        match cell {
            Cell::Null => {
                self.nulls = true;
                self.count += 1;
                self.bytes.put_i32(-1);
            }
            Cell::Text(text) => self.push_bytes(text.as_bytes()),
            Cell::BigInt(number) => self.push_bytes(&number.to_be_bytes()),
            Cell::Int(number) => self.push_bytes(&number.to_be_bytes()),
            Cell::Bool(truth) => self.push_bytes(&[u8::from(*truth)]),
            Cell::Double(number) => self.push_bytes(&number.to_be_bytes()),
            Cell::Timestamp(time) => {
                let infinite = if *time < Timestamp::default() { i64::MIN } else { i64::MAX };
                self.push_bytes(&micros(*time).unwrap_or(infinite).to_be_bytes());
            }
            Cell::Date(date) => {
                let infinite = if date.as_days() < 0 { i32::MIN } else { i32::MAX };
                self.push_bytes(&days(*date).unwrap_or(infinite).to_be_bytes());
            }
        }
    }

    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        // What does not fit is beyond what a message can carry: sending it then fails.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.count += 1;
        self.bytes.put_i32(length);
        self.bytes.put_slice(bytes);
    }

    /// Adds an element that is in wire form already.
    pub(crate) fn push_element(&mut self, element: &[u8]) {
        const NULL: &[u8] = &(-1_i32).to_be_bytes();
        self.nulls |= element == NULL;
        self.count += 1;
        self.bytes.put_slice(element);
    }
}

/// Elements in wire form one behind the other, each with its length.
pub(crate) fn elements(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (element, rest) = bytes.split_at_checked(element_length(bytes)?)?;
        bytes = rest;
        Some(element)
    })
}

fn element_length(bytes: &[u8]) -> Option<usize> {
    let length = i32::from_be_bytes(*bytes.first_chunk::<4>()?);
    // A null has no bytes behind its length, which is -1.
    usize::try_from(length.max(0)).ok()?.checked_add(4)
}

/// An array parameter made of the cells of several batches.
#[derive(Debug)]
pub(crate) struct Array<'a> {
    kind: Kind,
    parts: Vec<&'a Cells>,
}

impl<'a> Array<'a> {
    pub(crate) fn new(kind: Kind, parts: impl IntoIterator<Item = &'a Cells>) -> Self {
        Self { kind, parts: parts.into_iter().collect() }
    }

    /// Writes the array in wire form.
    pub(crate) fn write(
        kind: Kind,
        parts: &[&Cells],
        out: &mut BytesMut,
    ) -> Result<(), Box<dyn StdError + Sync + Send>> {
        let count: usize = parts.iter().map(|cells| cells.count).sum();
        out.put_i32(i32::from(count > 0));
        out.put_i32(i32::from(parts.iter().any(|cells| cells.nulls)));
        out.put_u32(kind.scalar().oid());
        if count > 0 {
            out.put_i32(i32::try_from(count)?);
            out.put_i32(1);
        }
        for cells in parts {
            out.extend_from_slice(&cells.bytes);
        }
        Ok(())
    }
}

impl ToSql for Array<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        Array::write(self.kind, &self.parts, out)?;
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_and_what_postgres_cannot_hold_is_refused() {
        for ms in [-62_135_596_800_000, -1, 0, 1_705_314_600_042, 253_402_300_799_999] {
            let time = Timestamp::from_millis(ms);
            assert_eq!(from_micros(micros(time).unwrap()), time);
        }
        for end in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(from_micros(micros(end).unwrap()), end);
        }
        let far = Cell::Timestamp(Timestamp::from_millis(i64::MAX - 1));
        assert!(far.check("at").unwrap_err().reason().contains("calendar"));
        assert!(Cell::Date(Date::from_days(i32::MAX)).check("day").is_err());
        assert!(Cell::Text("a\0b".into()).check("name").unwrap_err().reason().contains("U+0000"));
        assert!(Cell::Text("O'Brien\"; --한".into()).check("name").is_ok());
    }
}
