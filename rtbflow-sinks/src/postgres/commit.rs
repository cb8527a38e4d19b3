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

use rtbflow::Result;
use rtbflow::barrier::Tally;
use rtbflow::epoch::{Epoch, Step, Verdict};
use rtbflow::sink::Staged;

use crate::postgres::chunks;
use crate::postgres::failure::{Blame, blamed};
use crate::postgres::groups::{FailedStatement, Groups, Picked, Sent, finish};
use crate::postgres::pipeline::Pipeline;
use crate::postgres::positions::{self, Positions};
use crate::postgres::probe::probe;
use crate::postgres::target::{Target, applied, batch, decide, rollback};

/// Commits epochs, each wholly or not at all.
///
/// # Errors
/// If rows are refused, the connection has no transaction any more.
pub(crate) async fn commit(target: Target<'_>, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
    let Target { lease, job, .. } = target;
    // The positions first, and locked until the end: whoever else has this task waits here, and then finds that it has
    // moved.
    let mut standings = positions::lock(lease, job, epochs).await?;
    let (steps, moved) = decide(&mut standings, epochs);
    if steps.contains(&Step::Apply) {
        let applied: Vec<&Epoch> = applied(epochs, &steps).map(|(_, epoch)| epoch).collect();
        match apply(target, &applied, moved).await {
            Ok(moved) => standings.extend(moved),
            Err(FailedStatement { error, .. }) if blamed(&error).0 == Blame::Row => {
                // The search begins transactions of its own.
                rollback(lease).await?;
                return Err(probe(target, epochs, &steps).await?);
            }
            Err(FailedStatement { error, .. }) => return Err(error),
        }
    } else {
        // Nothing is to be written, and the locks are not kept for it.
        rollback(lease).await?;
    }
    let verdicts = epochs.iter().zip(steps).map(|(epoch, step)| verdict(&standings, epoch, step));
    Ok(verdicts.collect())
}

/// What became of an epoch, now that the place stands there.
fn verdict(standings: &Positions, epoch: &Epoch, step: Step) -> Verdict {
    let found = || {
        let mut tally = Tally::NONE;
        // Of an epoch that is applied all partitions have a row.
        let partitions = epoch.advances.iter().map(|advance| advance.partition);
        partitions
            .filter_map(|partition| standings.get(&partition))
            .for_each(|at| tally.merge(at.found));
        tally
    };
    // What was found out about its records was overwritten by who came after.
    let passed =
        || epoch.was_applied_before(|at| standings.get(&at).and_then(|at| at.claimed_at.as_ref()));
    match step {
        Step::Apply | Step::Applied => Verdict::Committed(found()),
        Step::Fenced if passed() => Verdict::COMMITTED,
        Step::Fenced => Verdict::Fenced,
    }
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
) -> Result<Positions, FailedStatement> {
    let Target { lease, job, place, .. } = target;
    let staged = epochs.iter().flat_map(|epoch| epoch.staged_for(place));
    let batches = staged.map(|staged| Ok((batch(staged)?, remaining(staged))));
    let batches = batches.collect::<Result<Vec<_>>>().map_err(FailedStatement::alone)?;
    let groups = Groups::of(batches)?;
    let mut pipeline = Pipeline::new(lease.client());
    // A record of another task is none of these epochs': its class is found where that task commits it.
    let found = |partition, tally| {
        if let Some(standing) = moved.get_mut(&partition) {
            standing.found.merge(tally);
        }
    };
    // The rows first: what fails here is a row's fault, or a table's, and leaves state and positions out of it.
    groups.write(lease, &mut pipeline, found).await?;
    let sent = |is_about_rows| Sent { what: format!("commit epochs of job {job}"), is_about_rows };
    for (sql, parameters) in chunks::statements(job, epochs) {
        pipeline.send(sent(false), sql.to_owned(), parameters).await;
    }
    // Behind all the rest: in a transaction that has failed this fails as well, and so does the commit.
    let positions = positions::moved(job, &moved);
    pipeline.send(sent(false), positions::MOVE.to_owned(), positions).await;
    // What rows have deferred is looked at here.
    pipeline.send_plain(sent(true), "commit").await;
    finish(lease, &mut pipeline).await?;
    Ok(moved)
}
