//! Positions in the table `rtbflow_positions`: one row per partition.

use std::collections::BTreeMap;

use rtbflow::barrier::Tally;
use rtbflow::epoch::{Claim, Epoch, JobName, Log, Position};
use rtbflow::{Error, Partition, Result, Timestamp, Topic};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::postgres::cell::{Cell, Kind};
use crate::postgres::cells::Cells;
use crate::postgres::chunks::column;
use crate::postgres::failure::failure;
use crate::postgres::pipeline::{Parameter, parameter};
use crate::postgres::session::Lease;
use crate::postgres::standing::{Standing, checksum, first_checksum};
use crate::postgres::value::Value;

/// Positions as they stand, and what the commit that moved them there found out.
pub(crate) type Positions = BTreeMap<Partition, Standing>;

/// Rows are locked in the order of their keys by everybody.
const READ: &str =
    "select topic, partition, next_offset, event_time_ms, commits, owner, filtered, late,
    duplicates, dead_lettered, topic_id, leader_epoch, claimed_commits, claimed_owner, checksum
    from rtbflow_positions where job = $1
    and (topic, partition) in (select * from unnest($2::text[], $3::int[]))
    order by topic, partition for update";

/// The same columns as of a claim, which locks them.
const READ_NOW: &str =
    "select topic, partition, next_offset, event_time_ms, commits, owner, filtered, late,
    duplicates, dead_lettered, topic_id, leader_epoch, claimed_commits, claimed_owner, checksum
    from rtbflow_positions where job = $1
    and (topic, partition) in (select * from unnest($2::text[], $3::int[]))";

/// What the claim changes is mixed into the checksum, and what it replaces is taken out.
const CLAIM: &str =
    "insert into rtbflow_positions as p (job, topic, partition, commits, owner, checksum)
    select $1, u.topic, u.partition, 1, $4, u.checksum
    from unnest($2::text[], $3::int[], $5::bigint[]) as u(topic, partition, checksum)
    order by u.topic collate \"C\", u.partition
    on conflict (job, topic, partition)
    do update set commits = p.commits + 1, owner = excluded.owner,
        claimed_commits = case when p.owner = excluded.owner then p.claimed_commits else p.commits end,
        claimed_owner = case when p.owner = excluded.owner then p.claimed_owner else p.owner end,
        checksum = p.checksum # p.commits # (p.commits + 1) # p.owner # excluded.owner
            # case when p.owner = excluded.owner then 0 else
            coalesce(p.claimed_commits, 0) # p.commits # coalesce(p.claimed_owner, 0) # p.owner end
    returning topic, partition, next_offset, event_time_ms, commits, owner, filtered, late, duplicates,
        dead_lettered, topic_id, leader_epoch, claimed_commits, claimed_owner, checksum";

pub(crate) const MOVE: &str = "update rtbflow_positions p set next_offset = u.next_offset,
    event_time_ms = u.event_time_ms, commits = u.commits, owner = u.owner,
    filtered = u.filtered, late = u.late, duplicates = u.duplicates, dead_lettered = u.dead_lettered,
    topic_id = u.topic_id, leader_epoch = u.leader_epoch, checksum = u.checksum
    from unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::int[], $14::bigint[])
        as u(topic, partition, next_offset, event_time_ms, commits, owner, filtered, late, duplicates,
            dead_lettered, topic_id, leader_epoch, checksum)
    where p.job = $1 and p.topic = u.topic and p.partition = u.partition";

/// The statements on the table, each with parameters of its types.
pub(crate) fn statements() -> Vec<(&'static str, Vec<Value>)> {
    let none = Value::none_of;
    let named = || vec![Value::from(""), none(Kind::Text), none(Kind::Int)];
    let mut claim = named();
    claim.extend([Value::from(0_i64), none(Kind::BigInt)]);
    let mut moved = named();
    let kinds = [Kind::Text, Kind::Int, Kind::BigInt];
    moved.extend(std::iter::repeat_n(Kind::BigInt, 8).chain(kinds).map(none));
    vec![(READ, named()), (READ_NOW, named()), (CLAIM, claim), (MOVE, moved)]
}

/// The two columns that name partitions.
fn named(partitions: impl Iterator<Item = Partition>) -> (Cells, Cells) {
    let (mut topics, mut numbers) = (Cells::default(), Cells::default());
    for partition in partitions {
        topics.push(&Cell::Text(partition.topic.name().into()));
        numbers.push(&Cell::Int(partition.number));
    }
    (topics, numbers)
}

/// Reads rows of the table; `attempted` says for what.
pub(crate) fn read_all(rows: &[Row], attempted: &str) -> Result<Positions> {
    rows.iter().map(|row| read(row, attempted)).collect()
}

fn read(row: &Row, attempted: &str) -> Result<(Partition, Standing)> {
    let failed = |error| failure(attempted, &error);
    let (partition, mut standing) = read_standing(row).map_err(failed)?;
    standing.position.log = read_log(row, attempted)?;
    standing.claimed_at = read_claimed(row).map_err(failed)?;
    // Kept before rows had checksums: then the next commit writes one.
    let kept: Option<i64> = row.try_get("checksum").map_err(failed)?;
    match kept.is_none_or(|kept| kept == checksum(partition, &standing)) {
        true => Ok((partition, standing)),
        false => Err(damaged(attempted, partition)),
    }
}

/// The error of a row that is not as it was written.
#[cold]
fn damaged(attempted: &str, partition: Partition) -> Error {
    Error::permanent(format!(
        "{attempted}: the row of {partition} in rtbflow_positions does not fit its checksum: it is damaged, or another \
         program has changed it. Bring the place back from a copy, or reset the job: its positions, state and results \
         together (`forget_with`)"
    ))
}

/// Where a partition stands; which log that is of, and where it was claimed, is read by itself.
fn read_standing(row: &Row) -> Result<(Partition, Standing), tokio_postgres::Error> {
    let topic: &str = row.try_get(0)?;
    let partition = Partition::new(Topic::new(topic), row.try_get(1)?);
    // Kept bit by bit: a mark of 64 bits is a negative number to Postgres every other time.
    let commits: i64 = row.try_get(4)?;
    let owner: i64 = row.try_get(5)?;
    let position = Position {
        offset: row.try_get(2)?,
        event_time: row.try_get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        commit: commits.cast_unsigned(),
        owner: owner.cast_unsigned(),
        log: None,
    };
    let count = |at| row.try_get(at).map(i64::cast_unsigned);
    let (filtered, late, duplicates) = (count(6)?, count(7)?, count(8)?);
    let found = Tally { filtered, late, duplicates, dead_lettered: count(9)? };
    Ok((partition, Standing { position, found, claimed_at: None }))
}

/// Which log an offset is of.
fn read_log(row: &Row, attempted: &str) -> Result<Option<Log>> {
    let failed = |error| failure(attempted, &error);
    let leader_epoch = row.try_get(11).map_err(failed)?;
    let topic_id: Option<&str> = row.try_get(10).map_err(failed)?;
    // Kept before positions named their logs, or of a source that has none.
    let Some(text) = topic_id else { return Ok(None) };
    // Without its id nobody would notice that the topic is another one.
    let topic_id = text.parse().map_err(|error: Error| {
        Error::config(format!(
            "{attempted}: rtbflow_positions holds the topic_id {text:?}, which is none; another program has \
             changed it, and has to stop that"
        ))
        .because(error)
    })?;
    Ok(Some(Log { topic_id, leader_epoch }))
}

/// Where a partition stood when another owner claimed it last.
fn read_claimed(row: &Row) -> Result<Option<Position>, tokio_postgres::Error> {
    let commits: Option<i64> = row.try_get("claimed_commits")?;
    let owner: Option<i64> = row.try_get("claimed_owner")?;
    Ok(commits.zip(owner).map(|(commits, owner)| Position {
        commit: commits.cast_unsigned(),
        owner: owner.cast_unsigned(),
        ..Position::default()
    }))
}

/// Begins a transaction, and locks and reads the positions of these epochs.
pub(crate) async fn lock(lease: &Lease<'_>, job: &JobName, epochs: &[Epoch]) -> Result<Positions> {
    let attempted = || format!("read positions of job {job} in Postgres at {}", lease.server);
    let advances = epochs.iter().flat_map(|epoch| &epoch.advances);
    let (topics, numbers) = named(advances.map(|advance| advance.partition));
    let (topics, _) = column(Kind::Text, topics);
    let (numbers, _) = column(Kind::Int, numbers);
    let parameters = [
        (&job.as_str() as _, Type::TEXT),
        (&*topics as _, Type::TEXT_ARRAY),
        (&*numbers as _, Type::INT4_ARRAY),
    ];
    // One round trip for both.
    let (begun, rows) = futures::future::join(
        lease.client().batch_execute(&lease.begin),
        lease.client().query_typed(READ, &parameters),
    )
    .await;
    let rows = begun.and(rows).map_err(|error| failure(&attempted(), &error))?;
    read_all(&rows, &attempted())
}

/// Where partitions stand, in their order; nothing is locked.
pub(crate) async fn read_now(
    lease: &Lease<'_>,
    job: &JobName,
    partitions: &[Partition],
) -> Result<Vec<Position>> {
    let attempted = || format!("read the positions of job {job} in Postgres at {}", lease.server);
    let (topics, numbers) = named(partitions.iter().copied());
    let (topics, _) = column(Kind::Text, topics);
    let (numbers, _) = column(Kind::Int, numbers);
    let parameters = [
        (&job.as_str() as _, Type::TEXT),
        (&*topics as _, Type::TEXT_ARRAY),
        (&*numbers as _, Type::INT4_ARRAY),
    ];
    let client = lease.client();
    // In a transaction, which has the settings: one round trip for both.
    let asked = client.query_typed(READ_NOW, &parameters);
    let (begun, rows) = futures::future::join(client.batch_execute(&lease.begin), asked).await;
    let rows = begun.and(rows).map_err(|error| failure(&attempted(), &error))?;
    lease.run("commit", &attempted()).await?;
    let found = read_all(&rows, &attempted())?;
    let at = |partition| found.get(partition).map_or_else(Position::default, |at| at.position);
    Ok(partitions.iter().map(at).collect())
}

/// Takes over the positions of a claim, in the order of its partitions.
pub(crate) async fn claim(
    client: &Client,
    server: &str,
    job: &JobName,
    claim: &Claim,
) -> Result<Vec<Position>> {
    let attempted = || format!("claim the positions of job {job} in Postgres at {server}");
    let (topics, numbers) = named(claim.partitions.iter().copied());
    let (topics, _) = column(Kind::Text, topics);
    let (numbers, _) = column(Kind::Int, numbers);
    let firsts = claim.partitions.iter().map(|at| first_checksum(*at, claim.owner));
    let (firsts, _) = checksums(firsts);
    let parameters = [
        (&job.as_str() as _, Type::TEXT),
        (&*topics as _, Type::TEXT_ARRAY),
        (&*numbers as _, Type::INT4_ARRAY),
        (&claim.owner.cast_signed() as _, Type::INT8),
        (&*firsts as _, Type::INT8_ARRAY),
    ];
    let rows = client.query_typed(CLAIM, &parameters).await;
    let rows = rows.map_err(|error| failure(&attempted(), &error))?;
    let found = read_all(&rows, &attempted())?;
    let position = |partition: &Partition| {
        let standing = found.get(partition).map(|standing| standing.position);
        // The statement returns a row for each that it was given.
        standing.ok_or_else(|| Error::broken(&format!("{partition} was claimed and has no row")))
    };
    claim.partitions.iter().map(position).collect()
}

/// A column of checksums.
fn checksums<'a>(checksums: impl Iterator<Item = i64>) -> Parameter<'a> {
    let mut cells = Cells::default();
    checksums.for_each(|checksum| cells.push(&Cell::BigInt(checksum)));
    column(Kind::BigInt, cells)
}

/// The parameters of [`MOVE`].
pub(crate) fn moved<'a>(job: &'a JobName, positions: &Positions) -> Vec<Parameter<'a>> {
    let (topics, numbers) = named(positions.keys().copied());
    let mut columns: [Cells; 8] = Default::default();
    let (mut topic_ids, mut leader_epochs) = (Cells::default(), Cells::default());
    for standing in positions.values() {
        for (cells, cell) in columns.iter_mut().zip(numbers_of(standing)) {
            cells.push(&cell);
        }
        let log = standing.position.log;
        let topic_id = log.map(|log| log.topic_id.to_string());
        topic_ids.push(&topic_id.map_or(Cell::Null, |id| Cell::Text(id.into())));
        let leader_epoch = log.and_then(|log| log.leader_epoch);
        leader_epochs.push(&leader_epoch.map_or(Cell::Null, Cell::Int));
    }
    let mut parameters = vec![
        parameter(job.as_str(), Type::TEXT),
        column(Kind::Text, topics),
        column(Kind::Int, numbers),
    ];
    parameters.extend(columns.map(|cells| column(Kind::BigInt, cells)));
    parameters.extend([column(Kind::Text, topic_ids), column(Kind::Int, leader_epochs)]);
    parameters.push(checksums(positions.iter().map(|(at, standing)| checksum(*at, standing))));
    parameters
}

/// The columns of a partition that are numbers of 64 bits, in the order of [`MOVE`].
fn numbers_of(standing: &Standing) -> [Cell<'static>; 8] {
    let Standing { position: Position { offset, event_time, commit, owner, .. }, found, .. } =
        standing;
    let Tally { filtered, late, duplicates, dead_lettered } = *found;
    let or_null = |number: Option<i64>| number.map_or(Cell::Null, Cell::BigInt);
    let unsigned = |number: u64| Cell::BigInt(number.cast_signed());
    [
        or_null(*offset),
        or_null(event_time.map(Timestamp::as_millis)),
        unsigned(*commit),
        unsigned(*owner),
        unsigned(filtered),
        unsigned(late),
        unsigned(duplicates),
        unsigned(dead_lettered),
    ]
}
