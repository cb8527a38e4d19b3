//! Taking over the partitions of a task.

use rtbflow::Result;
use rtbflow::epoch::{Claim, JobName, Position};

use crate::postgres::place::Postgres;
use crate::postgres::{chunks, forget, positions};

impl Postgres {
    pub(crate) async fn claim_positions(
        &self,
        job: &JobName,
        claim: &Claim,
    ) -> Result<Vec<Position>> {
        let attempted = || format!("claim positions in Postgres at {}", self.server());
        let lease = self.reader().await?;
        let client = lease.client();
        lease.begin(&attempted()).await?;
        // Before the positions: a partition that has no row yet has nothing by which a claim would wait for whoever
        // forgets the job.
        forget::share(client, self.server(), job).await?;
        // The positions first: behind their locks no former owner can write state any more.
        let positions = positions::claim(client, self.server(), job, claim).await?;
        // Behind them, and in the same transaction: a job that is refused has claimed nothing.
        chunks::check_layout(client, self.server(), job, claim.task).await?;
        lease.run("commit", &attempted()).await?;
        lease.keep();
        Ok(positions)
    }
}
