//! Runs a function of the pipeline's own inside the transaction that commits the epoch.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use rtbflow::epoch::{Anchor as _, RefusedResult};
use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::{Error, Origin, Record, Result};

use crate::postgres::batch::{Part, SinkBatch, Work};
use crate::postgres::needs::{Need, Needs};
use crate::postgres::place::Postgres;
use crate::postgres::settings::Version;
use crate::postgres::transaction::Transaction;
use crate::postgres::value::Value;

impl Postgres {
    /// Runs a function over the records of the epochs that a commit takes together, inside the
    /// transaction that moves their positions: for decisions that need what the tables hold, such as the
    /// total that an increment came to, or whether a record [repeats](Transaction::account) one that is
    /// there. `name` stands in messages and orders it among the other sinks.
    ///
    /// # Time and state
    /// Records are cloned and kept until their epoch commits. The function is called once per commit; if
    /// that fails it is called again, on the same records, more or fewer, so it must do nothing outside the
    /// transaction. If Postgres refuses what it does for the sake of a record, it is called with fewer and
    /// fewer of them, within savepoints, until the record is found: it becomes a dead letter. Rows of a table that other instances change as well are to be locked in one order,
    /// such as that of their keys.
    ///
    /// # Errors
    /// What the function returns. A transient error is tried again.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::sink::Sink;
    /// use rtbflow_sinks::postgres::Postgres;
    ///
    /// let postgres = Postgres::connect_to("postgres://rtb@localhost/rtb").build()?;
    /// let spends = postgres.transact("spend", |tx, batch: rtbflow_sinks::postgres::Records<'_, i64>| {
    ///     Box::pin(async move {
    ///         let spent: i64 = batch.values().sum();
    ///         let rows = tx
    ///             .query(
    ///                 "update budget set spent = spent + $1 returning spent >= daily as reached",
    ///                 &[spent.into()],
    ///             )
    ///             .await?;
    ///         for row in rows {
    ///             if row.get("reached")? {
    ///                 tx.execute("update campaigns set status = 'PAUSED'", &[]).await?;
    ///             }
    ///         }
    ///         Ok(())
    ///     })
    /// });
    /// assert_eq!(spends.pending(), 0);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    #[must_use]
    pub fn transact<T, F>(&self, name: &str, function: F) -> Transact<T, F>
    where
        T: Clone + Send + Sync + 'static,
        F: for<'a> Fn(&'a Transaction<'a>, Records<'a, T>) -> BoxFuture<'a, Result<()>>
            + Send
            + Sync
            + 'static,
    {
        Transact {
            place: self.place(),
            rank: self.rank(&format!("transact {name}")),
            name: name.into(),
            function: Arc::new(function),
            records: Vec::new(),
            needs: self.needs(),
            describe: None,
            need: Need { attempted: format!("run {name:?}"), ..Need::default() },
        }
    }
}

/// The sink behind [`Postgres::transact`].
pub struct Transact<T, F> {
    place: Place,
    rank: usize,
    name: Arc<str>,
    function: Arc<F>,
    records: Vec<Record<T>>,
    describe: Option<Describe<T>>,
    needs: Needs,
    need: Need,
}

impl<T, F> Transact<T, F> {
    /// Names a statement that the function will run, so that it is looked at before the job reads anything:
    /// missing tables, columns and rights are then found as the job starts. It is planned and not run;
    /// the parameters give the types.
    #[must_use]
    pub fn runs(mut self, sql: &str, parameters: &[Value]) -> Self {
        self.need.statements.push((sql.to_owned(), parameters.to_vec()));
        self
    }

    /// How a dead letter shows a value that was read nowhere, such as a window's result, and that Postgres
    /// refuses: the whole value, such as JSON. Without it such a dead letter carries the reason alone; one
    /// of a record that was read carries that record.
    #[must_use]
    pub fn described(mut self, describe: impl Fn(&T) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.describe = Some(Arc::new(describe));
        self
    }

    /// The oldest major version of Postgres, such as 11, that the function's statements work with: an older
    /// server is refused as the job starts.
    #[must_use]
    pub fn oldest_server(mut self, major: u32) -> Self {
        self.need.oldest = Some(Version::major(major));
        self
    }
}

impl<T, F> Sink<T> for Transact<T, F>
where
    T: Clone + Send + Sync + 'static,
    F: for<'a> Fn(&'a Transaction<'a>, Records<'a, T>) -> BoxFuture<'a, Result<()>>
        + Send
        + Sync
        + 'static,
{
    fn write(&mut self, record: &Record<T>) {
        self.records.push(record.clone());
    }

    fn pending(&self) -> usize {
        self.records.len()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        let records = std::mem::take(&mut self.records);
        let count = records.len();
        // Without records the function is not called.
        if count > 0 {
            let name = Arc::clone(&self.name);
            let (function, describe) = (Arc::clone(&self.function), self.describe.clone());
            let work = Own { name, function, describe, records };
            out.push(SinkBatch::Own(self.rank, Arc::new(work)).staged(self.place, count));
        }
    }

    fn validate(&self) -> Result<()> {
        self.needs.note(self.rank, self.need.clone());
        Ok(())
    }

    fn places(&self) -> Vec<Place> {
        vec![self.place]
    }
}

impl<T, F> fmt::Debug for Transact<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transact({}, {} records)", self.name, self.records.len())
    }
}

/// Records that a commit takes together, in the order in which each task saw its own.
pub struct Records<'a, T> {
    parts: Vec<&'a [Record<T>]>,
}

impl<'a, T> Records<'a, T> {
    /// The records.
    pub fn iter(&self) -> impl Iterator<Item = &'a Record<T>> + Clone + use<'a, T> {
        self.parts.clone().into_iter().flatten()
    }

    /// The records' values.
    pub fn values(&self) -> impl Iterator<Item = &'a T> {
        self.iter().map(|record| &record.value)
    }

    /// How many there are; never 0.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> fmt::Debug for Records<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({})", self.len())
    }
}

impl<'a> Part<'a> {
    /// The records, if they are for this function.
    fn records<T, F>(&self) -> Option<impl Iterator<Item = &'a [Record<T>]>>
    where
        Own<T, F>: Work,
    {
        let own = self.work.as_any().downcast_ref::<Own<T, F>>()?;
        // Ranges are of numbers below `count`.
        Some(self.ranges.iter().filter_map(|range| own.records.get(range.clone())))
    }
}

type Describe<T> = Arc<dyn Fn(&T) -> Vec<u8> + Send + Sync>;

struct Own<T, F> {
    name: Arc<str>,
    function: Arc<F>,
    describe: Option<Describe<T>>,
    records: Vec<Record<T>>,
}

impl<T, F> Work for Own<T, F>
where
    T: Send + Sync + 'static,
    F: for<'a> Fn(&'a Transaction<'a>, Records<'a, T>) -> BoxFuture<'a, Result<()>>
        + Send
        + Sync
        + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn count(&self) -> usize {
        self.records.len()
    }

    fn origin(&self, record: usize) -> Option<Origin> {
        self.records.get(record)?.origin
    }

    fn result(&self, record: usize) -> RefusedResult {
        // Without a description the reason is all that a dead letter has.
        let described = self.describe.as_ref().zip(self.records.get(record));
        described.map_or_else(RefusedResult::default, |(describe, record)| {
            RefusedResult::new(describe(&record.value))
        })
    }

    fn run<'a>(&'a self, tx: &'a Transaction<'a>, all: &[Part<'a>]) -> BoxFuture<'a, Result<()>> {
        let mut parts = Vec::new();
        for part in all {
            // Gathered by its name alone: it may be a function of another type.
            let Some(records) = part.records::<T, F>() else {
                return Box::pin(std::future::ready(Err(Error::config(format!(
                    "run {:?} in Postgres: two functions of the pipeline have this name; give each one of its own",
                    self.name
                )))));
            };
            parts.extend(records);
        }
        (self.function)(tx, Records { parts })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
