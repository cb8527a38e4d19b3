//! Inserts or changes the row of each record's key.

use std::fmt;
use std::sync::Arc;

use rtbflow::epoch::{Anchor as _, RefusedResult};
use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::{BadRecord, Error, Record, Result};

use crate::postgres::batch::{SinkBatch, unnest};
use crate::postgres::cell::{Cell, Kind};
use crate::postgres::columns::Columns;
use crate::postgres::needs::{Need, NeededTable, Needs};
use crate::postgres::place::Postgres;
use crate::postgres::totals::{ColumnFold, Totals, TotalsPlan};
use crate::postgres::value::Value;
use crate::postgres::{identifier, json};

impl Postgres {
    /// Inserts or changes the row of each record's key. For one row per record see
    /// [`insert`](Self::insert).
    ///
    /// Increments are exact under any number of instances: they are added to what the row holds at the
    /// moment of the commit, in the transaction that moves the positions.
    ///
    /// # Time and state
    /// The changes of an epoch are folded in memory to one per key; what was folded is kept until the commit,
    /// so that a record which the place refuses can be left out. A commit locks rows in the order of their
    /// keys, so that instances wait for each other but never in a circle; with two upserts into one table
    /// they may, and the server then ends one of them, which is tried again.
    ///
    /// # Errors
    /// As [`insert`](Self::insert). Of two additions of which only one fits into its column the first is
    /// taken.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::sink::Sink;
    /// use rtbflow::{Record, Timestamp};
    /// use rtbflow_sinks::postgres::Postgres;
    ///
    /// struct Charge {
    ///     advertiser_id: String,
    ///     price: i64,
    /// }
    ///
    /// let postgres = Postgres::connect_to("postgres://rtb@localhost/rtb").build()?;
    /// let mut balances = postgres
    ///     .upsert("advertiser_balances")
    ///     .key_text("advertiser_id", |charge: &Charge| &charge.advertiser_id)
    ///     .add("balance", |charge| -charge.price)
    ///     .now("updated_at");
    ///
    /// for price in [1200, 800] {
    ///     let charge = Charge { advertiser_id: "a1".into(), price };
    ///     balances.write(&Record::derived(charge, Timestamp::default()));
    /// }
    /// let mut staged = Vec::new();
    /// balances.stage(&mut staged);
    /// assert_eq!(staged[0].rows, 2, "what was folded into one row can be taken apart");
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    #[must_use]
    pub fn upsert<T>(&self, table: &str) -> Upsert<T> {
        let mut keys = Columns::new();
        // Without a name there is only the error: it is what the sink hands over.
        let quoted = keys.keep_error(identifier::table(table)).unwrap_or_default();
        Upsert {
            place: self.place(),
            rank: self.rank(&format!("upsert {table}")),
            needs: self.needs(),
            table: table.to_owned(),
            quoted,
            keys,
            values: Columns::new(),
            folds: Vec::new(),
            totals: Totals::default(),
            plan: None,
        }
    }
}

/// The sink behind [`Postgres::upsert`].
pub struct Upsert<T> {
    place: Place,
    rank: usize,
    needs: Needs,
    table: String,
    quoted: String,
    pub(super) keys: Columns<T>,
    pub(super) values: Columns<T>,
    folds: Vec<ColumnFold>,
    totals: Totals,
    plan: Option<Arc<TotalsPlan>>,
}

impl<T: 'static> Upsert<T> {
    /// Adds a column, and how its values become one.
    pub(super) fn folded(
        mut self,
        name: &str,
        kind: Kind,
        fold: ColumnFold,
        cell: impl for<'a> Fn(&'a Record<T>) -> Cell<'a> + Send + 'static,
    ) -> Self {
        let before = self.values.list.len();
        self.values.add(name, kind, cell);
        // A column with a wrong name was not added.
        self.folds.resize(self.values.list.len(), fold);
        debug_assert!(self.folds.len() - before <= 1, "one column, one fold");
        self
    }

    /// Whether the columns can be written.
    fn columns_fit(&self) -> Result<()> {
        let table = &self.quoted;
        let keyed = match self.keys.list.is_empty() {
            true => Err(Error::config(format!(
                "upsert into {table}: the sink has no column of its key; add one, such as by `key_text`"
            ))),
            false => Ok(()),
        };
        let values = self.values.list.iter().map(|column| &column.quoted);
        let values = values.chain(self.values.computed.iter().map(|(quoted, _)| quoted));
        let values: Vec<_> = values.collect();
        let keys = self.keys.list.iter().map(|column| &column.quoted);
        let both = keys.filter(|key| values.contains(key)).map(|key| {
            Err(Error::config(format!(
                "upsert into {table}: column {key} is one of the key and a value too; leave one out"
            )))
        });
        Error::all([self.keys.validate(), self.values.validate(), keyed].into_iter().chain(both))
    }

    fn make_plan(&self) -> TotalsPlan {
        let values = self.values.list.iter().zip(&self.folds);
        TotalsPlan {
            rank: self.rank,
            sql: self.sql(),
            table: self.table.clone(),
            keys: self.keys.list.iter().map(|column| (column.name.clone(), column.kind)).collect(),
            values: values
                .map(|(column, fold)| (column.name.clone(), column.kind, *fold))
                .collect(),
            wrong: self.columns_fit().err().map(|error| error.report()),
        }
    }

    fn kinds(&self) -> Vec<Kind> {
        self.keys.list.iter().chain(&self.values.list).map(|column| column.kind).collect()
    }

    fn sql(&self) -> String {
        let plain = self.keys.list.iter().chain(&self.values.list);
        let mut names: Vec<&str> = plain.map(|column| column.quoted.as_str()).collect();
        let mut from: Vec<String> = (1..=names.len()).map(|at| format!("u.c{at}")).collect();
        for (name, expression) in &self.values.computed {
            names.push(name);
            from.push((*expression).to_owned());
        }
        let keys: Vec<&str> = self.keys.list.iter().map(|column| column.quoted.as_str()).collect();
        let changes = self.changes();
        // A key alone is there, or it is made: there is nothing to change.
        let action = match changes.as_slice() {
            [] => "nothing".to_owned(),
            changes => format!("update set {}", changes.join(", ")),
        };
        format!(
            "insert into {} as t ({}) select {} from {} on conflict ({}) do {action}",
            self.quoted,
            names.join(", "),
            from.join(", "),
            unnest(&self.kinds()),
            keys.join(", "),
        )
    }

    /// What becomes of the columns of a row that is there already.
    fn changes(&self) -> Vec<String> {
        let folded = self.values.list.iter().zip(&self.folds).map(|(column, fold)| {
            let name = &column.quoted;
            match fold {
                ColumnFold::Set => format!("{name} = excluded.{name}"),
                ColumnFold::Add => format!("{name} = coalesce(t.{name}, 0) + excluded.{name}"),
                ColumnFold::Max => format!("{name} = greatest(t.{name}, excluded.{name})"),
                ColumnFold::Min => format!("{name} = least(t.{name}, excluded.{name})"),
            }
        });
        let computed = self.values.computed.iter();
        folded.chain(computed.map(|(name, expression)| format!("{name} = {expression}"))).collect()
    }
}

impl<T: 'static> Sink<T> for Upsert<T> {
    fn check(&self, record: &Record<T>) -> Result<(), BadRecord> {
        self.keys.check(record)?;
        self.values.check(record)
    }

    fn write(&mut self, record: &Record<T>) {
        self.totals.fold(&self.keys.list, &self.values.list, &self.folds, record);
    }

    fn pending(&self) -> usize {
        self.totals.count()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        let totals = std::mem::take(&mut self.totals);
        let count = totals.count();
        if count > 0 {
            let plan = match &self.plan {
                Some(plan) => Arc::clone(plan),
                None => Arc::clone(self.plan.insert(Arc::new(self.make_plan()))),
            };
            out.push(SinkBatch::Totals(plan, totals).staged(self.place, count));
        }
    }

    fn result(&self, record: &Record<T>) -> RefusedResult {
        let columns = self.keys.list.iter().chain(&self.values.list);
        json::row(columns.map(|column| (&*column.name, (column.cell)(record))))
    }

    fn validate(&self) -> Result<()> {
        self.columns_fit()?;
        let plain = self.keys.list.iter().chain(&self.values.list);
        let columns = plain.map(|column| (column.name.clone(), Some(column.kind)));
        let computed =
            self.values.computed.iter().map(|(quoted, _)| (identifier::plain(quoted), None));
        let need = Need {
            attempted: format!("upsert into {}", self.quoted),
            table: Some(NeededTable {
                quoted: self.quoted.clone(),
                columns: columns.chain(computed).collect(),
            }),
            statements: vec![(self.sql(), self.kinds().into_iter().map(Value::none_of).collect())],
            oldest: None,
        };
        self.needs.note(self.rank, need);
        Ok(())
    }

    fn places(&self) -> Vec<Place> {
        vec![self.place]
    }
}

impl<T> fmt::Debug for Upsert<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upsert({}, {} keys)", self.quoted, self.totals.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_columns_that_do_not_fit_are_one_error() {
        let postgres = Postgres::connect_to("postgres://rtb@localhost/rtb").build().unwrap();
        let none = postgres.upsert("t").add("n", |n: &i64| *n).validate().unwrap_err();
        assert!(none.report().contains("the sink has no column of its key"), "{none:?}");
        let sink = postgres.upsert("t").key_bigint("id", |n: &i64| *n).key_bigint("id", |n| *n);
        let error = sink.add("n", |n| *n).max("n", |n| *n).now("id").validate().unwrap_err();
        assert!(error.is_config(), "{error:?}");
        for says in [
            "3 errors",
            "\"id\" is named twice",
            "\"n\" is named twice",
            "column \"id\" is one of the key and a value too",
        ] {
            assert!(error.report().contains(says), "{says} in {error:?}");
        }
        let right = postgres.upsert("t").key_bigint("id", |n: &i64| *n).add("n", |n| *n);
        assert!(right.validate().is_ok());
    }
}
