//! The typed methods of sinks whose every column is a plain value.

/// The typed methods of a sink whose every column is a plain value. `$stage` is its
/// [`RowsStage`](crate::postgres::batch::RowsStage).
macro_rules! plain_columns {
    ($sink:ident, $stage:ident) => {
        impl<T: 'static> $sink<T> {
            /// A text column, of a reference into the value.
            #[must_use]
            pub fn text<V: AsRef<str> + ?Sized + 'static>(
                mut self,
                name: &str,
                value: impl for<'a> Fn(&'a T) -> &'a V + Send + 'static,
            ) -> Self {
                self.$stage.columns.add(name, Kind::Text, move |record| {
                    Cell::Text(value(&record.value).as_ref().into())
                });
                self
            }

            /// A text column that may be null.
            #[must_use]
            pub fn opt_text<V: AsRef<str> + ?Sized + 'static>(
                mut self,
                name: &str,
                value: impl for<'a> Fn(&'a T) -> Option<&'a V> + Send + 'static,
            ) -> Self {
                self.$stage.columns.add(name, Kind::Text, move |record| {
                    value(&record.value).map_or(Cell::Null, |text| Cell::Text(text.as_ref().into()))
                });
                self
            }

            /// A text column that is made for the row, such as by `format!`; may be null.
            #[must_use]
            pub fn made_text<V: Into<Option<String>>>(
                mut self,
                name: &str,
                value: impl Fn(&T) -> V + Send + 'static,
            ) -> Self {
                self.$stage.columns.add(name, Kind::Text, move |record| {
                    value(&record.value).into().map_or(Cell::Null, |text| Cell::Text(text.into()))
                });
                self
            }

            plain_columns!($stage bigint i64 BigInt "A `bigint` column; may be null.");
            plain_columns!($stage int i32 Int "An `int` column; may be null.");
            plain_columns!($stage bool bool Bool "A `boolean` column; may be null.");
            plain_columns!($stage double f64 Double "A `double precision` column; may be null.");
            plain_columns!($stage timestamp Timestamp Timestamp
                "A `timestamptz` column; may be null. The ends of time are written as ±infinity.");
            plain_columns!($stage date Date Date "A `date` column; may be null.");

            /// The record's event time, in a `timestamptz` column.
            #[must_use]
            pub fn event_time(mut self, name: &str) -> Self {
                self.$stage.columns.add(name, Kind::Timestamp, |record| Cell::Timestamp(record.timestamp));
                self
            }

            /// Where the record was read: a text, an `int` and a `bigint` column, null for a record that
            /// was read nowhere.
            #[must_use]
            pub fn origin(mut self, topic: &str, partition: &str, offset: &str) -> Self {
                self.$stage.columns.add(topic, Kind::Text, |record| {
                    record.origin.map_or(Cell::Null, |origin| Cell::Text(origin.topic().into()))
                });
                self.$stage.columns.add(partition, Kind::Int, |record| {
                    record.origin.map_or(Cell::Null, |origin| Cell::Int(origin.partition().number))
                });
                self.$stage.columns.add(offset, Kind::BigInt, |record| {
                    record.origin.map_or(Cell::Null, |origin| Cell::BigInt(origin.offset()))
                });
                self
            }
        }
    };
    ($stage:ident $method:ident $type:ident $kind:ident $doc:literal) => {
        #[doc = $doc]
        #[must_use]
        pub fn $method<V: Into<Option<$type>>>(
            mut self,
            name: &str,
            value: impl Fn(&T) -> V + Send + 'static,
        ) -> Self {
            self.$stage.columns.add(name, Kind::$kind, move |record| {
                value(&record.value).into().map_or(Cell::Null, Cell::$kind)
            });
            self
        }
    };
}
pub(crate) use plain_columns;
