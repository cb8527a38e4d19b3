//! Lookups of rows by a key, one statement for many keys.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;

use futures::FutureExt;
use futures::future::BoxFuture;
use rtbflow::lookup::{Batched, Failed};
use rtbflow::{BadRecord, Result};

use crate::postgres::identifier;
use crate::postgres::place::Postgres;
use crate::postgres::row::{FromColumn, Row};
use crate::postgres::value::{Scalar, Value};

/// The most keys that go into one statement.
const MOST_KEYS: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

impl Postgres {
    /// Looks up rows of a table by one of its columns: for [`lookup`](rtbflow::KeyedFlow::lookup). `read` makes
    /// of a row what is kept; a key that is not there is `None`.
    ///
    /// Keys that are asked for at the same time are one statement, `select … where key = any($1)`. The key has
    /// to be unique: of several rows any is taken. It goes over the connection that commits do not use;
    /// [`with_own_connections`](Self::with_own_connections) gives it one of its own. What takes more than a
    /// table and a key is for [`transaction`](Self::transaction) within a
    /// [`Batched`].
    ///
    /// # Errors
    /// A name of a table or a column that cannot be one is a configuration error. The lookup's own are
    /// transient if the server is away: the call is then made again, as
    /// [`Calls`](rtbflow::operators::Calls) says. One of `read`, or of a statement that Postgres refuses, ends
    /// the job; a key that Postgres cannot hold makes a dead letter of the record.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::{Calls, Lookup};
    /// use rtbflow::{Elements, Flow, Result};
    /// use rtbflow_sinks::postgres::Postgres;
    ///
    /// /// Clicks, each with the daily budget of its campaign, if it has one.
    /// fn budgeted(
    ///     clicks: Flow<impl Elements<Value = String>>,
    ///     postgres: &Postgres,
    /// ) -> Result<Flow<impl Elements<Value = (String, Option<i64>)>>> {
    ///     let kept = Lookup::new(Calls::at_most(256), Duration::from_secs(5), 10_000);
    ///     let budget = postgres.select("campaigns", "campaign_id", ["daily_budget"], |row| {
    ///         row.get::<Option<i64>>("daily_budget")
    ///     })?;
    ///     let budgeted = clicks.key_by(|campaign| campaign.clone()).lookup(kept, budget);
    ///     Ok(budgeted.map(|(click, budget)| (click, budget.flatten())))
    /// }
    ///
    /// let postgres = Postgres::connect_to("postgres://rtb@localhost/rtb").build()?;
    /// let flow = budgeted(Flow::from_elements(futures::stream::empty()), &postgres)?;
    /// assert!(flow.topology()?.to_string().contains("lookup"));
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    pub fn select<K, V, F, const N: usize>(
        &self,
        table: &str,
        key: &str,
        columns: [&str; N],
        read: F,
    ) -> Result<impl Fn(K) -> BoxFuture<'static, Result<Option<V>, Failed>> + Clone + use<K, V, F, N>>
    where
        K: Scalar + FromColumn + Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        F: Fn(&Row) -> Result<V> + Clone + Send + Sync + 'static,
    {
        let sql = statement(table, key, &columns)?;
        let (postgres, table, key) = (self.clone(), table.to_owned(), key.to_owned());
        let key_column = key.clone();
        let batched = Batched::new(MOST_KEYS, move |keys: Vec<K>| {
            let (postgres, read) = (postgres.clone(), read.clone());
            let (sql, table, key) = (sql.clone(), table.clone(), key_column.clone());
            async move {
                let rows =
                    postgres.rows_of(&format!("look up {table} in"), &sql, keys.into()).await?;
                let found = rows.iter().map(|row| Ok((row.get::<K>(&key)?, read(row)?)));
                found.collect::<Result<HashMap<K, V>>>()
            }
        });
        Ok(move |sought: K| {
            // By itself: one that cannot be held would fail the statement for all that are asked for with it.
            let held = Value::from(sought.clone()).check(&key);
            let answer = batched.get(sought);
            async move {
                held?;
                answer.await
            }
            .boxed()
        })
    }

    /// The rows that a statement returns, outside any transaction.
    async fn rows_of(&self, attempted: &str, sql: &str, value: Value) -> Result<Vec<Row>> {
        self.within(&self.inner.reader, attempted, async {
            let lease = self.reader().await?;
            let attempted = format!("{attempted} Postgres at {}", self.server());
            let answer = lease.read(sql, &[value.parameter()], &attempted).await?;
            lease.keep();
            Row::of(&answer)
        })
        .await
    }
}

/// The statement that looks up rows by many keys.
fn statement(table: &str, key: &str, columns: &[&str]) -> Result<String> {
    let (table, quoted_key) = (identifier::table(table)?, identifier::column(key)?);
    let mut sql = format!("select {quoted_key}");
    // The key is there already, for whoever asks which row is whose.
    for column in columns.iter().filter(|column| **column != key) {
        sql = format!("{sql}, {}", identifier::column(column)?);
    }
    Ok(format!("{sql} from {table} where {quoted_key} = any($1)"))
}

impl Value {
    /// Whether Postgres can take it in this column.
    fn check(&self, column: &str) -> Result<(), BadRecord> {
        // A key is one value and no array.
        self.one().map_or(Ok(()), |cell| cell.check(column))
    }
}
