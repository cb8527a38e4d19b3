//! State read back, a page at a time.

use std::collections::VecDeque;

use rtbflow::epoch::ChunkPage;
use rtbflow::state::Chunk;
use rtbflow::{Error, Result};
use tracing::warn;

use crate::anchor::options::{OPEN_TRANSACTION_TIMEOUT, PATIENCE};
use crate::anchor::session::Session;
use crate::anchor::target::Target;
use crate::client::deadline::Deadline;

/// Bytes of chunks in a page, unless a single one has more.
const PAGE_BYTES: usize = 4 << 20;

impl Session {
    /// Reads a page of the task's state.
    pub(crate) fn restore(&mut self, target: &Target<'_>, from: Option<&str>) -> Result<ChunkPage> {
        // Anything but the page behind the last one, such as the first or one whose answer was lost, is read anew.
        let begun = self.restoring.take().filter(|(mark, _)| Some(mark.as_str()) == from);
        let mut rest = match begun {
            Some((_, rest)) => rest,
            None => self.scan(target, from)?,
        };
        let mut page = ChunkPage::default();
        let mut bytes = 0;
        while let Some(chunk) = rest.pop_front() {
            bytes += chunk.len();
            page.chunks.push(chunk);
            if bytes >= PAGE_BYTES && !rest.is_empty() {
                let mark = rest.len().to_string();
                self.restoring = Some((mark.clone(), rest));
                page.next = Some(mark);
                break;
            }
        }
        Ok(page)
    }

    /// Reads the whole changelog of the task; returns the chunks from the page on that begins at a mark.
    fn scan(&mut self, target: &Target<'_>, from: Option<&str>) -> Result<VecDeque<Chunk>> {
        if target.partitions(PATIENCE)?.is_none() {
            if self.producer.is_some() {
                // A task that was claimed has a changelog, whatever the broker says.
                let topic = target.changelog();
                return Err(Error::transient(format!(
                    "restore state of job {} from topic {topic}: Kafka does not list it at the moment",
                    target.job
                )));
            }
            return Ok(VecDeque::new());
        }
        let replay = target.replay()?;
        let range = replay.decided_range(Deadline::after(OPEN_TRANSACTION_TIMEOUT))?;
        let scan = replay.scan(range)?;
        let positions = scan.positions.clone();
        let (lengths, chunks) = scan.finish()?;
        self.lengths = Some((positions, lengths));
        let mut chunks = VecDeque::from(chunks);
        if let Some(mark) = from {
            warn!(task = %target.task, "the changelog is read again: a page was lost");
            // The mark is how many chunks were left.
            let before = mark.parse().ok().and_then(|left| chunks.len().checked_sub(left));
            chunks.drain(..before.ok_or_else(|| no_mark(target, mark))?);
        }
        Ok(chunks)
    }
}

#[cold]
fn no_mark(target: &Target<'_>, mark: &str) -> Error {
    let (task, job) = (target.task, target.job);
    Error::permanent(format!(
        "restore state of task {task} of job {job} from Kafka: {mark:?} does not mark a page of state"
    ))
}
