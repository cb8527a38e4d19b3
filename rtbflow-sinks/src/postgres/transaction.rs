//! The transaction of a commit, as a pipeline's own function sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use rtbflow::barrier::{Class, Tally};
use rtbflow::element::{Origin, Partition};
use rtbflow::{Error, Record, Result};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::failure::failure;
use super::value::{Row, Value};

/// The transaction that commits epochs, as a pipeline's own function sees it.
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
        let answer = self.client.execute_typed(sql, &typed(parameters)).await;
        answer.map_err(|error| self.failing(&error))
    }

    /// Runs a statement and returns its rows. Parameters are `$1`, `$2` and so on.
    ///
    /// # Errors
    /// What the server says, and if a column has a type that has no counterpart here. After an error of
    /// the server the transaction can only fail.
    pub async fn query(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        self.checked(sql)?;
        let answer = self.client.query_typed(sql, &typed(parameters)).await;
        Row::of(&answer.map_err(|error| self.failing(&error))?)
    }

    /// Says how a record of the batch ended that turned out here not to be used for a result, such as
    /// that it repeats one that is there. It is accounted for once, however often its epoch is committed,
    /// as far as it is still [accountable](Record::is_accountable).
    pub fn account<T>(&self, record: &Record<T>, class: Class) {
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
        failed.get_or_insert_with(|| failure(&self.attempted, error));
        failure(&self.attempted, error)
    }

    /// The first error, also one that the function did not pass on; otherwise what was found out about
    /// records, by the partition that they were read from.
    pub(crate) fn outcome(self, returned: Result<()>) -> Result<BTreeMap<Partition, Tally>> {
        match self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => {
                returned.map(|()| self.found.into_inner().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction({})", self.attempted)
    }
}

fn typed(parameters: &[Value]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    parameters.iter().map(|value| (value as _, value.kind())).collect()
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
            "run a statement that begins with {word:?}: the transaction belongs to the job's commit"
        )));
    }
    Ok(())
}

/// The first word behind blanks and comments.
fn first_word(mut sql: &str) -> &str {
    loop {
        sql = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        sql = if let Some(comment) = sql.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = sql.strip_prefix("/*") {
            behind_comment(comment)
        } else {
            return sql.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        };
    }
}

/// What follows a comment that was just opened; comments nest.
fn behind_comment(mut sql: &str) -> &str {
    let mut open = 1_usize;
    while open > 0 {
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
    fn a_statement_can_not_end_the_transaction() {
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
