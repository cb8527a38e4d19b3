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
    let mut page = ChunkPage::default();
    for row in &rows {
        let (chunk, next) = read_chunk(row).map_err(|error| failure(&attempted(), &error))?;
        page.chunks.push(chunk);
        // The next page begins behind the last row of this one; one without rows says that all was read.
        page.next = Some(next);
    }
    Ok(page)
}

fn read_chunk(row: &tokio_postgres::Row) -> Result<(Chunk, String), tokio_postgres::Error> {
    let operator: &str = row.try_get(0)?;
    let (bucket, seq): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
    let replaces: bool = row.try_get(3)?;
    let bytes = Bytes::copy_from_slice(row.try_get(4)?);
    let change = if replaces { BucketChange::Replace(bytes) } else { BucketChange::Append(bytes) };
    let next = format!("{bucket}:{seq}:{operator}");
    Ok((Chunk { operator: operator.into(), bucket, change }, next))
}

fn read_mark(mark: &str) -> Option<(&str, i64, i64)> {
    let (bucket, rest) = mark.split_once(':')?;
    let (seq, operator) = rest.split_once(':')?;
    Some((operator, bucket.parse().ok()?, seq.parse().ok()?))
}
