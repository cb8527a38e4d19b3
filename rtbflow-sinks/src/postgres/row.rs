//! Rows that a pipeline's own SQL gives back.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::Arc;

use rtbflow::{Error, Result, Timestamp};
use tokio_postgres::types::{FromSql, Type};

use crate::postgres::calendar::{from_days, from_micros};
use crate::postgres::cell::{Cell, Kind};
use crate::postgres::date::Date;
use crate::postgres::value::sealed::{self, Typed};

/// A value that can be read from a [`Row`].
pub trait FromColumn: sealed::Sealed + Sized {
    #[doc(hidden)]
    fn from_column(found: &sealed::Typed) -> Option<Self>;
}

macro_rules! from_column {
    ($($type:ty, $pattern:pat => $value:expr;)+) => {$(
        impl FromColumn for $type {
            fn from_column(found: &Typed) -> Option<Self> {
                match &found.1 {
                    $pattern => $value,
                    _ => None,
                }
            }
        }
    )+};
}
from_column! {
    String, Cell::Text(text) => Some(text.clone().into_owned());
    i64, Cell::BigInt(number) => Some(*number);
    // A number that does not fit is none of this type, as text is none.
    i32, Cell::BigInt(number) => i32::try_from(*number).ok();
    bool, Cell::Bool(truth) => Some(*truth);
    f64, Cell::Double(number) => Some(*number);
    Timestamp, Cell::Timestamp(time) => Some(*time);
    Date, Cell::Date(date) => Some(*date);
}

impl<V: FromColumn> FromColumn for Option<V> {
    fn from_column(found: &Typed) -> Option<Self> {
        if found.1.is_null() { Some(None) } else { V::from_column(found).map(Some) }
    }
}

/// A row that a statement returned.
#[derive(Debug, Clone)]
pub struct Row {
    columns: Arc<[String]>,
    cells: Vec<Typed>,
}

impl Row {
    /// The rows of an answer; `statement` is for the message when a column's type is not known here.
    pub(crate) fn of(answer: &[tokio_postgres::Row]) -> Result<Vec<Self>> {
        // Without rows there is nothing to name the columns of.
        let Some(first) = answer.first() else { return Ok(Vec::new()) };
        let columns: Arc<[String]> =
            first.columns().iter().map(|column| column.name().to_owned()).collect();
        let cells = |row: &tokio_postgres::Row| {
            (0..row.len())
                .map(|at| {
                    row.try_get::<_, Found>(at).map(|found| found.0).map_err(|error| {
                        let name = columns.get(at).map_or("?", String::as_str);
                        let kind = row.columns().get(at).map_or("?", |column| column.type_().name());
                        Error::config(format!(
                            "read column {name:?} of type {kind}: cast it to text, bigint, int, boolean, \
                             double precision, timestamptz or date"
                        ))
                        .because(error.to_string())
                    })
                })
                .collect::<Result<Vec<_>>>()
        };
        answer
            .iter()
            .map(|row| Ok(Self { columns: Arc::clone(&columns), cells: cells(row)? }))
            .collect()
    }

    /// The value of a column; an [`Option`] where it may be null.
    ///
    /// # Errors
    /// If there is no such column, or if it holds another type, or null.
    pub fn get<V: FromColumn>(&self, column: &str) -> Result<V> {
        let at = self.columns.iter().position(|name| name == column).ok_or_else(|| {
            Error::config(format!(
                "read column {column:?} of a row: the statement returns {:?}; name the column there",
                self.columns
            ))
        })?;
        self.cells.get(at).and_then(V::from_column).ok_or_else(|| {
            let found = self.cells.get(at).map_or("nothing", |Typed(kind, cell)| {
                if cell.is_null() { "null" } else { kind.sql() }
            });
            Error::config(format!(
                "read column {column:?} of a row as {}: it holds {found}; read it as that, or cast it in the statement",
                std::any::type_name::<V>()
            ))
        })
    }
}

/// A value as it comes from the server.
pub(crate) struct Found(pub(crate) Typed);

impl<'a> FromSql<'a> for Found {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let typed = |kind, cell| Ok(Self(Typed(kind, cell)));
        match *kind {
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
                typed(Kind::Text, Cell::Text(Cow::Owned(std::str::from_utf8(raw)?.to_owned())))
            }
            Type::INT8 => typed(Kind::BigInt, Cell::BigInt(i64::from_sql(kind, raw)?)),
            Type::INT4 => typed(Kind::BigInt, Cell::BigInt(i32::from_sql(kind, raw)?.into())),
            Type::INT2 => typed(Kind::BigInt, Cell::BigInt(i16::from_sql(kind, raw)?.into())),
            Type::BOOL => typed(Kind::Bool, Cell::Bool(bool::from_sql(kind, raw)?)),
            Type::FLOAT8 => typed(Kind::Double, Cell::Double(f64::from_sql(kind, raw)?)),
            Type::FLOAT4 => typed(Kind::Double, Cell::Double(f32::from_sql(kind, raw)?.into())),
            Type::TIMESTAMPTZ => {
                let micros = i64::from_be_bytes(raw.try_into()?);
                typed(Kind::Timestamp, Cell::Timestamp(from_micros(micros)))
            }
            Type::DATE => {
                let days = i32::from_be_bytes(raw.try_into()?);
                typed(Kind::Date, Cell::Date(from_days(days)))
            }
            _ => Err("a type that has no counterpart".into()),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(Typed(Kind::Text, Cell::Null)))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
