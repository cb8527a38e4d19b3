//! The anchor: results, state and positions in one transaction.

use std::time::Duration;

use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Kept, Position, Task, Verdict};
use rtbflow::sink::Place;
use rtbflow::state::Chunk;
use rtbflow::{Partition, Result};

use crate::postgres::place::Postgres;
use crate::postgres::target::Target;
use crate::postgres::{commit, forget, look, positions, restore};

/// What a commit may take beside the deadline of a call, by its size: with a fixed deadline a commit that
/// is too large for a slow server would be tried for ever.
fn time_to_write(epochs: &[Epoch]) -> Duration {
    const ROWS_PER_SECOND: usize = 5_000;
    const BYTES_PER_SECOND: usize = 2 << 20;
    let rows: usize = epochs.iter().flat_map(|epoch| &epoch.staged).map(|staged| staged.rows).sum();
    let bytes: usize = epochs.iter().flat_map(|epoch| &epoch.chunks).map(Chunk::len).sum();
    let seconds = rows / ROWS_PER_SECOND + bytes / BYTES_PER_SECOND;
    // A count of what is in memory fits.
    Duration::from_secs(seconds.try_into().unwrap_or(u64::MAX))
}

impl Anchor for Postgres {
    fn place(&self) -> Place {
        self.inner.place
    }

    fn apart(&self) -> Self {
        self.with_own_connections()
    }

    async fn prepare(&self, _job: &JobName) -> Result<()> {
        self.within(&self.inner.reader, "prepare", async {
            let lease = self.reader().await?;
            look::look(&lease, &self.inner.needs.all(), self.inner.creates_tables).await?;
            lease.keep();
            Ok(())
        })
        .await
    }

    async fn probe(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> Result<Option<Vec<Position>>> {
        self.within(&self.inner.reader, "read positions from", async {
            let lease = self.reader().await?;
            let found = positions::read_now(&lease, job, partitions).await?;
            lease.keep();
            Ok(Some(found))
        })
        .await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let claimed = self.claim_positions(job, claim);
        self.within(&self.inner.reader, "claim positions in", claimed).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.within(&self.inner.reader, "restore state from", async {
            let lease = self.reader().await?;
            let page = restore::read_page(&lease, job, task, from.as_deref()).await?;
            lease.keep();
            Ok(page)
        })
        .await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        if epochs.is_empty() {
            return Ok(Vec::new());
        }
        let more = time_to_write(epochs);
        self.within_more(&self.inner.committer, more, "commit epochs to", async {
            let lease = self.committer().await?;
            // A part of the call's time: what was found by then is reported, and the rest by the next commit.
            let search = self.inner.call_timeout / 3;
            let target = Target { lease: &lease, place: self.inner.place, job, search };
            let verdicts = commit::commit(target, epochs).await;
            // Behind refusals there is no transaction any more; behind another error there may be.
            if verdicts.as_ref().err().is_none_or(|error| !error.refusals().is_empty()) {
                lease.keep();
            }
            verdicts
        })
        .await
    }

    async fn kept(&self, job: &JobName) -> Result<Kept> {
        self.within(&self.inner.reader, "look for what is kept in", async {
            let lease = self.reader().await?;
            let kept = forget::kept(&lease, job).await?;
            lease.keep();
            Ok(kept)
        })
        .await
    }

    async fn forget(&self, job: &JobName) -> Result<()> {
        self.forget_with(job, |_| Box::pin(std::future::ready(Ok(())))).await
    }
}
