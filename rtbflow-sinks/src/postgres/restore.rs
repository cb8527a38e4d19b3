//! State read back, a page at a time.

use bytes::Bytes;
use rtbflow::epoch::{ChunkPage, JobName, Task};
use rtbflow::state::{BucketChange, Chunk};
use rtbflow::{Error, Result};
use tokio_postgres::types::{ToSql, Type};

use crate::postgres::chunks::PAGE;
use crate::postgres::failure::failure;
use crate::postgres::session::Lease;

/// Reads one page of a task's state.
pub(crate) async fn read_page(
    lease: &Lease<'_>,
    job: &JobName,
    task: Task,
    from: Option<&str>,
) -> Result<ChunkPage> {
    let attempted = || format!("read state of job {job} from Postgres at {}", lease.server);
    let (operator, bucket, seq) = match from {
        Some(mark) => read_mark(mark).ok_or_else(|| {
            Error::permanent(format!("{}: {mark:?} does not mark a page of state", attempted()))
        })?,
        // Before the first row: no operator has an empty name.
        None => ("", i64::MIN, 0),
    };
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (&job.as_str(), Type::TEXT),
        (&task.of.cast_signed(), Type::INT4),
        (&task.number.cast_signed(), Type::INT4),
        (&operator, Type::TEXT),
        (&bucket, Type::INT8),
        (&seq, Type::INT8),
    ];
    let rows = lease.read(PAGE, &parameters, &attempted()).await?;
    page_of(&rows, (operator.to_owned(), bucket, seq), &attempted())
}

/// The chunks of these rows, which come behind this one.
fn page_of(
    rows: &[tokio_postgres::Row],
    mut before: (String, i64, i64),
    attempted: &str,
) -> Result<ChunkPage> {
    let mut page = ChunkPage::default();
    for row in rows {
        let (chunk, seq) = read_chunk(row).map_err(|error| failure(attempted, &error))?;
        let (operator, bucket) = (&*chunk.operator, chunk.bucket);
        if !follows(&before, &chunk, seq) {
            return Err(damaged(attempted, operator, bucket, seq));
        }
        before = (operator.to_owned(), bucket, seq);
        // The next page begins behind the last row of this one; one without rows says that all was read.
        page.next = Some(format!("{bucket}:{seq}:{operator}"));
        page.chunks.push(chunk);
    }
    Ok(page)
}

/// Whether a chunk is the next of its bucket, or the first: a log is numbered from 1, and only its beginning takes the
/// place of what came before.
fn follows((operator, bucket, seq): &(String, i64, i64), chunk: &Chunk, next: i64) -> bool {
    let goes_on = *operator == *chunk.operator && *bucket == chunk.bucket;
    let expected = if goes_on { seq.checked_add(1) } else { Some(1) };
    let replaces = matches!(chunk.change, BucketChange::Replace(_));
    expected == Some(next) && (next == 1 || !replaces)
}

/// The error of a row that is not where its log has one, or of one that is missing before it.
#[cold]
fn damaged(attempted: &str, operator: &str, bucket: i64, seq: i64) -> Error {
    Error::permanent(format!(
        "{attempted}: of operator {operator:?}, bucket {bucket}, rtbflow_state has a row {seq} that does not follow the \
         one before it: a row is missing or damaged. Bring the place back from a copy, or reset the job: its positions, \
         state and results together (`forget_with`)"
    ))
}

fn read_chunk(row: &tokio_postgres::Row) -> Result<(Chunk, i64), tokio_postgres::Error> {
    let operator: &str = row.try_get(0)?;
    let (bucket, seq): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
    let replaces: bool = row.try_get(3)?;
    let bytes = Bytes::copy_from_slice(row.try_get(4)?);
    let change = if replaces { BucketChange::Replace(bytes) } else { BucketChange::Append(bytes) };
    Ok((Chunk { operator: operator.into(), bucket, change }, seq))
}

fn read_mark(mark: &str) -> Option<(&str, i64, i64)> {
    let (bucket, rest) = mark.split_once(':')?;
    let (seq, operator) = rest.split_once(':')?;
    Some((operator, bucket.parse().ok()?, seq.parse().ok()?))
}
