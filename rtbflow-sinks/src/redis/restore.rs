//! State read back, a page at a time.

use rtbflow::epoch::{ChunkPage, JobName, Task};
use rtbflow::state::{BucketChange, Chunk};
use rtbflow::{Error, Result};

use crate::redis::keys::{Keys, parse_bucket};
use crate::redis::place::Redis;
use crate::redis::reply::{elements, text, unreadable};

impl Redis {
    pub(crate) async fn restore_page(
        &self,
        job: &JobName,
        task: Task,
        from: Option<String>,
    ) -> Result<ChunkPage> {
        let index = Keys::of(job).index(task);
        let attempted = format!("restore the state of task {task} of job {job}");
        let (skip, bucket) = match &from {
            None => ("0", ""),
            Some(mark) => mark.split_once('@').ok_or_else(|| {
                Error::permanent(format!("{attempted}: {mark:?} does not mark a page of state"))
            })?,
        };
        let run = || {
            let mut command = self.restore_text().run(&[&index]);
            command.arg(bucket).arg(skip).arg(self.page_bytes());
            command
        };
        let answer = self.restore_text().send_one(self.server(), &attempted, run).await?;
        let attempted = format!("{attempted} from Redis at {}", self.server().address());
        read_page(&attempted, &index, elements(&attempted, answer)?)
    }
}

/// Where the next page begins, and the chunks of this one.
pub(crate) fn read_page(
    attempted: &str,
    index: &str,
    mut reply: Vec<Vec<u8>>,
) -> Result<ChunkPage> {
    let [bucket, skip, chunks @ ..] = &mut *reply else { return Err(unreadable(attempted)) };
    if skip == b"missing" {
        return Err(Error::permanent(format!(
            "{attempted}: {index} names the bucket {:?}, of which there is nothing: either is damaged. Bring the place back \
             from a copy, or reset the job: its positions, state and results together (`forget_with`)",
            text(bucket)
        )));
    }
    // An empty bucket says that this was the last page.
    let next = (!bucket.is_empty()).then(|| format!("{}@{}", text(skip), text(bucket)));
    let (chunks, []) = chunks.as_chunks_mut() else { return Err(unreadable(attempted)) };
    let chunks = chunks.iter_mut().map(|[name, bytes]| {
        read_chunk(name, std::mem::take(bytes)).ok_or_else(|| {
            let name = text(name);
            Error::config(format!("{attempted}: {index} holds {name:?}, which is not a bucket"))
        })
    });
    Ok(ChunkPage::new(chunks.collect::<Result<_>>()?, next))
}

/// A chunk of the bucket of this name. A name that is not UTF-8 is none of ours: shown as something else it might be
/// that of another operator.
fn read_chunk(name: &[u8], bytes: Vec<u8>) -> Option<Chunk> {
    let (bucket, operator) = parse_bucket(std::str::from_utf8(name).ok()?)?;
    Some(Chunk { operator: operator.into(), bucket, change: BucketChange::Append(bytes.into()) })
}
