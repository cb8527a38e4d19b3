//! The columns of a sink: their names, their types and where their values come from.

use rtbflow::epoch::RefusedResult;
use rtbflow::{BadRecord, Error, Origin, Record};

use crate::postgres::cell::{Cell, Cells, Kind};
use crate::postgres::{identifier, json};

/// Gives the value of one column of a record.
pub(crate) type Accessor<T> = Box<dyn for<'a> Fn(&'a Record<T>) -> Cell<'a> + Send>;

/// One column.
pub(crate) struct Column<T> {
    /// As the pipeline wrote it.
    pub(crate) name: String,
    /// Quoted.
    pub(crate) quoted: String,
    pub(crate) kind: Kind,
    pub(crate) cell: Accessor<T>,
}

/// Columns, in order, and the first thing that was wrong with them.
pub(crate) struct Columns<T> {
    pub(crate) list: Vec<Column<T>>,
    /// Columns filled by an expression of the server's: quoted name and expression.
    pub(crate) computed: Vec<(String, &'static str)>,
    pub(crate) wrong: Option<Error>,
}

impl<T> Columns<T> {
    pub(crate) fn new() -> Self {
        Self { list: Vec::new(), computed: Vec::new(), wrong: None }
    }

    pub(crate) fn add(
        &mut self,
        name: &str,
        kind: Kind,
        cell: impl for<'a> Fn(&'a Record<T>) -> Cell<'a> + Send + 'static,
    ) {
        if let Some(quoted) = self.quoted(name) {
            let cell = Box::new(cell);
            self.list.push(Column { name: name.to_owned(), quoted, kind, cell });
        }
    }

    /// A column filled by an expression of the server's.
    pub(crate) fn compute(&mut self, name: &str, expression: &'static str) {
        if let Some(quoted) = self.quoted(name) {
            self.computed.push((quoted, expression));
        }
    }

    fn quoted(&mut self, name: &str) -> Option<String> {
        let quoted = self.keep_error(identifier::column(name))?;
        let taken = self.list.iter().map(|column| &column.quoted);
        if taken.chain(self.computed.iter().map(|(quoted, _)| quoted)).any(|have| *have == quoted) {
            let twice = Error::config(format!("write column {name:?}: it is given twice"));
            return self.keep_error(Err(twice));
        }
        Some(quoted)
    }

    /// Keeps the first error, which the sink's first batch then carries to the committer.
    pub(crate) fn keep_error<V>(&mut self, result: rtbflow::Result<V>) -> Option<V> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong.get_or_insert(error);
                None
            }
        }
    }

    /// The record's row as a dead letter carries it.
    pub(crate) fn result(&self, record: &Record<T>) -> RefusedResult {
        json::row(self.list.iter().map(|column| (&*column.name, (column.cell)(record))))
    }

    pub(crate) fn check(&self, record: &Record<T>) -> Result<(), BadRecord> {
        self.list
            .iter()
            .filter(|column| column.kind.needs_check())
            .try_for_each(|column| (column.cell)(record).check(&column.name))
    }
}

/// Rows in columnar form, in pieces of bounded size.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) pieces: Vec<Piece>,
    /// Where the record of each row was read.
    pub(crate) origins: Vec<Option<Origin>>,
}

/// Some thousand rows, column by column.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) columns: Vec<Cells>,
    pub(crate) rows: usize,
}

impl Piece {
    /// Rows and bytes after which the next piece begins: small enough for the server's memory, large
    /// enough that a statement costs nothing beside its rows.
    const MOST_ROWS: usize = 8192;
    const MOST_BYTES: usize = 4 << 20;

    fn pick(&self, rows: impl Iterator<Item = usize> + Clone) -> Self {
        let column = |cells: &Cells| {
            let mut picked = Cells::default();
            rows.clone()
                .filter_map(|row| cells.element(row))
                .for_each(|element| picked.push_element(element));
            picked
        };
        Self { columns: self.columns.iter().map(column).collect(), rows: rows.clone().count() }
    }

    fn bytes(&self) -> usize {
        self.columns.iter().map(|cells| cells.bytes().len()).sum()
    }

    fn is_full(&self) -> bool {
        // The bytes are summed up now and then only: a row is small beside a piece.
        self.rows >= Self::MOST_ROWS
            || (self.rows.is_multiple_of(64) && self.bytes() >= Self::MOST_BYTES)
    }
}

impl Rows {
    pub(crate) fn push<T>(&mut self, columns: &[Column<T>], record: &Record<T>) {
        if self.pieces.last().is_none_or(Piece::is_full) {
            let columns = columns.iter().map(|_| Cells::default()).collect();
            self.pieces.push(Piece { columns, rows: 0 });
        }
        let Some(piece) = self.pieces.last_mut() else { return };
        for (column, cells) in columns.iter().zip(&mut piece.columns) {
            cells.push(&(column.cell)(record));
        }
        piece.rows += 1;
        self.origins.push(record.origin);
    }

    pub(crate) fn count(&self) -> usize {
        self.origins.len()
    }

    /// These rows alone, by their numbers, ascending.
    pub(crate) fn pick(&self, rows: &[usize]) -> Self {
        let mut picked = Self::default();
        let (mut first, mut rows) = (0, rows);
        for piece in &self.pieces {
            let end = first + piece.rows;
            let (here, behind) = rows.split_at(rows.partition_point(|row| *row < end));
            if !here.is_empty() {
                picked.pieces.push(piece.pick(here.iter().map(|row| row - first)));
            }
            picked.origins.extend(here.iter().map(|row| self.origins.get(*row).copied().flatten()));
            (first, rows) = (end, behind);
        }
        picked
    }

    /// The elements of a row, in wire form.
    pub(crate) fn row(&self, mut row: usize) -> Vec<&[u8]> {
        for piece in &self.pieces {
            if row < piece.rows {
                let columns = piece.columns.iter();
                return columns.filter_map(|cells| cells.element(row)).collect();
            }
            row -= piece.rows;
        }
        Vec::new()
    }
}

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
