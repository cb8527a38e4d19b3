//! What a sink hands over to the committer.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use futures::future::BoxFuture;
use rtbflow::epoch::{Anchor as _, RefusedResult};
use rtbflow::sink::{Place, Staged, StagedRows};
use rtbflow::{Error, Origin, Result};

use crate::postgres::cell::Kind;
use crate::postgres::columns::Columns;
use crate::postgres::identifier::plain;
use crate::postgres::json;
use crate::postgres::needs::{Need, NeededTable, Needs};
use crate::postgres::place::Postgres;
use crate::postgres::rows::ColumnarRows;
use crate::postgres::totals::{Totals, TotalsPlan};
use crate::postgres::transaction::Transaction;
use crate::postgres::value::Value;

/// What a sink has staged for one epoch.
pub(crate) enum SinkBatch {
    /// Rows, written by a statement that takes one array per column.
    Rows(Arc<RowsPlan>, ColumnarRows),
    /// Changes of rows, one per key.
    Totals(Arc<TotalsPlan>, Totals),
    /// Records for a function of the pipeline's own.
    Own(usize, Arc<dyn Work>),
}

impl StagedRows for SinkBatch {
    fn origin(&self, row: usize) -> Option<Origin> {
        match self {
            Self::Rows(_, rows) => rows.origins.get(row).copied().flatten(),
            Self::Totals(_, totals) => totals.origin(row),
            Self::Own(_, work) => work.origin(row),
        }
    }

    fn result(&self, row: usize) -> RefusedResult {
        match self {
            Self::Rows(plan, rows) => {
                let columns = plan.names.iter().map(String::as_str).zip(plan.kinds.iter().copied());
                json::wire_row(columns, rows.row(row))
            }
            Self::Totals(plan, totals) => totals.result(plan, row),
            Self::Own(_, work) => work.result(row),
        }
    }
}

impl SinkBatch {
    /// Whether its sink was put together rightly. A job asks the sink before anything is read; whoever drives a sink by
    /// hand may not, and must not find rows without a column that was named twice.
    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = match self {
            Self::Rows(plan, _) => plan.wrong.as_ref(),
            Self::Totals(plan, _) => plan.wrong.as_ref(),
            Self::Own(..) => None,
        };
        wrong.map_or(Ok(()), |wrong| Err(Error::config(wrong)))
    }

    /// Where its statement stands among those of a commit, the same in every commit of every instance.
    pub(crate) fn order(&self) -> (usize, &str) {
        match self {
            Self::Rows(plan, _) => (plan.rank, &plan.sql),
            Self::Totals(plan, _) => (plan.rank, &plan.sql),
            Self::Own(rank, work) => (*rank, work.name()),
        }
    }

    pub(crate) fn staged(self, place: Place, rows: usize) -> Staged {
        Staged::new(place, rows, self)
    }
}

/// How rows are written.
pub(crate) struct RowsPlan {
    pub(crate) rank: usize,
    pub(crate) sql: String,
    pub(crate) names: Vec<String>,
    pub(crate) kinds: Vec<Kind>,
    /// What it does, for messages.
    pub(crate) attempted: String,
    /// What is wrong with the sink: its rows are not written.
    pub(crate) wrong: Option<String>,
}

/// Gathers rows for a statement.
pub(crate) struct RowsStage<T> {
    pub(crate) place: Place,
    pub(crate) rank: usize,
    pub(crate) needs: Needs,
    pub(crate) columns: Columns<T>,
    pub(crate) rows: ColumnarRows,
    pub(crate) plan: Option<Arc<RowsPlan>>,
}

impl<T> RowsStage<T> {
    pub(crate) fn new(postgres: &Postgres, name: &str) -> Self {
        Self {
            place: postgres.place(),
            rank: postgres.rank(name),
            needs: postgres.needs(),
            columns: Columns::new(),
            rows: ColumnarRows::default(),
            plan: None,
        }
    }

    /// Whether the sink is put together rightly; then its statement, and the table if it is one's, are
    /// looked at before anything is read.
    pub(crate) fn validate(
        &self,
        attempted: &str,
        sql: impl FnOnce(&Columns<T>) -> String,
        table: Option<&str>,
    ) -> Result<()> {
        self.columns.validate()?;
        let columns = || self.columns.list.iter();
        // Planned with empty arrays: the types decide, and not the values.
        let parameters = columns().map(|column| Value::none_of(column.kind)).collect();
        let table = table.map(|quoted| NeededTable {
            quoted: quoted.to_owned(),
            columns: columns()
                .map(|column| (column.name.clone(), Some(column.kind)))
                .chain(self.columns.computed.iter().map(|(quoted, _)| (plain(quoted), None)))
                .collect(),
        });
        let need = Need {
            attempted: attempted.to_owned(),
            table,
            statements: vec![(sql(&self.columns), parameters)],
            oldest: None,
        };
        self.needs.note(self.rank, need);
        Ok(())
    }

    /// Hands the rows over; `sql` makes the statement when it is needed for the first time.
    pub(crate) fn stage(
        &mut self,
        out: &mut Vec<Staged>,
        attempted: impl FnOnce() -> String,
        sql: impl FnOnce(&Columns<T>) -> String,
    ) {
        let rows = std::mem::take(&mut self.rows);
        let count = rows.count();
        // An epoch without rows needs no statement.
        if count == 0 {
            return;
        }
        // Once for all epochs: the columns do not change any more.
        let plan = self.plan.get_or_insert_with(|| {
            Arc::new(RowsPlan {
                rank: self.rank,
                sql: sql(&self.columns),
                names: self.columns.list.iter().map(|column| column.name.clone()).collect(),
                kinds: self.columns.list.iter().map(|column| column.kind).collect(),
                attempted: attempted(),
                wrong: self.columns.validate().err().map(|error| error.report()),
            })
        });
        out.push(SinkBatch::Rows(Arc::clone(plan), rows).staged(self.place, count));
    }
}

/// `unnest($1::text[], $2::bigint[]) as u(c1, c2)`: the rows that arrays as parameters make.
pub(crate) fn unnest(kinds: &[Kind]) -> String {
    let arrays: Vec<String> =
        kinds.iter().zip(1..).map(|(kind, at)| format!("${at}::{}[]", kind.sql())).collect();
    let names: Vec<String> = (1..=kinds.len()).map(|at| format!("c{at}")).collect();
    format!("unnest({}) as u({})", arrays.join(", "), names.join(", "))
}

/// Records together with the function that they are for. Their numbers are those below `count`.
pub(crate) trait Work: Any + Send + Sync {
    fn name(&self) -> &str;

    /// How many records there are.
    fn count(&self) -> usize;

    /// Where a record was read.
    fn origin(&self, record: usize) -> Option<Origin>;

    /// A record as a dead letter carries it.
    fn result(&self, record: usize) -> RefusedResult;

    /// Runs the function over these records, which came from sinks of the same place in the pipeline.
    fn run<'a>(&'a self, tx: &'a Transaction<'a>, all: &[Part<'a>]) -> BoxFuture<'a, Result<()>>;

    fn as_any(&self) -> &dyn Any;
}

/// Some of the records of an epoch.
pub(crate) struct Part<'a> {
    pub(crate) work: &'a dyn Work,
    /// Which, by their numbers.
    pub(crate) ranges: Vec<Range<usize>>,
}
