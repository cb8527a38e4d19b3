//! Values that a pipeline's own SQL takes and gives back.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use rtbflow::{Error, Result, Timestamp};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::postgres::cell::{Array, Cell, Cells, Kind, from_days, from_micros};
use crate::postgres::date::Date;

/// A parameter of a statement: one value, or an array for `unnest`.
///
/// ```
/// use rtbflow_sinks::postgres::Value;
///
/// let parameters: [Value; 3] =
///     ["advertiser_7".into(), vec![1_i64, 2, 3].into(), vec![Some(true), None].into()];
/// # let _ = parameters;
/// ```
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    One(Kind, Cell<'static>),
    Many(Kind, Cells),
}

impl Value {
    /// As the client takes it.
    pub(crate) fn parameter(&self) -> (&(dyn ToSql + Sync), Type) {
        (&self.0, self.kind())
    }

    /// As the client takes them.
    pub(crate) fn parameters(values: &[Self]) -> Vec<(&(dyn ToSql + Sync), Type)> {
        values.iter().map(Self::parameter).collect()
    }

    fn kind(&self) -> Type {
        match &self.0 {
            Repr::One(kind, _) => kind.scalar(),
            Repr::Many(kind, _) => kind.array(),
        }
    }

    /// The value, if it is one and not an array.
    pub(crate) fn one(&self) -> Option<&Cell<'static>> {
        match &self.0 {
            Repr::One(_, cell) => Some(cell),
            Repr::Many(..) => None,
        }
    }

    /// An array of this kind without elements.
    pub(crate) fn none_of(kind: Kind) -> Self {
        Self(Repr::Many(kind, Cells::default()))
    }

    /// An array of these values.
    pub fn array<V: Element>(values: impl IntoIterator<Item = V>) -> Self {
        let mut cells = Cells::default();
        for value in values {
            cells.push(&value.into_element().1);
        }
        Self(Repr::Many(V::none().0, cells))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Repr {
    /// Shows the type only: values may be anybody's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(kind, _) => f.write_str(kind.sql()),
            Self::Many(kind, cells) => write!(f, "{}[{}]", kind.sql(), cells.count()),
        }
    }
}

impl ToSql for Repr {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::One(_, Cell::Null) => return Ok(IsNull::Yes),
            Self::One(_, cell) => {
                let mut cells = Cells::default();
                cells.push(cell);
                out.extend_from_slice(cells.bytes().get(4..).unwrap_or_default());
            }
            Self::Many(kind, cells) => Array::write(*kind, &[cells], out)?,
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value that can be a parameter, or an element of an array parameter.
pub trait Element: sealed::Sealed {
    #[doc(hidden)]
    fn into_element(self) -> sealed::Typed;
    #[doc(hidden)]
    fn none() -> sealed::Typed;
}

/// A value that can be read from a [`Row`].
pub trait FromColumn: sealed::Sealed + Sized {
    #[doc(hidden)]
    fn from_column(found: &sealed::Typed) -> Option<Self>;
}

mod sealed {
    use super::{Cell, Kind};

    pub trait Sealed {}

    #[derive(Debug, Clone)]
    pub struct Typed(pub(super) Kind, pub(super) Cell<'static>);
}

use sealed::Typed;

macro_rules! element {
    ($($type:ty, $kind:ident, |$value:ident| $cell:expr;)+) => {$(
        impl sealed::Sealed for $type {}
        impl Element for $type {
            fn into_element(self) -> Typed {
                let $value = self;
                Typed(Kind::$kind, Cell::$kind($cell))
            }
            fn none() -> Typed {
                Typed(Kind::$kind, Cell::Null)
            }
        }
    )+};
}
element! {
    String, Text, |text| Cow::Owned(text);
    &str, Text, |text| Cow::Owned(text.to_owned());
    &String, Text, |text| Cow::Owned(text.clone());
    i64, BigInt, |number| number;
    i32, Int, |number| number;
    bool, Bool, |truth| truth;
    f64, Double, |number| number;
    Timestamp, Timestamp, |time| time;
    Date, Date, |date| date;
}

impl<V: sealed::Sealed> sealed::Sealed for Option<V> {}
impl<V: Element> Element for Option<V> {
    fn into_element(self) -> Typed {
        self.map_or_else(V::none, V::into_element)
    }
    fn none() -> Typed {
        V::none()
    }
}

impl<V: Element> From<V> for Value {
    fn from(value: V) -> Self {
        let Typed(kind, cell) = value.into_element();
        Self(Repr::One(kind, cell))
    }
}

impl<V: Element> From<Vec<V>> for Value {
    fn from(values: Vec<V>) -> Self {
        Self::array(values)
    }
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
            Error::config(format!("read column {column:?}: the answer has {:?}", self.columns))
        })?;
        self.cells.get(at).and_then(V::from_column).ok_or_else(|| {
            let found = self.cells.get(at).map_or("nothing", |Typed(kind, cell)| {
                if cell.is_null() { "null" } else { kind.sql() }
            });
            Error::config(format!(
                "read column {column:?} as {}: it holds {found}",
                std::any::type_name::<V>()
            ))
        })
    }
}

/// A value as it comes from the server.
struct Found(Typed);

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
