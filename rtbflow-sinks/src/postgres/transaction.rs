//! Transactions, as a pipeline's own functions see them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;
use rtbflow::barrier::{Class, Tally};
use rtbflow::record::{Origin, Partition};
use rtbflow::{Error, Record, Result};
use tokio_postgres::Client;

use crate::postgres::failure::failure;
use crate::postgres::place::Postgres;
use crate::postgres::row::Row;
use crate::postgres::value::Value;

impl Postgres {
    /// Runs a function in a transaction of its own, beside those that commit epochs and not together with
    /// any of them: for what a pipeline does by the clock, or passes on to another place after a commit.
    /// What belongs to records is for [`transact`](Self::transact). `name` stands in messages.
    ///
    /// # Errors
    /// What the function returns; transient if the server is away. Whether the transaction was committed is
    /// then not known, so let it be one that may run again.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::Result;
    /// use rtbflow_sinks::postgres::Postgres;
    ///
    /// async fn overdrawn(postgres: &Postgres) -> Result<Vec<String>> {
    ///     let rows = postgres
    ///         .transaction("look for debts", |tx| {
    ///             let sql = "select advertiser_id from advertiser_balances where balance < $1";
    ///             Box::pin(async move { tx.query(sql, &[0_i64.into()]).await })
    ///         })
    ///         .await?;
    ///     rows.iter().map(|row| row.get("advertiser_id")).collect()
    /// }
    ///
    /// let postgres = Postgres::connect_to("postgres://rtb@localhost/rtb").build()?;
    /// let nothing_runs_before_it_is_awaited = overdrawn(&postgres);
    /// assert_eq!(format!("{postgres:?}"), "Postgres(postgres://rtb@localhost:5432/rtb)");
    /// # drop(nothing_runs_before_it_is_awaited);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    pub async fn transaction<V, F>(&self, name: &str, function: F) -> Result<V>
    where
        V: Send,
        F: for<'a> FnOnce(&'a Transaction<'a>) -> BoxFuture<'a, Result<V>> + Send,
    {
        self.within(&self.inner.reader, &format!("{name} in"), async {
            let attempted = format!("{name} in Postgres at {}", self.server());
            let lease = self.reader().await?;
            lease.begin(&attempted).await?;
            let tx = Transaction::new(lease.client(), attempted.clone());
            let returned = function(&tx).await;
            // What it found out about records is nothing here: it belongs to no epoch.
            let (value, _) = tx.outcome(returned)?;
            lease.run("commit", &attempted).await?;
            lease.keep();
            Ok(value)
        })
        .await
    }
}

/// A transaction, as a pipeline's own function sees it.
pub struct Transaction<'a> {
    client: &'a Client,
    /// What the function is called, for messages.
    attempted: String,
    /// The first error: once a statement has failed nothing of the transaction can commit, whether
    /// the function passes the error on or not.
    failed: Mutex<Option<Error>>,
    /// How records ended that turned out here not to be used for a result.
    found: Mutex<BTreeMap<Partition, Tally>>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(client: &'a Client, attempted: String) -> Self {
        Self { client, attempted, failed: Mutex::new(None), found: Mutex::default() }
    }

    /// Runs a statement and returns how many rows it changed. Parameters are `$1`, `$2` and so on.
    ///
    /// # Errors
    /// What the server says. After an error the transaction can only fail.
    pub async fn execute(&self, sql: &str, parameters: &[Value]) -> Result<u64> {
        self.checked(sql)?;
        let answer = self.client.execute_typed(sql, &Value::parameters(parameters)).await;
        answer.map_err(|error| self.failing(&error))
    }

    /// Runs a statement and returns its rows. Parameters are `$1`, `$2` and so on.
    ///
    /// # Errors
    /// What the server says, and if a column has a type that has no counterpart here. After an error of
    /// the server the transaction can only fail.
    pub async fn query(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        self.checked(sql)?;
        let answer = self.client.query_typed(sql, &Value::parameters(parameters)).await;
        Row::of(&answer.map_err(|error| self.failing(&error))?)
    }

    /// In the transaction of a commit, says how a record ended that turned out here not to be used for a result, such as
    /// that it repeats one that is there. It is accounted for once, however often its epoch is committed,
    /// as far as it is still [accountable](Record::is_accountable).
    pub fn account<T>(&self, record: &Record<T>, class: Class) {
        // One that was read nowhere, or is accounted for already, is in no count.
        if let Some(origin) = record.origin.filter(Origin::is_accountable) {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.entry(origin.partition()).or_default().add(class, 1);
        }
    }

    fn checked(&self, sql: &str) -> Result<()> {
        statement_is_plain(sql)
            .map_err(|error| Error::config(self.attempted.clone()).because(error))
    }

    fn failing(&self, error: &tokio_postgres::Error) -> Error {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        // The first: those behind it fail since the transaction has.
        failed.get_or_insert_with(|| failure(&self.attempted, error));
        failure(&self.attempted, error)
    }

    /// The first error, also one that the function did not pass on; otherwise what was found out about
    /// records, by the partition that they were read from.
    pub(crate) fn outcome<V>(self, returned: Result<V>) -> Result<(V, BTreeMap<Partition, Tally>)> {
        // Whatever the function returns: a `commit` behind a failed statement would be answered as if all were well, and
        // roll back.
        match self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => returned.map(|value| {
                (value, self.found.into_inner().unwrap_or_else(PoisonError::into_inner))
            }),
        }
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction({})", self.attempted)
    }
}

/// Refuses statements that would end or split the transaction: positions and results would come apart.
pub(crate) fn statement_is_plain(sql: &str) -> Result<()> {
    const ENDING: [&str; 10] = [
        "begin",
        "start",
        "commit",
        "end",
        "rollback",
        "abort",
        "savepoint",
        "release",
        "prepare",
        "discard",
    ];
    let word: String = first_word(sql).to_ascii_lowercase();
    if ENDING.contains(&word.as_str()) {
        return Err(Error::config(format!(
            "run a statement that begins with {word:?}: it would end or split the transaction, which commits with the \
             positions; leave it out"
        )));
    }
    Ok(())
}

/// The first word behind blanks and comments.
pub(crate) fn first_word(mut sql: &str) -> &str {
    loop {
        // An empty statement before the first is allowed, and hides nothing.
        sql = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        sql = if let Some(comment) = sql.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = sql.strip_prefix("/*") {
            behind_comment(comment)
        } else {
            // Empty where no statement follows.
            return sql.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        };
    }
}

/// What follows a comment that was just opened; comments nest.
fn behind_comment(mut sql: &str) -> &str {
    let mut open = 1_usize;
    while open > 0 {
        // Never closed: no statement follows.
        let Some(at) = sql.find("/*").into_iter().chain(sql.find("*/")).min() else { return "" };
        let closes = sql.get(at..).is_some_and(|rest| rest.starts_with("*/"));
        open = if closes { open - 1 } else { open + 1 };
        sql = sql.get(at + 2..).unwrap_or_default();
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_cannot_end_the_transaction() {
        for sql in [
            "commit",
            " ;\n-- note\n COMMIT and chain",
            "/* a /* nested */ note */rollback",
            "End",
            "savepoint a",
        ] {
            assert!(statement_is_plain(sql).unwrap_err().is_config(), "{sql}");
        }
        for sql in
            ["update commit set a = 1", "-- commit\nselect 1", "/* commit */ delete from t", ""]
        {
            assert!(statement_is_plain(sql).is_ok(), "{sql}");
        }
    }
}
