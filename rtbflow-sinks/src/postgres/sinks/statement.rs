//! Runs a statement of the pipeline's own over the records of an epoch.

use std::fmt;

use rtbflow::epoch::RefusedResult;
use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::{BadRecord, Record, Result, Timestamp};

use crate::postgres::batch::RowsStage;
use crate::postgres::cell::{Cell, Kind};
use crate::postgres::date::Date;
use crate::postgres::place::Postgres;
use crate::postgres::plain_columns::plain_columns;
use crate::postgres::transaction::statement_is_plain;

impl Postgres {
    /// Runs one SQL statement over the records of an epoch: its parameters are arrays, one per column in
    /// the order in which they are added, each as long as there are records. `name` stands in messages.
    /// Where one statement does not do, [`transact`](Self::transact) takes a function.
    ///
    /// # Time and state
    /// Some thousand records go into one run of the statement, more into several, all in the transaction
    /// that commits the epoch.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    ///
    /// # Examples
    /// ```
    /// use rtbflow::sink::Sink;
    /// use rtbflow_sinks::postgres::Postgres;
    ///
    /// let postgres = Postgres::connect_to("postgres://rtb@localhost/rtb").build()?;
    /// let pause = postgres
    ///     .statement(
    ///         "pause campaigns",
    ///         "update campaigns c set status = 'PAUSED' from unnest($1::text[]) as u(id)
    ///          where c.campaign_id = u.id and c.status = 'ACTIVE'",
    ///     )
    ///     .text("id", |campaign: &String| campaign);
    /// assert_eq!(pause.pending(), 0);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    #[must_use]
    pub fn statement<T>(&self, name: &str, sql: &str) -> Statement<T> {
        let mut stage = RowsStage::new(self, &format!("statement {name}"));
        stage.columns.keep_error(statement_is_plain(sql));
        Statement { stage, name: name.to_owned(), sql: sql.to_owned() }
    }
}

/// The sink behind [`Postgres::statement`].
pub struct Statement<T> {
    stage: RowsStage<T>,
    name: String,
    sql: String,
}

plain_columns!(Statement, stage);

impl<T: 'static> Sink<T> for Statement<T> {
    fn check(&self, record: &Record<T>) -> Result<(), BadRecord> {
        self.stage.columns.check(record)
    }

    fn write(&mut self, record: &Record<T>) {
        self.stage.rows.push(&self.stage.columns.list, record);
    }

    fn pending(&self) -> usize {
        self.stage.rows.count()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        let (name, sql) = (&self.name, &self.sql);
        self.stage.stage(out, || name.clone(), |_| sql.clone());
    }

    fn result(&self, record: &Record<T>) -> RefusedResult {
        self.stage.columns.result(record)
    }

    fn validate(&self) -> Result<()> {
        self.stage.validate(&self.name, |_| self.sql.clone(), None)
    }

    fn places(&self) -> Vec<Place> {
        vec![self.stage.place]
    }
}

impl<T> fmt::Debug for Statement<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statement({}, {} records)", self.name, self.stage.rows.count())
    }
}
