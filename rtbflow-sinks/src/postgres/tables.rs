//! The tables of the library's own, and how tables are made when all instances start at once.

use rtbflow::{Error, Result};

use crate::postgres::failure::failure;
use crate::postgres::session::Lease;

/// `next_offset` and `event_time_ms` are null before the first record, `topic_id` and `leader_epoch` where the
/// source does not know which log it reads, `claimed_commits` and `claimed_owner` before the second claim: they say
/// where the partition stood when it was claimed last. `checksum` is null until the first commit of a build that writes
/// it. The marks of owners are
/// unsigned; they are kept bit by bit. The last four count what the last commit found out about the
/// partition's records, so that it can be reported again. State is read in the order of its key; it is
/// compact already, so the server need not try to compress it.
const OWN_TABLES: &str = r#"
create table if not exists rtbflow_positions (
    job text collate "C" not null,
    topic text collate "C" not null,
    partition int not null,
    next_offset bigint,
    event_time_ms bigint,
    commits bigint not null,
    owner bigint not null,
    filtered bigint not null default 0,
    late bigint not null default 0,
    duplicates bigint not null default 0,
    dead_lettered bigint not null default 0,
    topic_id text collate "C",
    leader_epoch int,
    claimed_commits bigint,
    claimed_owner bigint,
    checksum bigint,
    primary key (job, topic, partition)
) with (fillfactor = 50);
create table if not exists rtbflow_state (
    job text collate "C" not null,
    task_of int not null,
    task int not null,
    operator text collate "C" not null,
    bucket bigint not null,
    seq bigint not null,
    replaces boolean not null,
    bytes bytea not null,
    primary key (job, task_of, task, operator, bucket, seq)
);
alter table rtbflow_state alter column bytes set storage external;
"#;

const LOOK: &str = "select to_regclass('rtbflow_positions') is not null
    and to_regclass('rtbflow_state') is not null as there,
    (select count(*) = 5 from pg_attribute where attrelid = to_regclass('rtbflow_positions')
        and attname in ('topic_id', 'leader_epoch', 'claimed_commits', 'claimed_owner', 'checksum')
        and not attisdropped) as names_logs";

/// Positions that were kept before they named their logs go on without.
const NAME_LOGS: &str =
    "alter table rtbflow_positions add column if not exists topic_id text collate \"C\",
    add column if not exists leader_epoch int,
    add column if not exists claimed_commits bigint,
    add column if not exists claimed_owner bigint,
    add column if not exists checksum bigint";

/// The advisory lock under which tables are made: the letters `rtbflow` as a number. It ends with the
/// transaction, so that it works through poolers as well.
const LOCK: &str = "select pg_advisory_xact_lock(32210592424161143)";

/// What there is of the library's own tables.
pub(crate) struct Own {
    /// All of them.
    pub(crate) there: bool,
    /// Whether positions name their logs.
    pub(crate) names_logs: bool,
}

/// Looks for the library's own tables, within a transaction.
pub(crate) async fn look(lease: &Lease<'_>) -> Result<Own> {
    let attempted = format!("look for the rtbflow tables in Postgres at {}", lease.server);
    let row = lease.client().query_typed_one(LOOK, &[]).await;
    let read = |row: tokio_postgres::Row| {
        Ok(Own { there: row.try_get("there")?, names_logs: row.try_get("names_logs")? })
    };
    row.and_then(read).map_err(|error| failure(&attempted, &error))
}

/// Makes the library's own tables if they are not there.
pub(crate) async fn own(lease: &Lease<'_>, creates: bool) -> Result<()> {
    let server = lease.server;
    let attempted = format!("look for the rtbflow tables in Postgres at {server}");
    lease.begin(&attempted).await?;
    let found = look(lease).await?;
    // Before anything is made: a user who may not make tables needs none to be made in most starts.
    lease.run("commit", &attempted).await?;
    if found.there {
        return if found.names_logs { Ok(()) } else { name_logs(lease).await };
    }
    if !creates {
        return Err(Error::config(format!(
            "find the tables rtbflow_positions and rtbflow_state in Postgres at {server}: let them be made \
             once, by Options::create_tables(true), or correct the search_path"
        )));
    }
    create(lease, OWN_TABLES).await
}

/// Adds to a table of positions what an earlier release did not keep there.
async fn name_logs(lease: &Lease<'_>) -> Result<()> {
    create(lease, NAME_LOGS).await.map_err(|error| match error.is_transient() {
        true => error,
        false => Error::config(format!(
            "add columns to the table rtbflow_positions in Postgres at {}: they hold which log an offset is of, \
             where it was claimed, and a checksum; run as its owner: {NAME_LOGS}",
            lease.server
        ))
        .because(error),
    })
}

/// Runs statements that make tables, one instance after the other.
pub(crate) async fn create(lease: &Lease<'_>, sql: &str) -> Result<()> {
    let attempted = format!("create tables in Postgres at {}", lease.server);
    lease.begin(&attempted).await?;
    // `if not exists` alone is no protection: of two instances that find nothing, the second fails on the catalogue.
    for sql in [LOCK, sql, "commit"] {
        lease.run(sql, &attempted).await?;
    }
    Ok(())
}
