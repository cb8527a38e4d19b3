//! Brings the state of a task back, before its first record.

use std::future::poll_fn;
use std::task::Poll;

use crate::barrier::{Barrier, Gathering};
use crate::epoch::{Anchor, ChunkPage};
use crate::error::{Error, Result};
use crate::job::backoff::retried;
use crate::job::task::{TaskLoop, ended_early};
use crate::position::{JobName, Task};
use crate::source::Batch;

impl<B: Batch> TaskLoop<B> {
    /// Brings the task's state back, page by page, through the chain. False if the task has to end
    /// before that is done.
    ///
    /// # Errors
    /// If the state does not fit the pipeline.
    pub(crate) async fn restore<A: Anchor>(&mut self, job: &JobName, anchor: &A) -> Result<bool> {
        let mut from = None;
        let (mut bytes, mut chunks) = (0, 0);
        loop {
            let page = tokio::select! {
                biased;
                _ = &mut self.finish => return Ok(false),
                page = read(job, anchor, self.task, from) => page?,
            };
            chunks += page.chunks.len();
            bytes += page.chunks.iter().map(crate::chunk::Chunk::len).sum::<usize>();
            from = page.next;
            let last = from.is_none();
            self.measures.restored(&page.chunks);
            let named = self.work.moves.restored(page.chunks)?;
            let (barrier, gathering) = Barrier::restoring(self.clock.now(), named, last);
            // One page is in the chain at a time, so that the size of a page bounds the memory, whatever the state.
            self.mailbox.send(barrier);
            self.pass(gathering).await?;
            if last {
                tracing::debug!(task = %self.task, chunks, bytes, "state restored");
                return Ok(true);
            }
        }
    }

    /// Polls the chain until a barrier has passed.
    async fn pass(&mut self, gathering: Gathering) -> Result<()> {
        let mut gathering = Some(gathering);
        poll_fn(|context| {
            if let Poll::Ready(ended) = self.end.poll_drain(context) {
                return Poll::Ready(ended.and_then(|()| Err(ended_early())));
            }
            match gathering.take().map(Gathering::finish) {
                Some(Ok(Err(open))) => {
                    gathering = Some(open);
                    Poll::Pending
                }
                Some(Ok(Ok(_))) => Poll::Ready(Ok(())),
                Some(Err(error)) => Poll::Ready(Err(error)),
                None => Poll::Ready(Err(Error::broken("a barrier has passed twice"))),
            }
        })
        .await
    }
}

/// Reads a page of a task's state, for as long as it takes.
async fn read<A: Anchor>(
    job: &JobName,
    anchor: &A,
    task: Task,
    from: Option<String>,
) -> Result<ChunkPage> {
    // The same page is asked for again: the chain has all before it, and nothing of it.
    retried(None, "restore state", || anchor.restore(job, task, from.clone())).await
}
