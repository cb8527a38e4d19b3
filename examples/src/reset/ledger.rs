//! What a pipeline has written to Postgres, and how it is taken back in one transaction.

use futures::future::BoxFuture;
use rtbflow::Result;
use rtbflow::epoch::{Anchor, JobName};
use rtbflow_sinks::postgres::{Postgres, Transaction, Value};
use rtbflow_sinks::redis::Redis;

use super::{Found, Resets, Written, shown};

/// Rows that a pipeline has written.
#[derive(Debug, Clone, Copy)]
pub struct Removal {
    /// The tables that the statements need; where one is missing there is nothing to remove.
    pub tables: &'static [&'static str],
    /// What they are, behind their number.
    pub what: &'static str,
    /// A statement that counts them, as `count`.
    pub count: &'static str,
    /// The statements that take them back, in order.
    pub remove: &'static [&'static str],
}

/// A pipeline's results in Postgres, and those that it has passed on to Redis.
#[derive(Debug)]
pub struct InPostgres {
    postgres: Postgres,
    removals: &'static [Removal],
    passed_on: Option<(Redis, Vec<Written>)>,
}

impl InPostgres {
    /// These rows.
    #[must_use]
    pub fn new(postgres: &Postgres, removals: &'static [Removal]) -> Self {
        Self { postgres: postgres.clone(), removals, passed_on: None }
    }

    /// And these keys, which are removed when the rows are gone.
    #[must_use]
    pub fn passed_on(self, redis: &Redis, keys: Vec<Written>) -> Self {
        Self { passed_on: Some((redis.clone(), keys)), ..self }
    }
}

impl Resets for InPostgres {
    async fn look(&self, job: &JobName) -> Result<Found> {
        let kept = self.postgres.kept(job).await?;
        let removals = self.removals;
        let mut results =
            self.postgres.transaction("count results", |tx| look(tx, removals)).await?;
        if let Some((redis, keys)) = &self.passed_on {
            results.extend(shown::look(redis, keys).await?);
        }
        Ok(Found { kept, results })
    }

    async fn remove(&self, job: &JobName) -> Result<()> {
        let removals = self.removals;
        self.postgres.forget_with(job, |tx| remove(tx, removals)).await?;
        if let Some((redis, keys)) = &self.passed_on {
            let keys: Vec<_> = keys.iter().map(|written| written.keys.clone()).collect();
            redis.remove(&keys).await?;
        }
        Ok(())
    }
}

fn look<'a>(
    tx: &'a Transaction<'a>,
    removals: &'static [Removal],
) -> BoxFuture<'a, Result<Vec<String>>> {
    Box::pin(async move {
        let mut lines = Vec::new();
        for removal in removals {
            if are_there(tx, removal.tables).await? {
                let rows = tx.query(removal.count, &[]).await?;
                let count: i64 = rows.first().map_or(Ok(0), |row| row.get("count"))?;
                lines.push(format!("{count} {}", removal.what));
            }
        }
        Ok(lines)
    })
}

fn remove<'a>(tx: &'a Transaction<'a>, removals: &'static [Removal]) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        for removal in removals {
            if are_there(tx, removal.tables).await? {
                for sql in removal.remove {
                    tx.execute(sql, &[]).await?;
                }
            }
        }
        Ok(())
    })
}

async fn are_there(tx: &Transaction<'_>, tables: &[&'static str]) -> Result<bool> {
    let all = "select coalesce(bool_and(to_regclass(name) is not null), true) as there
        from unnest($1::text[]) as t(name)";
    let rows = tx.query(all, &[Value::array(tables.iter().copied())]).await?;
    rows.first().map_or(Ok(false), |row| row.get("there"))
}
