//! Taking over the partitions of a task.

use std::thread;
use std::time::Duration;

use rtbflow::epoch::{Claim, Position};
use rtbflow::{Error, Result};
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
type Failed = (Error, Option<Box<Positions>>);

impl Session {
    /// Takes over the partitions of a claim.
    pub(crate) fn claim(
        &mut self,
        target: &Target<'_>,
        claim: &Claim,
        deadline: Deadline,
    ) -> Result<Vec<Position>> {
        target.ensure_changelog(deadline)?;
        (self.lengths, self.restoring) = (None, None);
        let mut tried: Option<Positions> = None;
        loop {
            let attempt = self.claim_once(target, claim, tried.as_ref(), deadline);
            let (error, written) = match attempt {
                Ok(claimed) => return Ok(claimed),
                Err(failed) => failed,
            };
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
    ) -> Result<Vec<Position>, Failed> {
        let unwritten = |error| (error, None);
        let current = self.renew_producer(target, deadline).map_err(unwritten)?;
        let claimed = |positions: &Positions| -> Vec<Position> {
            let partitions = claim.partitions.iter();
            partitions.map(|of| positions.get(of).copied().unwrap_or_default()).collect()
        };
        if tried.is_some_and(|tried| *tried == current.positions) {
            return Ok(claimed(&current.positions));
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
        match sent {
            Ok(()) => {
                current.positions = positions;
                Ok(claimed(&current.positions))
            }
            Err(error) => Err((error, Some(Box::new(positions)))),
        }
    }
}
