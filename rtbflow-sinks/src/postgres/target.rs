//! What a commit and the search for refused rows share: which epochs are applied, and where.

use std::time::Duration;

use rtbflow::barrier::Tally;
use rtbflow::epoch::{Epoch, JobName, Step};
use rtbflow::sink::{Place, Staged};
use rtbflow::{Error, Result};

use crate::postgres::batch::SinkBatch;
use crate::postgres::positions::Positions;
use crate::postgres::session::Lease;
use crate::postgres::standing::Standing;

/// Where a commit goes.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) lease: &'a Lease<'a>,
    pub(crate) place: Place,
    pub(crate) job: &'a JobName,
    /// How long to look for rows that are refused, once some are found.
    pub(crate) search: Duration,
}

pub(crate) async fn rollback(lease: &Lease<'_>) -> Result<()> {
    lease.run("rollback", &format!("end a transaction in Postgres at {}", lease.server)).await
}

/// The epochs that are to be applied, with their numbers.
pub(crate) fn applied<'a>(
    epochs: &'a [Epoch],
    steps: &[Step],
) -> impl Iterator<Item = (usize, &'a Epoch)> {
    let steps = steps.iter();
    epochs.iter().enumerate().zip(steps).filter_map(|(epoch, step)| match step {
        Step::Apply => Some(epoch),
        Step::Applied | Step::Fenced => None,
    })
}

/// What each epoch means where the place stands, in order: an epoch stands on those before it in the same
/// call. With it, where the place stands afterwards.
pub(crate) fn decide(standings: &mut Positions, epochs: &[Epoch]) -> (Vec<Step>, Positions) {
    let mut moved = Positions::new();
    let steps = epochs
        .iter()
        .map(|epoch| {
            // Where the epochs before it move the place to: all of them are one transaction, and of a task's two the
            // second stands on the first.
            let step = epoch.step(|partition| standings.get(&partition).map(|at| &at.position));
            if step == Step::Apply {
                let moves = epoch.advances.iter().map(|advance| {
                    // The claim is of before, and is not moved by a commit.
                    let claimed_at = standings.get(&advance.partition).and_then(|at| at.claimed_at);
                    let position = advance.to;
                    (advance.partition, Standing { position, found: Tally::NONE, claimed_at })
                });
                let moves: Vec<_> = moves.collect();
                standings.extend(moves.iter().copied());
                moved.extend(moves);
            }
            step
        })
        .collect();
    (steps, moved)
}

/// The batch that a sink of this place has staged.
pub(crate) fn batch(staged: &Staged) -> Result<&SinkBatch> {
    staged
        .batch::<SinkBatch>()
        .ok_or_else(|| Error::permanent("commit to Postgres what no sink of this place has staged: let this `Postgres` make the sink"))
}
