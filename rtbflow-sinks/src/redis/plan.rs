//! An epoch as it is sent to the script: what it compares, what it writes, and which rows each operation is for.

use std::collections::BTreeMap;

use redis::Cmd;
use rtbflow::epoch::{Epoch, Refusal, Task};
use rtbflow::sink::{Place, Staged};
use rtbflow::state::BucketChange;
use rtbflow::{BadRecord, Error, Result};

use crate::redis::batch::{Piece, SinkBatch};
use crate::redis::keys::{bucket_text, task_text};
use crate::redis::positions::{mark, position_text};

/// The most refusals that one script reports; the others are reported when it runs again without these.
const MOST_REFUSALS: usize = 1_000;

/// An epoch as it is sent.
pub(crate) struct Plan<'a> {
    /// Its number among those that are committed together.
    pub(crate) number: usize,
    epoch: &'a Epoch,
    /// The batches of this place, in order. The operations of all their pieces are numbered through.
    batches: Vec<Planned<'a>>,
}

/// A batch as it is sent.
struct Planned<'a> {
    /// Its number among all that the epoch has staged.
    number: usize,
    staged: &'a Staged,
    batch: &'a SinkBatch,
    /// Whether its rows go each by itself.
    apart: bool,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Plan<'a> {
    /// The plan for an epoch.
    ///
    /// # Errors
    /// If something was staged for this place by a sink of another, or by one that is put together wrongly.
    pub(crate) fn new(place: Place, number: usize, epoch: &'a Epoch) -> Result<Self> {
        let mut batches = Vec::new();
        for (number, staged) in epoch.staged.iter().enumerate() {
            // That of another place, which its writer takes.
            if staged.place != place {
                continue;
            }
            let batch = staged.batch::<SinkBatch>().ok_or_else(|| {
                Error::permanent("commit to Redis what no sink of this place has staged: let this `Redis` make the sink")
            })?;
            batch.validate()?;
            let pieces = batch.pieces(staged, false);
            batches.push(Planned { number, staged, batch, apart: false, pieces });
        }
        Ok(Self { number, epoch, batches })
    }

    /// The task that it is of.
    pub(crate) fn task(&self) -> Task {
        self.epoch.task
    }

    /// How many operations there are.
    pub(crate) fn operations(&self) -> usize {
        self.batches.iter().map(|planned| planned.pieces.len()).sum()
    }

    /// What the server has to do, in operations.
    pub(crate) fn cost(&self) -> usize {
        1 + self.operations() + self.epoch.chunks.len()
    }

    /// Adds its arguments to a run of the script; see `commit.lua`.
    pub(crate) fn command(&self, mut command: Cmd) -> Result<Cmd> {
        self.compare(&mut command);
        self.keep_chunks(&mut command);
        // Whether the operations before were those of a row: what follows them has to say that it is not.
        let mut in_rows = false;
        for planned in self.batches.iter().filter(|planned| !planned.pieces.is_empty()) {
            planned.batch.prelude(&mut command);
            if !planned.apart && std::mem::take(&mut in_rows) {
                command.arg("rows").arg(0);
            }
            let mut row = None;
            for piece in &planned.pieces {
                // What fails in a row leaves all of it out, and so nothing of another row may be in between.
                if planned.apart && row.replace(piece.row) != Some(piece.row) {
                    command.arg("row").arg(0);
                    in_rows = true;
                }
                piece.write(planned.staged, &mut command)?;
            }
        }
        Ok(command)
    }

    /// The positions: where they have to stand, and where they move.
    fn compare(&self, command: &mut Cmd) {
        let Epoch { task, advances, .. } = self.epoch;
        command.arg(task_text(*task)).arg(MOST_REFUSALS).arg(advances.len());
        for advance in advances {
            command
                .arg(advance.partition.to_string())
                .arg(mark(&advance.from))
                .arg(mark(&advance.to))
                .arg(position_text(&advance.to));
        }
    }

    fn keep_chunks(&self, command: &mut Cmd) {
        command.arg(self.epoch.chunks.len());
        for chunk in &self.epoch.chunks {
            let (change, bytes): (_, &[u8]) = match &chunk.change {
                BucketChange::Append(bytes) => ("append", bytes),
                BucketChange::Replace(bytes) => ("replace", bytes),
                BucketChange::Drop => ("drop", &[]),
            };
            command.arg(change).arg(bucket_text(chunk.bucket, &chunk.operator)).arg(bytes);
        }
    }

    /// The rows that these operations stand for, of the first batch that has any: what comes behind it may have
    /// gone wrong because of them. `None` if that batch was not sent row by row: then it is to be, so that the
    /// place says which they are.
    ///
    /// # Errors
    /// If there are no such operations: to send the epoch again would end the same way.
    pub(crate) fn refusals(
        &mut self,
        mut operations: BTreeMap<usize, BadRecord>,
    ) -> Result<Option<Vec<Refusal>>> {
        let mut before = 0;
        for planned in &mut self.batches {
            let mut rows = Vec::new();
            for (piece, operation) in planned.pieces.iter().zip(before..) {
                rows.extend(operations.remove(&operation).map(|reason| (piece.row, reason)));
            }
            before += planned.pieces.len();
            if rows.is_empty() {
                continue;
            }
            // Once only: a batch that was sent row by row is not sent otherwise again, so that this ends.
            if !std::mem::replace(&mut planned.apart, true) {
                planned.pieces = planned.batch.pieces(planned.staged, true);
                return Ok(None);
            }
            let (epoch, staged) = (self.number, planned.number);
            let rows = rows.into_iter();
            let refusals = rows.map(|(row, reason)| Refusal::new(epoch, staged, row, reason));
            return Ok(Some(refusals.collect()));
        }
        Err(Error::broken("the script refuses operations that it was not sent"))
    }
}
