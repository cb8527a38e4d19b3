//! Taking over the partitions of a task.

use redis::{Pipeline, RedisResult, Value};
use rtbflow::epoch::{Claim, JobName, Position};
use rtbflow::{Error, Partition, Result};

use crate::redis::checksum::damaged;
use crate::redis::failure;
use crate::redis::forget::read_position;
use crate::redis::keys::Keys;
use crate::redis::place::Redis;
use crate::redis::positions::parse_position;
use crate::redis::reply::{elements, text, unreadable};

impl Redis {
    pub(crate) async fn claim_task(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        let keys = Keys::of(job);
        let names = [keys.positions(), keys.tasks(), keys.forgetting(), keys.claimed()];
        let attempted = format!("claim task {} of job {job}", claim.task);
        let run = || {
            let mut command = self.claim_text().run(&names.each_ref().map(String::as_str));
            command.arg(claim.owner).arg(claim.task.of);
            for partition in &claim.partitions {
                command.arg(partition.to_string());
            }
            command
        };
        let answer = self.claim_text().send_one(self.server(), &attempted, run).await?;
        let attempted = format!("{attempted} in Redis at {}", self.server().address());
        let reply = elements(&attempted, answer)?;
        let claimed = self.claimed(&attempted, job, claim, &reply)?;
        // Behind the claim, which is what fences: the former owner may have been killed behind a commit, and nobody
        // else would go on with what it had to do.
        self.run_follow_ups().await?;
        Ok(claimed)
    }

    /// Where partitions stand, in their order.
    pub(crate) async fn read_positions(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> Result<Vec<Position>> {
        let attempted = format!("read the positions of job {job}");
        let keys = Keys::of(job);
        let mut commands = Pipeline::with_capacity(partitions.len() + 1);
        // Asked in any case: without partitions this is what shows that the server is there.
        commands.cmd("EXISTS").arg(keys.positions());
        for partition in partitions {
            commands.cmd("HGET").arg(keys.positions()).arg(partition.to_string());
        }
        let mut answers = self.server().send(&attempted, &mut commands).await?.into_iter();
        let attempted = format!("{attempted} in Redis at {}", self.server().address());
        let failed = |cause| failure::error(&attempted, cause);
        answers.next().transpose().map_err(failed)?;
        let read = |(partition, answer): (&Partition, RedisResult<Value>)| match answer {
            Ok(Value::Nil) => Ok(Position::default()),
            Ok(Value::BulkString(at)) => {
                let fields = [partition.to_string().into_bytes(), at];
                Ok(read_position(&attempted, &keys, &fields)?.1)
            }
            Ok(_) => Err(unreadable(&attempted)),
            Err(cause) => Err(failed(cause)),
        };
        partitions.iter().zip(answers).map(read).collect()
    }

    /// What the script answers: where the partitions stand now, in the order of the claim.
    fn claimed(
        &self,
        attempted: &str,
        job: &JobName,
        claim: &Claim,
        reply: &[Vec<u8>],
    ) -> Result<Vec<Position>> {
        let positions = Keys::of(job).positions();
        let [answer, rest @ ..] = reply else { return Err(unreadable(attempted)) };
        match (answer.as_slice(), rest) {
            (b"claimed", rest) if rest.len() == claim.partitions.len() => {
                let found = rest.iter().map(|bytes| parse_position(&text(bytes)));
                found.collect::<Option<_>>().ok_or_else(|| {
                    Error::permanent(format!("{attempted}: {positions} holds no readable position"))
                })
            }
            (b"laid out", [other]) => {
                let other = text(other);
                let tasks = other.rsplit_once('/').map_or(other.as_str(), |(_, tasks)| tasks);
                let server = format!("Redis at {}", self.server().address());
                Err(claim.task.laid_out_for(tasks, job, &server))
            }
            (b"damaged", [partition, found]) => {
                Err(damaged(attempted, &positions, partition, found))
            }
            (b"forgetting", []) => Err(forgetting(attempted)),
            (b"foreign", [partition, found]) => {
                Err(foreign(attempted, &positions, &text(partition), &text(found)))
            }
            _ => Err(unreadable(attempted)),
        }
    }
}

#[cold]
fn forgetting(attempted: &str) -> Error {
    Error::config(format!(
        "{attempted}: the job is being forgotten, or that was interrupted: what is left of it fits nothing. Forget \
         it again, to the end (`forget`, or `forget_with` and its results)"
    ))
}

#[cold]
fn foreign(attempted: &str, positions: &str, partition: &str, found: &str) -> Error {
    Error::config(format!(
        "{attempted}: {positions} holds {found:?} for {partition}, which is not a position; another program writes \
         keys that begin with rtbflow:, and has to stop that"
    ))
}
