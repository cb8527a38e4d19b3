//! Forgets a job: positions, state and, by a function of the pipeline's own, results in one transaction.

use std::time::Duration;

use futures::future::BoxFuture;
use rtbflow::Result;
use rtbflow::epoch::{JobName, Kept};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::postgres::failure::failure;
use crate::postgres::place::Postgres;
use crate::postgres::positions::read_all;
use crate::postgres::session::Lease;
use crate::postgres::tables;
use crate::postgres::tables::Own;
use crate::postgres::transaction::Transaction;

/// How long forgetting may take: it may have to delete all results of a job.
const LONGEST: Duration = Duration::from_secs(600);

/// The first half of the advisory locks of jobs: the letters `rtbf` as a number.
const LOCKS: i32 = 0x7274_6266;

/// Held by whoever claims. A claim on a partition that has no row yet finds nothing that it would have to
/// wait for, and its first commits would get in between.
const SHARE: &str = "select pg_advisory_xact_lock_shared($1, hashtext($2))";

const TAKE: &str = "select pg_advisory_xact_lock($1, hashtext($2))";

/// What holds for this transaction instead of the usual time-outs.
const PATIENT: &str = "set local statement_timeout = '600s'; set local lock_timeout = '60s'";

/// Each row of positions is locked by the commit that moves it, so that this waits for what is under way.
const REMOVE: [&str; 2] =
    ["delete from rtbflow_positions where job = $1", "delete from rtbflow_state where job = $1"];

const POSITIONS: &str =
    "select topic, partition, next_offset, event_time_ms, commits, owner, filtered, late, duplicates,
    dead_lettered, topic_id, leader_epoch, claimed_commits, claimed_owner, checksum
    from rtbflow_positions where job = $1";

/// As positions were kept before they named their logs.
const OLD_POSITIONS: &str =
    "select topic, partition, next_offset, event_time_ms, commits, owner, filtered, late, duplicates,
    dead_lettered, null::text, null::int, null::bigint as claimed_commits, null::bigint as claimed_owner,
    null::bigint as checksum from rtbflow_positions where job = $1";

const BUCKETS: &str = "select count(*) from (
    select distinct task_of, task, operator, bucket from rtbflow_state where job = $1) as b";

/// Keeps a job from being forgotten until the transaction ends.
pub(crate) async fn share(client: &Client, server: &str, job: &JobName) -> Result<()> {
    lock(client, server, job, SHARE).await
}

async fn lock(client: &Client, server: &str, job: &JobName, sql: &str) -> Result<()> {
    let attempted = format!("lock job {job} in Postgres at {server}");
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&LOCKS, Type::INT4), (&job.as_str(), Type::TEXT)];
    let locked = client.query_typed(sql, &parameters).await;
    locked.map(drop).map_err(|error| failure(&attempted, &error))
}

/// What is kept of a job; nothing where there are no tables.
pub(crate) async fn kept(lease: &Lease<'_>, job: &JobName) -> Result<Kept> {
    let attempted =
        || format!("look for what is kept of job {job} in Postgres at {}", lease.server);
    lease.begin(&attempted()).await?;
    let kept = match tables::look(lease).await? {
        Own { there: false, .. } => Kept::default(),
        Own { names_logs: false, .. } => read(lease, job, OLD_POSITIONS, &attempted).await?,
        Own { .. } => read(lease, job, POSITIONS, &attempted).await?,
    };
    lease.run("commit", &attempted()).await?;
    Ok(kept)
}

async fn read(
    lease: &Lease<'_>,
    job: &JobName,
    sql: &str,
    attempted: impl Fn() -> String,
) -> Result<Kept> {
    let client = lease.client();
    let job_name: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] =
        [(&job.as_str(), Type::TEXT)];
    let rows = client.query_typed(sql, &job_name).await;
    let rows = rows.map_err(|error| failure(&attempted(), &error))?;
    let positions = read_all(&rows, &attempted())?;
    let count = client.query_typed_one(BUCKETS, &job_name).await;
    let count: i64 =
        count.and_then(|row| row.try_get(0)).map_err(|error| failure(&attempted(), &error))?;
    let positions = positions.into_iter().map(|(partition, at)| (partition, at.position));
    Ok(Kept::new(positions.collect(), count.cast_unsigned()))
}

/// Removes positions and state, and keeps everybody from claiming until the transaction ends.
async fn remove(lease: &Lease<'_>, job: &JobName, attempted: &str) -> Result<()> {
    let client = lease.client();
    lock(client, lease.server, job, TAKE).await?;
    // Without tables nothing was ever kept.
    if !tables::look(lease).await?.there {
        return Ok(());
    }
    for sql in REMOVE {
        let job_name: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] =
            [(&job.as_str(), Type::TEXT)];
        let removed = client.execute_typed(sql, &job_name).await;
        removed.map_err(|error| failure(attempted, &error))?;
    }
    Ok(())
}

impl Postgres {
    /// As [`forget`](rtbflow::epoch::Anchor::forget), and in the same transaction runs a function that
    /// removes the job's results: it sees them as they are when nobody can commit any more, and a reader
    /// sees all of it or nothing. Instances that still run are fenced; they wait meanwhile, as long as
    /// their time-outs let them. It may take 10 minutes.
    ///
    /// # Errors
    /// What the function returns; transient if the server is away. Nothing was removed then, unless the
    /// answer to the commit was lost: call it again, which is right in either case.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::Result;
    /// use rtbflow::epoch::JobName;
    /// use rtbflow_sinks::postgres::Postgres;
    ///
    /// /// How many visits were removed, with all that the job keeps.
    /// async fn reset(postgres: &Postgres, job: &JobName) -> Result<u64> {
    ///     let visits = "delete from visits";
    ///     postgres.forget_with(job, |tx| Box::pin(tx.execute(visits, &[]))).await
    /// }
    ///
    /// let postgres = Postgres::connect_to("postgres://rtb@localhost/rtb").build()?;
    /// let job = JobName::new("visits")?;
    /// let nothing_runs_before_it_is_awaited = reset(&postgres, &job);
    /// assert_eq!(format!("{postgres:?}"), "Postgres(postgres://rtb@localhost:5432/rtb)");
    /// # drop(nothing_runs_before_it_is_awaited);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    pub async fn forget_with<V, F>(&self, job: &JobName, results: F) -> Result<V>
    where
        V: Send,
        F: for<'a> FnOnce(&'a Transaction<'a>) -> BoxFuture<'a, Result<V>> + Send,
    {
        self.within_more(&self.inner.reader, LONGEST, "forget a job in", async {
            let attempted = format!("forget job {job} in Postgres at {}", self.server());
            let lease = self.reader().await?;
            lease.begin(&attempted).await?;
            lease.run(PATIENT, &attempted).await?;
            if let Some(stop) = lease.version().stops_the_clock() {
                lease.run(stop, &attempted).await?;
            }
            remove(&lease, job, &attempted).await?;
            // Behind the positions: from here on nobody commits, and what the function sees is all that there is.
            let tx = Transaction::new(lease.client(), attempted.clone());
            let returned = results(&tx).await;
            let (value, _) = tx.outcome(returned)?;
            lease.run("commit", &attempted).await?;
            lease.keep();
            Ok(value)
        })
        .await
    }
}
