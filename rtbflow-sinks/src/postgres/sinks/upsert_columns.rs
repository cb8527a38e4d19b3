//! The typed methods of an upsert: the columns of its key, and those that are set, added to, or keep the greatest or the
//! least.

use rtbflow::Timestamp;

use crate::postgres::cell::{Cell, Kind};
use crate::postgres::date::Date;
use crate::postgres::sinks::upsert::Upsert;
use crate::postgres::totals::ColumnFold;

macro_rules! key_columns {
    ($($method:ident $type:ident $kind:ident $doc:literal;)+) => {$(
        #[doc = $doc]
        #[must_use]
        pub fn $method(
            mut self,
            name: &str,
            key: impl Fn(&T) -> $type + Send + 'static,
        ) -> Self {
            self.keys.add(name, Kind::$kind, move |record| Cell::$kind(key(&record.value)));
            self
        }
    )+};
}

macro_rules! folded_columns {
    ($($method:ident $type:ident $kind:ident $fold:ident $doc:literal;)+) => {$(
        #[doc = $doc]
        #[must_use]
        pub fn $method<V: Into<Option<$type>>>(
            self,
            name: &str,
            value: impl Fn(&T) -> V + Send + 'static,
        ) -> Self {
            self.folded(name, Kind::$kind, ColumnFold::$fold, move |record| {
                value(&record.value).into().map_or(Cell::Null, Cell::$kind)
            })
        }
    )+};
}

impl<T: 'static> Upsert<T> {
    /// A text column of the key, of a reference into the value.
    #[must_use]
    pub fn key_text<V: AsRef<str> + ?Sized + 'static>(
        mut self,
        name: &str,
        key: impl for<'a> Fn(&'a T) -> &'a V + Send + 'static,
    ) -> Self {
        self.keys
            .add(name, Kind::Text, move |record| Cell::Text(key(&record.value).as_ref().into()));
        self
    }

    key_columns! {
        key_bigint i64 BigInt "A `bigint` column of the key.";
        key_int i32 Int "An `int` column of the key.";
        key_timestamp Timestamp Timestamp "A `timestamptz` column of the key.";
        key_date Date Date "A `date` column of the key.";
    }

    /// Sets a text column, of a reference into the value.
    #[must_use]
    pub fn set_text<V: AsRef<str> + ?Sized + 'static>(
        self,
        name: &str,
        value: impl for<'a> Fn(&'a T) -> &'a V + Send + 'static,
    ) -> Self {
        self.folded(name, Kind::Text, ColumnFold::Set, move |record| {
            Cell::Text(value(&record.value).as_ref().into())
        })
    }

    /// Sets a text column that may be null.
    #[must_use]
    pub fn set_opt_text<V: AsRef<str> + ?Sized + 'static>(
        self,
        name: &str,
        value: impl for<'a> Fn(&'a T) -> Option<&'a V> + Send + 'static,
    ) -> Self {
        self.folded(name, Kind::Text, ColumnFold::Set, move |record| {
            value(&record.value).map_or(Cell::Null, |text| Cell::Text(text.as_ref().into()))
        })
    }

    folded_columns! {
        set_bigint i64 BigInt Set "Sets a `bigint` column; may be null.";
        set_int i32 Int Set "Sets an `int` column; may be null.";
        set_bool bool Bool Set "Sets a `boolean` column; may be null.";
        set_double f64 Double Set "Sets a `double precision` column; may be null.";
        set_timestamp Timestamp Timestamp Set "Sets a `timestamptz` column; may be null.";
        set_date Date Date Set "Sets a `date` column; may be null.";
        max i64 BigInt Max "Keeps the greatest number; null counts for nothing.";
        min i64 BigInt Min "Keeps the least number; null counts for nothing.";
        max_timestamp Timestamp Timestamp Max "Keeps the latest time; null counts for nothing.";
        min_timestamp Timestamp Timestamp Min "Keeps the earliest time; null counts for nothing.";
    }

    /// Adds to a number; a row that is not there, or holds null, counts as 0.
    #[must_use]
    pub fn add(self, name: &str, value: impl Fn(&T) -> i64 + Send + 'static) -> Self {
        self.folded(name, Kind::BigInt, ColumnFold::Add, move |record| {
            Cell::BigInt(value(&record.value))
        })
    }

    /// Adds to a `double precision` number; a row that is not there, or holds null, counts as 0.
    #[must_use]
    pub fn add_double(self, name: &str, value: impl Fn(&T) -> f64 + Send + 'static) -> Self {
        self.folded(name, Kind::Double, ColumnFold::Add, move |record| {
            Cell::Double(value(&record.value))
        })
    }

    /// Sets a column to the time of the transaction.
    #[must_use]
    pub fn now(mut self, name: &str) -> Self {
        self.values.compute(name, "now()");
        self
    }
}
