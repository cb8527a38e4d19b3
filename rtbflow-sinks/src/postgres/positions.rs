//! Positions in the table `rtbflow_positions`: one row per partition.

use std::collections::BTreeMap;

use rtbflow::barrier::Tally;
use rtbflow::epoch::{Claim, Epoch, JobName, Log, Position};
use rtbflow::{Error, Partition, Result, Timestamp, Topic};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::postgres::cell::{Cell, Cells, Kind};
use crate::postgres::chunks::column;
use crate::postgres::failure::failure;
use crate::postgres::pipeline::{Parameter, parameter};
use crate::postgres::session::Lease;
use crate::postgres::value::Value;

/// Positions as they stand, and what the commit that moved them there found out.
pub(crate) type Positions = BTreeMap<Partition, Standing>;

/// Where one partition stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) position: Position,
    /// How those of its records ended that the last commit found not to be used for a result.
    pub(crate) found: Tally,
    /// Where it stood when it was claimed last: only the number of commits and the owner.
    pub(crate) claimed_at: Option<Position>,
}

/// Rows are locked in the order of their keys by everybody.
const READ: &str =
    "select topic, partition, next_offset, event_time_ms, commits, owner, filtered, late,
    duplicates, dead_lettered, topic_id, leader_epoch, claimed_commits, claimed_owner
    from rtbflow_positions where job = $1
    and (topic, partition) in (select * from unnest($2::text[], $3::int[]))
    order by topic, partition for update";

const CLAIM: &str = "insert into rtbflow_positions as p (job, topic, partition, commits, owner)
    select $1, u.topic, u.partition, 1, $4
    from unnest($2::text[], $3::int[]) as u(topic, partition) order by u.topic collate \"C\", u.partition
    on conflict (job, topic, partition)
    do update set commits = p.commits + 1, owner = excluded.owner,
        claimed_commits = case when p.owner = excluded.owner then p.claimed_commits else p.commits end,
        claimed_owner = case when p.owner = excluded.owner then p.claimed_owner else p.owner end
    returning topic, partition, next_offset, event_time_ms, commits, owner, filtered, late, duplicates,
        dead_lettered, topic_id, leader_epoch";

pub(crate) const MOVE: &str = "update rtbflow_positions p set next_offset = u.next_offset,
    event_time_ms = u.event_time_ms, commits = u.commits, owner = u.owner,
    filtered = u.filtered, late = u.late, duplicates = u.duplicates, dead_lettered = u.dead_lettered,
    topic_id = u.topic_id, leader_epoch = u.leader_epoch
    from unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::int[])
        as u(topic, partition, next_offset, event_time_ms, commits, owner, filtered, late, duplicates,
            dead_lettered, topic_id, leader_epoch)
    where p.job = $1 and p.topic = u.topic and p.partition = u.partition";

/// The statements on the table, each with parameters of its types.
pub(crate) fn statements() -> Vec<(&'static str, Vec<Value>)> {
    let none = Value::none_of;
    let named = || vec![Value::from(""), none(Kind::Text), none(Kind::Int)];
    let mut claim = named();
    claim.push(Value::from(0_i64));
    let mut moved = named();
    moved.extend(std::iter::repeat_n(Kind::BigInt, 8).chain([Kind::Text, Kind::Int]).map(none));
    vec![(READ, named()), (CLAIM, claim), (MOVE, moved)]
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

fn read(row: &Row) -> Result<(Partition, Standing), tokio_postgres::Error> {
    let topic: &str = row.try_get(0)?;
    let partition = Partition::new(Topic::new(topic), row.try_get(1)?);
    let commits: i64 = row.try_get(4)?;
    let owner: i64 = row.try_get(5)?;
    let position = Position {
        offset: row.try_get(2)?,
        event_time: row.try_get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        commit: commits.cast_unsigned(),
        owner: owner.cast_unsigned(),
        log: read_log(row)?,
    };
    let count = |at| row.try_get(at).map(i64::cast_unsigned);
    let (filtered, late, duplicates) = (count(6)?, count(7)?, count(8)?);
    let found = Tally { filtered, late, duplicates, dead_lettered: count(9)? };
    Ok((partition, Standing { position, found, claimed_at: read_claimed(row) }))
}

/// Where a partition stood when it was claimed last, as far as the row tells.
fn read_claimed(row: &Row) -> Option<Position> {
    let number = |column| row.try_get::<_, Option<i64>>(column).ok().flatten();
    let (commits, owner) = (number("claimed_commits")?, number("claimed_owner")?);
    let (commit, owner) = (commits.cast_unsigned(), owner.cast_unsigned());
    Some(Position { commit, owner, ..Position::default() })
}

/// Which log an offset is of. What is no id was written by nobody here; it is taken for none.
fn read_log(row: &Row) -> Result<Option<Log>, tokio_postgres::Error> {
    let topic_id: Option<&str> = row.try_get(10)?;
    let leader_epoch = row.try_get(11)?;
    let topic_id = topic_id.and_then(|text| text.parse().ok());
    Ok(topic_id.map(|topic_id| Log { topic_id, leader_epoch }))
}

pub(crate) fn read_all(rows: &[Row]) -> Result<Positions, tokio_postgres::Error> {
    rows.iter().map(read).collect()
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
    begun.and(rows).and_then(|rows| read_all(&rows)).map_err(|error| failure(&attempted(), &error))
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
    let rows = client
        .query_typed(
            CLAIM,
            &[
                (&job.as_str(), Type::TEXT),
                (&*topics, Type::TEXT_ARRAY),
                (&*numbers, Type::INT4_ARRAY),
                (&claim.owner.cast_signed(), Type::INT8),
            ],
        )
        .await
        .map_err(|error| failure(&attempted(), &error))?;
    let found = read_all(&rows).map_err(|error| failure(&attempted(), &error))?;
    claim
        .partitions
        .iter()
        .map(|partition| found.get(partition).map(|standing| standing.position))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::permanent(format!("{}: a row is missing", attempted())))
}

/// The parameters of [`MOVE`].
pub(crate) fn moved<'a>(job: &'a JobName, positions: &Positions) -> Vec<Parameter<'a>> {
    let (topics, numbers) = named(positions.keys().copied());
    let mut columns = [const { None }; 8].map(|_: Option<()>| Cells::default());
    let [offsets, times, commits, owners, counts @ ..] = &mut columns;
    let (mut topic_ids, mut leader_epochs) = (Cells::default(), Cells::default());
    for Standing { position, found, .. } in positions.values() {
        offsets.push(&position.offset.map_or(Cell::Null, Cell::BigInt));
        let ms = position.event_time.map(Timestamp::as_millis);
        times.push(&ms.map_or(Cell::Null, Cell::BigInt));
        commits.push(&Cell::BigInt(position.commit.cast_signed()));
        owners.push(&Cell::BigInt(position.owner.cast_signed()));
        let topic_id = position.log.map(|log| log.topic_id.to_string());
        topic_ids.push(&topic_id.map_or(Cell::Null, |id| Cell::Text(id.into())));
        let leader_epoch = position.log.and_then(|log| log.leader_epoch);
        leader_epochs.push(&leader_epoch.map_or(Cell::Null, Cell::Int));
        let Tally { filtered, late, duplicates, dead_lettered } = *found;
        for (cells, count) in counts.iter_mut().zip([filtered, late, duplicates, dead_lettered]) {
            cells.push(&Cell::BigInt(count.cast_signed()));
        }
    }
    let mut parameters = vec![
        parameter(job.as_str(), Type::TEXT),
        column(Kind::Text, topics),
        column(Kind::Int, numbers),
    ];
    parameters.extend(columns.map(|cells| column(Kind::BigInt, cells)));
    parameters.extend([column(Kind::Text, topic_ids), column(Kind::Int, leader_epochs)]);
    parameters
}
