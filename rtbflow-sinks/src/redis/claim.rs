//! Taking over the partitions of a task.

use rtbflow::epoch::{Claim, JobName, Position};
use rtbflow::{Error, Result};

use crate::redis::keys::Keys;
use crate::redis::library::{one, text};
use crate::redis::place::Redis;
use crate::redis::positions::parse_position;

impl Redis {
    pub(crate) async fn claim_task(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let keys = Keys::of(job);
        let (positions, tasks, forgetting) = (keys.positions(), keys.tasks(), keys.forgetting());
        let claimed = keys.claimed();
        let attempted = format!("claim task {} of job {job}", claim.task);
        let answers = self
            .claim_text()
            .send(self.server(), &attempted, 1, |_| {
                let mut command =
                    self.claim_text().run(&[&positions, &tasks, &forgetting, &claimed]);
                command.arg(claim.owner).arg(claim.task.of);
                for partition in &claim.partitions {
                    command.arg(partition.to_string());
                }
                command
            })
            .await?;
        let reply = one(&attempted, answers)?;
        match text(reply.first()).as_str() {
            "claimed" => {}
            "laid out" => {
                let other = text(reply.get(1));
                let tasks = other.rsplit_once('/').map_or(other.as_str(), |(_, tasks)| tasks);
                let server = format!("Redis at {}", self.server().address());
                return Err(claim.task.laid_out_for(tasks, job, &server));
            }
            "forgetting" => {
                return Err(Error::config(format!(
                    "{attempted} in Redis at {}: the job is being forgotten, or that was interrupted: what is left \
                     of it fits nothing. Forget it again, to the end (`forget`, or `forget_with` and its results)",
                    self.server().address()
                )));
            }
            _ => {
                return Err(Error::config(format!(
                    "{attempted}: {} holds {:?} for {}, which is not a position",
                    positions,
                    text(reply.get(2)),
                    text(reply.get(1))
                )));
            }
        }
        // Its former owner may have been killed behind a commit.
        self.run_follow_ups().await?;
        let found = reply.iter().skip(1).map(|bytes| parse_position(&text(Some(bytes))));
        found
            .collect::<Option<Vec<_>>>()
            .filter(|found| found.len() == claim.partitions.len())
            .ok_or_else(|| {
                Error::permanent(format!("{attempted}: {positions} holds no readable position"))
            })
    }
}
