//! Taking over the partitions of a task.

use std::thread;
use std::time::Duration;

use rtbflow::epoch::{Claim, Position};
use rtbflow::{Error, Partition, Result};
use tracing::debug;

use crate::anchor::positions::{Positions, write_positions};
use crate::anchor::session::Session;
use crate::anchor::target::Target;
use crate::anchor::transaction::send_all;
use crate::client::deadline::Deadline;
use crate::producer::batch::RecordBatch;

/// The least pause before a claim that was interrupted by a rival is made again.
const RIVAL_PAUSE: Duration = Duration::from_millis(10);

/// Why an attempt failed, and the positions that it tried to write, if it came that far.
type FailedAttempt = (Error, Option<Box<Positions>>);

impl Session {
    /// Takes over the partitions of a claim.
    pub(crate) fn claim(
        &mut self,
        target: &Target<'_>,
        claim: &Claim,
        deadline: Deadline,
    ) -> Result<Vec<Position>> {
        target.ensure_changelog(deadline)?;
        // What is known of state is of an earlier claim: others may have written since.
        (self.lengths, self.restoring) = (None, None);
        let mut tried: Option<Positions> = None;
        loop {
            let attempt = self.claim_once(target, claim, tried.as_ref(), deadline);
            let (error, written) = match attempt {
                Ok(claimed) => return Ok(claimed),
                Err(failed) => failed,
            };
            // Its transaction may or may not have been committed: a new producer decides that, and what stands is read.
            self.discard_producer();
            tried = written.map(|written| *written).or(tried);
            if !error.is_transient() || deadline.is_over() {
                return Err(error);
            }
            debug!(task = %target.task, "claim again: {}", error.report());
            // Rivals that make way for each other for the same time would meet again.
            let more = Duration::from_millis(claim.owner % 64);
            thread::park_timeout(RIVAL_PAUSE + more);
        }
    }

    /// One attempt. If the place stands where an earlier one tried to move it, that one has succeeded.
    fn claim_once(
        &mut self,
        target: &Target<'_>,
        claim: &Claim,
        tried: Option<&Positions>,
        deadline: Deadline,
    ) -> Result<Vec<Position>, FailedAttempt> {
        let unwritten = |error| (error, None);
        // The producer first: from here on nobody else moves the positions that are read now.
        let current = self.renew_producer(target, deadline).map_err(unwritten)?;
        if tried.is_some_and(|tried| *tried == current.positions) {
            return claimed(&current.positions, claim).map_err(unwritten);
        }
        let mut positions = current.positions.clone();
        for partition in &claim.partitions {
            positions.claim(*partition, claim.owner);
        }
        let mut records = RecordBatch::default();
        write_positions(&positions, &mut records).map_err(unwritten)?;
        let partition = target.partition().map_err(unwritten)?;
        let sent = target.transact(&current.producer, deadline, |sending| {
            send_all(sending, partition, &records)
        });
        if let Err(error) = sent {
            return Err((error, Some(Box::new(positions))));
        }
        current.positions = positions;
        claimed(&current.positions, claim).map_err(unwritten)
    }
}

/// Where the partitions of a claim stand, in its order, now that it is written.
fn claimed(positions: &Positions, claim: &Claim) -> Result<Vec<Position>> {
    let of = |partition: &Partition| {
        let position = positions.get(partition).copied();
        position
            .ok_or_else(|| Error::broken(&format!("{partition} was claimed and has no position")))
    };
    claim.partitions.iter().map(of).collect()
}
