//! State read back, a page at a time.

use rtbflow::epoch::{ChunkPage, JobName, Task};
use rtbflow::state::{Change, Chunk};
use rtbflow::{Error, Result};

use crate::redis::keys::{Keys, parse_bucket};
use crate::redis::library::{one, text};
use crate::redis::place::Redis;

impl Redis {
    pub(crate) async fn restore_page(
        &self,
        job: &JobName,
        task: Task,
        from: Option<String>,
    ) -> Result<ChunkPage> {
        let index = Keys::of(job).index(task);
        let attempted = format!("restore the state of task {task} of {job}");
        let (skip, bucket) =
            from.as_deref().and_then(|from| from.split_once('@')).unwrap_or(("0", ""));
        let answers = self
            .restore_text()
            .send(self.server(), &attempted, 1, |_| {
                let mut command = self.restore_text().run(&[&index]);
                command.arg(bucket).arg(skip).arg(self.page_bytes());
                command
            })
            .await?;
        let mut reply = one(&attempted, answers)?.into_iter();
        let bucket = text(reply.next().as_ref());
        let skip = text(reply.next().as_ref());
        let mut page = ChunkPage::new(
            Vec::with_capacity(reply.len() / 2),
            (!bucket.is_empty()).then(|| format!("{skip}@{bucket}")),
        );
        while let (Some(name), Some(bytes)) = (reply.next(), reply.next()) {
            let name = text(Some(&name));
            let (bucket, operator) = parse_bucket(&name).ok_or_else(|| {
                Error::config(format!("{attempted}: {index} holds {name:?}, which is not a bucket"))
            })?;
            let change = Change::Append(bytes.into());
            page.chunks.push(Chunk { operator: operator.into(), bucket, change });
        }
        Ok(page)
    }
}
