//! Values that a pipeline's own SQL takes.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use bytes::BytesMut;
use rtbflow::{Result, Timestamp};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::postgres::cell::{Cell, Kind};
use crate::postgres::cells::{Array, Cells};
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
    pub fn array<V: Scalar>(values: impl IntoIterator<Item = V>) -> Self {
        let mut cells = Cells::default();
        for value in values {
            cells.push(&value.into_element().1);
        }
        // By the type and not by the values, of which there may be none.
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
                cells.check()?;
                // Without the length before it, which the client writes itself.
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
pub trait Scalar: sealed::Sealed {
    #[doc(hidden)]
    fn into_element(self) -> sealed::Typed;
    #[doc(hidden)]
    fn none() -> sealed::Typed;
}

pub(super) mod sealed {
    use super::{Cell, Kind};

    pub trait Sealed {}

    #[derive(Debug, Clone)]
    pub struct Typed(pub(crate) Kind, pub(crate) Cell<'static>);
}

use sealed::Typed;

macro_rules! element {
    ($($type:ty, $kind:ident, |$value:ident| $cell:expr;)+) => {$(
        impl sealed::Sealed for $type {}
        impl Scalar for $type {
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
impl<V: Scalar> Scalar for Option<V> {
    fn into_element(self) -> Typed {
        self.map_or_else(V::none, V::into_element)
    }
    fn none() -> Typed {
        V::none()
    }
}

impl<V: Scalar> From<V> for Value {
    fn from(value: V) -> Self {
        let Typed(kind, cell) = value.into_element();
        Self(Repr::One(kind, cell))
    }
}

impl<V: Scalar> From<Vec<V>> for Value {
    fn from(values: Vec<V>) -> Self {
        Self::array(values)
    }
}
