//! State in the table `rtbflow_state`: one row per chunk.

use std::collections::BTreeMap;

use bytes::Bytes;
use rtbflow::Result;
use rtbflow::epoch::{Epoch, JobName, Task};
use rtbflow::state::BucketChange;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::postgres::cell::{Cell, Kind};
use crate::postgres::cells::{Array, Cells};
use crate::postgres::failure::failure;
use crate::postgres::pipeline::{Parameter, parameter};
use crate::postgres::value::Value;

/// Bytes of chunks that one statement carries.
const MOST_BYTES: usize = 8 << 20;

const CLEAR: &str = "delete from rtbflow_state s
    using unnest($2::int[], $3::int[], $4::text[], $5::bigint[]) as u(task_of, task, operator, bucket)
    where s.job = $1 and s.task_of = u.task_of and s.task = u.task and s.operator = u.operator
    and s.bucket = u.bucket";

const APPEND: &str = "insert into rtbflow_state
    (job, task_of, task, operator, bucket, seq, replaces, bytes)
    select $1, u.task_of, u.task, u.operator, u.bucket, u.number + coalesce((
        select max(s.seq) from rtbflow_state s where s.job = $1 and s.task_of = u.task_of
        and s.task = u.task and s.operator = u.operator and s.bucket = u.bucket), 0),
        u.replaces, u.bytes
    from unnest($2::int[], $3::int[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[],
        $8::bytea[]) as u(task_of, task, operator, bucket, number, replaces, bytes)";

/// The rows of a page are chosen by the bytes before them; the limit keeps the look-ahead short.
pub(crate) const PAGE: &str = "select operator, bucket, seq, replaces, bytes from (
        select *, sum(octet_length(bytes)) over (order by operator, bucket, seq)
            - octet_length(bytes) as before from (
            select operator, bucket, seq, replaces, bytes from rtbflow_state
            where job = $1 and task_of = $2 and task = $3 and (operator, bucket, seq) > ($4, $5, $6)
            order by operator, bucket, seq limit 4096) ahead) page
    where before < 4194304 order by operator, bucket, seq";

const OTHER_LAYOUT: &str = "(select task_of from rtbflow_state
        where job = $1 and task_of < $2 order by task_of limit 1)
    union all (select task_of from rtbflow_state
        where job = $1 and task_of > $2 order by task_of desc limit 1)";

/// The statements on the table, each with parameters of its types.
pub(crate) fn all() -> Vec<(&'static str, Vec<Value>)> {
    let none = Value::none_of;
    let buckets = || {
        let kinds = [Kind::Int, Kind::Int, Kind::Text, Kind::BigInt];
        let mut parameters = vec![Value::from("")];
        parameters.extend(kinds.map(none));
        parameters
    };
    let mut append = buckets();
    append.extend([Kind::BigInt, Kind::Bool, Kind::Bytes].map(none));
    let page = ["".into(), 0_i32.into(), 0_i32.into(), "".into(), 0_i64.into(), 0_i64.into()];
    vec![(CLEAR, buckets()), (APPEND, append), (PAGE, page.to_vec())]
}

/// What becomes of a bucket in one commit.
#[derive(Default)]
struct FoldedBucket {
    clears: bool,
    rows: Vec<(bool, Bytes)>,
}

type BucketKey<'a> = (Task, &'a str, i64);

/// The changes of all epochs, folded to what remains of them: a bucket that is replaced or dropped
/// needs nothing of what came before.
fn folded<'a>(epochs: &[&'a Epoch]) -> BTreeMap<BucketKey<'a>, FoldedBucket> {
    let mut logs: BTreeMap<BucketKey<'a>, FoldedBucket> = BTreeMap::new();
    for epoch in epochs {
        for chunk in &epoch.chunks {
            let log = logs.entry((epoch.task, &*chunk.operator, chunk.bucket)).or_default();
            match &chunk.change {
                BucketChange::Append(bytes) => log.rows.push((false, bytes.clone())),
                // Nothing of what came before is needed: it is not even written.
                BucketChange::Replace(bytes) => {
                    *log = FoldedBucket { clears: true, rows: vec![(true, bytes.clone())] };
                }
                BucketChange::Drop => *log = FoldedBucket { clears: true, rows: Vec::new() },
            }
        }
    }
    logs
}

/// Columns that name buckets.
#[derive(Default)]
struct Buckets {
    task_of: Cells,
    task: Cells,
    operator: Cells,
    bucket: Cells,
}

impl Buckets {
    fn push(&mut self, (task, operator, bucket): &BucketKey<'_>) {
        // Kept bit by bit, as they are read back.
        self.task_of.push(&Cell::Int(task.of.cast_signed()));
        self.task.push(&Cell::Int(task.number.cast_signed()));
        self.operator.push(&Cell::Text((*operator).into()));
        self.bucket.push(&Cell::BigInt(*bucket));
    }

    fn parameters<'a>(self, job: &'a JobName) -> Vec<Parameter<'a>> {
        vec![
            parameter(job.as_str(), Type::TEXT),
            column(Kind::Int, self.task_of),
            column(Kind::Int, self.task),
            column(Kind::Text, self.operator),
            column(Kind::BigInt, self.bucket),
        ]
    }
}

/// A parameter made of one column.
pub(crate) fn column<'a>(kind: Kind, cells: Cells) -> Parameter<'a> {
    parameter(Owned(kind, cells), kind.array())
}

/// An array parameter that owns its cells.
#[derive(Debug)]
struct Owned(Kind, Cells);

impl ToSql for Owned {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        Array::write(self.0, &[&self.1], out)?;
        Ok(tokio_postgres::types::IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

/// The statements that apply the changes of state of these epochs.
pub(crate) fn statements<'a>(
    job: &'a JobName,
    epochs: &[&Epoch],
) -> Vec<(&'static str, Vec<Parameter<'a>>)> {
    let logs = folded(epochs);
    let mut statements = Vec::new();
    let mut cleared = Buckets::default();
    for (key, _) in logs.iter().filter(|(_, log)| log.clears) {
        cleared.push(key);
    }
    // Before anything is added: what replaces a log is numbered from its beginning.
    if cleared.bucket.count() > 0 {
        statements.push((CLEAR, cleared.parameters(job)));
    }
    let added = appended(&logs).into_iter();
    statements.extend(added.map(|added| (APPEND, added.parameters(job))));
    statements
}

/// The rows to be added, some megabytes at a time.
fn appended(logs: &BTreeMap<BucketKey<'_>, FoldedBucket>) -> Vec<Added> {
    let (mut all, mut added) = (Vec::new(), Added::default());
    for (key, log) in logs {
        let mut number = 0;
        for (replaces, bytes) in &log.rows {
            if added.bytes.bytes().len() >= MOST_BYTES {
                all.push(std::mem::take(&mut added));
                // The next statement finds these rows there already, and numbers on from them.
                number = 0;
            }
            number += 1;
            added.buckets.push(key);
            added.number.push(&Cell::BigInt(number));
            added.replaces.push(&Cell::Bool(*replaces));
            added.bytes.push_bytes(bytes);
        }
    }
    if added.number.count() > 0 {
        all.push(added);
    }
    all
}

/// Columns of rows to be added. A row's number counts from 1 within its bucket and its statement.
#[derive(Default)]
struct Added {
    buckets: Buckets,
    number: Cells,
    replaces: Cells,
    bytes: Cells,
}

impl Added {
    fn parameters<'a>(self, job: &'a JobName) -> Vec<Parameter<'a>> {
        let mut parameters = self.buckets.parameters(job);
        parameters.extend([
            column(Kind::BigInt, self.number),
            column(Kind::Bool, self.replaces),
            column(Kind::Bytes, self.bytes),
        ]);
        parameters
    }
}

/// Fails if the job has state that is laid out for another number of tasks.
pub(crate) async fn check_layout(
    client: &Client,
    server: &str,
    job: &JobName,
    task: Task,
) -> Result<()> {
    let attempted = format!("look for state of job {job} in Postgres at {server}");
    let rows = client
        .query_typed(
            OTHER_LAYOUT,
            &[(&job.as_str(), Type::TEXT), (&task.of.cast_signed(), Type::INT4)],
        )
        .await
        .map_err(|error| failure(&attempted, &error))?;
    // No state, or only of tasks that are laid out as this one is.
    let Some(row) = rows.first() else { return Ok(()) };
    let other: i32 = row.try_get(0).map_err(|error| failure(&attempted, &error))?;
    Err(task.laid_out_for(other.cast_unsigned(), job, &format!("Postgres at {server}")))
}
