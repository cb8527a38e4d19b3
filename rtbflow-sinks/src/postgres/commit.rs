//! One transaction for all epochs that are ready.
//!
//! ```text
//!  ──▶ begin · select … for update              positions, in the order of their keys
//!  ◀── where each partition stands              decided for each epoch: apply, applied, fenced
//!  ──▶ insert … unnest · insert … on conflict · the pipeline's own
//!      state: delete, insert · positions: update · commit
//!  ◀── all answers
//! ```
//!
//! Two round trips, whatever the number of epochs, sinks and rows; a function of the pipeline's own adds
//! those that it waits for. The positions come last: they fail
//! if anything before them has failed, so that a commit is never the commit of an aborted transaction.
//!
//! If a row is to blame for a failure, [`probe`](super::probe) finds out which.

use std::time::Duration;

use rtbflow::barrier::Tally;
use rtbflow::epoch::{Epoch, JobName, Step, Verdict};
use rtbflow::sink::{Place, Staged};
use rtbflow::{Error, Result};

use super::batch::Batch;
use super::chunks;
use super::failure::{Blame, blamed};
use super::groups::{Failed, Groups, Picked, Sent, finish};
use super::pipeline::Pipeline;
use super::positions::{self, Positions, Standing};
use super::probe::probe;
use super::session::Lease;

/// Where a commit goes.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) lease: &'a Lease<'a>,
    pub(crate) place: Place,
    pub(crate) job: &'a JobName,
    /// How long to look for rows that are refused, once some are found.
    pub(crate) search: Duration,
}

/// Commits epochs, each wholly or not at all.
///
/// # Errors
/// If rows are refused, the connection has no transaction any more.
pub(crate) async fn commit(target: Target<'_>, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
    let Target { lease, job, .. } = target;
    let mut standings = positions::lock(lease, job, epochs).await?;
    let (steps, moved) = decide(&mut standings, epochs);
    if steps.contains(&Step::Apply) {
        let applied: Vec<&Epoch> = applied(epochs, &steps).map(|(_, epoch)| epoch).collect();
        match apply(target, &applied, moved).await {
            Ok(moved) => standings.extend(moved),
            Err(Failed { error, .. }) if blamed(&error).0 == Blame::Row => {
                rollback(lease).await?;
                return Err(probe(target, epochs, &steps).await?);
            }
            Err(Failed { error, .. }) => return Err(error),
        }
    } else {
        rollback(lease).await?;
    }
    let found = |epoch: &Epoch| {
        let mut tally = Tally::NONE;
        let partitions = epoch.advances.iter().map(|advance| advance.partition);
        partitions
            .filter_map(|partition| standings.get(&partition))
            .for_each(|at| tally.merge(at.found));
        tally
    };
    // What was found out about its records was overwritten by who came after.
    let passed = |epoch: &Epoch| {
        epoch.was_applied_before(|at| standings.get(&at).and_then(|at| at.claimed_at.as_ref()))
    };
    let verdict = |(epoch, step): (&Epoch, Step)| match step {
        Step::Apply | Step::Applied => Verdict::Committed(found(epoch)),
        Step::Fenced if passed(epoch) => Verdict::COMMITTED,
        Step::Fenced => Verdict::Fenced,
    };
    Ok(epochs.iter().zip(steps).map(verdict).collect())
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
            let step = epoch.step(|partition| standings.get(&partition).map(|at| &at.position));
            if step == Step::Apply {
                let moves = epoch.advances.iter().map(|advance| {
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
pub(crate) fn batch(staged: &Staged) -> Result<&Batch> {
    staged
        .batch::<Batch>()
        .ok_or_else(|| Error::permanent("commit to Postgres what no sink of its own has staged"))
}

/// The rows of a batch that were not refused before.
fn remaining(staged: &Staged) -> Picked {
    if staged.refused().is_empty() {
        return Picked::All;
    }
    let mut refused = staged.refused().iter().peekable();
    Picked::Some(
        (0..staged.rows).filter(|row| refused.next_if(|next| **next == *row).is_none()).collect(),
    )
}

/// Applies epochs; returns where the place stands then, with what was found out about their records.
async fn apply(
    target: Target<'_>,
    epochs: &[&Epoch],
    mut moved: Positions,
) -> Result<Positions, Failed> {
    let Target { lease, job, place, .. } = target;
    let staged = epochs.iter().flat_map(|epoch| epoch.staged_for(place));
    let batches = staged.map(|staged| Ok((batch(staged)?, remaining(staged))));
    let batches = batches.collect::<Result<Vec<_>>>().map_err(Failed::alone)?;
    let groups = Groups::of(batches)?;
    let mut pipeline = Pipeline::new(lease.client());
    let found = |partition, tally| {
        if let Some(standing) = moved.get_mut(&partition) {
            standing.found.merge(tally);
        }
    };
    groups.write(lease, &mut pipeline, found).await?;
    let sent = |is_about_rows| Sent { what: format!("commit epochs of job {job}"), is_about_rows };
    for (sql, parameters) in chunks::statements(job, epochs) {
        pipeline.send(sent(false), sql.to_owned(), parameters).await;
    }
    let positions = positions::moved(job, &moved);
    pipeline.send(sent(false), positions::MOVE.to_owned(), positions).await;
    // What rows have deferred is looked at here.
    pipeline.send_plain(sent(true), "commit").await;
    finish(lease, &mut pipeline).await?;
    Ok(moved)
}
