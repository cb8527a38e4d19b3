//! Inserts a row for each record.

use std::fmt;

use rtbflow::epoch::RefusedResult;
use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::{BadRecord, Error, Record, Result, Timestamp};

use crate::postgres::batch::{RowsStage, unnest};
use crate::postgres::cell::{Cell, Kind};
use crate::postgres::columns::Columns;
use crate::postgres::date::Date;
use crate::postgres::identifier;
use crate::postgres::place::Postgres;
use crate::postgres::plain_columns::plain_columns;

impl Postgres {
    /// Inserts a row into a table for each record. To change rows by key see
    /// [`upsert`](Self::upsert).
    ///
    /// # Time and state
    /// The rows of an epoch are kept in memory, column by column, and written by one statement for some
    /// thousand of them, in the transaction that commits the epoch.
    ///
    /// # Errors
    /// What Postgres refuses for what it is (a constraint or a trigger that says no, a value that is too long
    /// or out of range, text that the database's encoding does not have, U+0000) becomes a dead letter, with
    /// Postgres's reason, and everything else is written: see [the module](crate::postgres). A row whose
    /// foreign key names a row that is not there waits for it. A table or column that is not there is a
    /// configuration error as the job starts.
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
    /// let mut ledger = postgres
    ///     .insert("balance_ledger")
    ///     .text("advertiser_id", |charge: &Charge| &charge.advertiser_id)
    ///     .text("kind", |_| "CLICK_CHARGE")
    ///     .bigint("amount", |charge| -charge.price)
    ///     .event_time("event_time")
    ///     .origin("topic", "partition", "offset");
    ///
    /// let charge = Charge { advertiser_id: "a1".into(), price: 1200 };
    /// ledger.write(&Record::derived(charge, Timestamp::default()));
    /// assert_eq!(ledger.pending(), 1);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    #[must_use]
    pub fn insert<T>(&self, table: &str) -> Insert<T> {
        let mut stage = RowsStage::new(self, &format!("insert {table}"));
        // Without a name there is only the error: it is what the sink hands over.
        let quoted = stage.columns.keep_error(identifier::table(table)).unwrap_or_default();
        Insert { stage, table: quoted, ignores_conflicts: false }
    }
}

/// The sink behind [`Postgres::insert`].
pub struct Insert<T> {
    stage: RowsStage<T>,
    table: String,
    ignores_conflicts: bool,
}

plain_columns!(Insert, stage);

impl<T> Insert<T> {
    /// A column that holds the time of the transaction.
    #[must_use]
    pub fn now(mut self, name: &str) -> Self {
        self.stage.columns.compute(name, "now()");
        self
    }

    /// Skips rows whose key is there already, instead of failing.
    #[must_use]
    pub fn on_conflict_do_nothing(mut self) -> Self {
        self.ignores_conflicts = true;
        self
    }
}

fn sql<T>(table: &str, ignores_conflicts: bool, columns: &Columns<T>) -> String {
    let plain = columns.list.iter().map(|column| column.quoted.clone());
    let names: Vec<String> =
        plain.chain(columns.computed.iter().map(|(quoted, _)| quoted.clone())).collect();
    let plain = (1..=columns.list.len()).map(|at| format!("u.c{at}"));
    let values: Vec<String> = plain
        .chain(columns.computed.iter().map(|(_, expression)| (*expression).to_owned()))
        .collect();
    let kinds: Vec<Kind> = columns.list.iter().map(|column| column.kind).collect();
    format!(
        "insert into {table} ({}) select {} from {}{}",
        names.join(", "),
        values.join(", "),
        unnest(&kinds),
        if ignores_conflicts { " on conflict do nothing" } else { "" }
    )
}

impl<T: 'static> Sink<T> for Insert<T> {
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
        let (table, ignores_conflicts) = (&self.table, self.ignores_conflicts);
        self.stage.stage(
            out,
            || format!("insert into {table}"),
            |columns| sql(table, ignores_conflicts, columns),
        );
    }

    fn result(&self, record: &Record<T>) -> RefusedResult {
        self.stage.columns.result(record)
    }

    fn validate(&self) -> Result<()> {
        let table = &self.table;
        if self.stage.columns.list.is_empty() {
            let none = format!("insert into {table}: it has no columns; name one or more");
            return Error::all([self.stage.columns.validate(), Err(Error::config(none))]);
        }
        let sql = |columns: &Columns<T>| sql(table, self.ignores_conflicts, columns);
        self.stage.validate(&format!("insert into {table}"), sql, Some(table))
    }

    fn places(&self) -> Vec<Place> {
        vec![self.stage.place]
    }
}

impl<T> fmt::Debug for Insert<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Insert({}, {} rows)", self.table, self.stage.rows.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::batch::SinkBatch;
    use crate::postgres::groups::{Groups, Picked};

    #[test]
    fn all_columns_that_do_not_fit_are_one_error() {
        let postgres = Postgres::connect_to("postgres://rtb@localhost/rtb").build().unwrap();
        let none = postgres.insert::<i64>("").validate().unwrap_err();
        assert!(none.report().contains("it has no columns"), "{none:?}");
        let sink = postgres.insert("t").bigint("n", |n: &i64| *n).bigint("", |n| *n);
        let sink = sink.bigint("n", |n| *n).now("n");
        let error = sink.validate().unwrap_err();
        assert!(error.is_config() && error.report().contains("2 errors"), "{error:?}");
        assert!(error.report().contains("\"n\" is named twice"), "{error:?}");
        assert!(postgres.insert("t").bigint("n", |n: &i64| *n).now("at").validate().is_ok());
    }

    #[test]
    fn a_column_named_twice_is_an_error_for_whoever_drives_the_sink_by_hand_too() {
        let postgres = Postgres::connect_to("postgres://rtb@localhost/rtb").build().unwrap();
        let commit = |sink: &mut dyn Sink<i64>| {
            sink.write(&Record::derived(1, Timestamp::default()));
            let mut staged = Vec::new();
            sink.stage(&mut staged);
            let batch = staged[0].batch::<SinkBatch>().unwrap();
            Groups::of([(batch, Picked::All)]).map(drop).map_err(|failed| failed.error)
        };
        assert!(commit(&mut postgres.insert("t").bigint("n", |n: &i64| *n)).is_ok());
        for sink in [
            &mut postgres.insert("t").bigint("n", |n: &i64| *n).bigint("n", |n| *n)
                as &mut dyn Sink<i64>,
            &mut postgres
                .upsert("t")
                .key_bigint("k", |n: &i64| *n)
                .add("n", |n| *n)
                .add("n", |n| *n),
        ] {
            let error = commit(sink).unwrap_err();
            assert!(
                error.is_config() && error.report().contains("\"n\" is named twice"),
                "{error:?}"
            );
        }
    }
}
