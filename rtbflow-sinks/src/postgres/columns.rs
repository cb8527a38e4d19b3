//! The columns of a sink: their names, their types and where their values come from.

use rtbflow::epoch::RefusedResult;
use rtbflow::{BadRecord, Error, Record};

use crate::postgres::cell::{Cell, Kind};
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

/// Columns, in order, and what is wrong with them.
pub(crate) struct Columns<T> {
    pub(crate) list: Vec<Column<T>>,
    /// Columns filled by an expression of the server's: quoted name and expression.
    pub(crate) computed: Vec<(String, &'static str)>,
    wrong: Vec<String>,
}

impl<T> Columns<T> {
    pub(crate) fn new() -> Self {
        Self { list: Vec::new(), computed: Vec::new(), wrong: Vec::new() }
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
            let twice = Error::config(format!(
                "name the columns of a sink for Postgres: {name:?} is named twice; leave one out"
            ));
            return self.keep_error(Err(twice));
        }
        Some(quoted)
    }

    /// Keeps an error, for [`validate`](Self::validate).
    pub(crate) fn keep_error<V>(&mut self, result: rtbflow::Result<V>) -> Option<V> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong.push(error.report());
                None
            }
        }
    }

    /// Whether nothing is wrong with them.
    ///
    /// # Errors
    /// With all that is.
    pub(crate) fn validate(&self) -> rtbflow::Result<()> {
        Error::all(self.wrong.iter().map(|wrong| Err(Error::config(wrong))))
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
