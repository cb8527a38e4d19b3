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
//! Two round trips, whatever the number of epochs, sinks and rows. The positions come last: they fail
//! if anything before them has failed, so that a commit is never the commit of an aborted transaction.

use std::collections::BTreeMap;

use rtbflow::barrier::Tally;
use rtbflow::epoch::{Epoch, JobName, Step, Verdict};
use rtbflow::sink::Place;
use rtbflow::{Error, Result};
use tokio_postgres::types::Type;

use super::batch::{Batch, RowsPlan};
use super::cell::{Array, Cells};
use super::chunks;
use super::columns::Rows;
use super::failure::failure;
use super::pipeline::{Parameter, Pipeline, parameter};
use super::positions::{self, Positions, Standing};
use super::session::Lease;
use super::totals::{Totals, TotalsPlan, merged, overflow_at};
use super::transact::Work;
use super::transaction::Transaction;

/// Where a commit goes.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) lease: &'a Lease<'a>,
    pub(crate) place: Place,
    pub(crate) job: &'a JobName,
}

/// Commits epochs, each wholly or not at all.
pub(crate) async fn commit(target: Target<'_>, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
    let Target { lease, job, .. } = target;
    let mut standings = positions::lock(lease, job, epochs).await?;
    let (steps, applied, moved) = decide(&mut standings, epochs);
    if applied.is_empty() {
        let attempted = format!("end a transaction in Postgres at {}", lease.server);
        lease.run("rollback", &attempted).await?;
    } else {
        standings.extend(apply(target, &applied, moved).await?);
    }
    let found = |epoch: &Epoch| {
        let mut tally = Tally::NONE;
        let partitions = epoch.advances.iter().map(|advance| advance.partition);
        partitions
            .filter_map(|partition| standings.get(&partition))
            .for_each(|at| tally.merge(at.found));
        tally
    };
    let verdict = |(epoch, step): (&Epoch, Step)| match step {
        Step::Apply | Step::Applied => Verdict::Committed(found(epoch)),
        Step::Fenced => Verdict::Fenced,
    };
    Ok(epochs.iter().zip(steps).map(verdict).collect())
}

/// What each epoch means where the place stands, in order: an epoch stands on those before it in the same
/// call. With it those that are to be applied, and where the place stands afterwards.
fn decide<'a>(
    standings: &mut Positions,
    epochs: &'a [Epoch],
) -> (Vec<Step>, Vec<&'a Epoch>, Positions) {
    let (mut applied, mut moved) = (Vec::new(), Positions::new());
    let steps = epochs
        .iter()
        .map(|epoch| {
            let step = epoch.step(|partition| standings.get(&partition).map(|at| &at.position));
            if step == Step::Apply {
                let moves = epoch.advances.iter().map(|advance| {
                    (advance.partition, Standing { position: advance.to, found: Tally::NONE })
                });
                standings.extend(moves.clone());
                moved.extend(moves);
                applied.push(epoch);
            }
            step
        })
        .collect();
    (steps, applied, moved)
}

/// What a statement was for, when it fails.
enum Purpose<'a> {
    Rows(&'a RowsPlan),
    Totals(&'a TotalsPlan, usize),
    Own,
}

/// Applies epochs; returns where the place stands then, with what was found out about their records.
async fn apply(target: Target<'_>, epochs: &[&Epoch], mut moved: Positions) -> Result<Positions> {
    let Target { lease, job, .. } = target;
    let groups = groups(target.place, epochs)?;
    let totals = merge_totals(&groups)?;
    let mut pipeline = Pipeline::new(lease.client());
    for group in groups.values() {
        match group {
            Group::Rows(plan, batches) => {
                for parameters in row_parameters(plan, batches) {
                    pipeline.send(Purpose::Rows(plan), plan.sql.clone(), parameters).await;
                }
            }
            Group::Totals(plan, _) => {
                let all = totals.iter().enumerate().filter(|(_, (of, _))| std::ptr::eq(*of, *plan));
                for (at, (_, columns)) in all {
                    let parameters = total_parameters(plan, columns);
                    pipeline.send(Purpose::Totals(plan, at), plan.sql.clone(), parameters).await;
                }
            }
            Group::Own(work) => {
                if let Err(error) = own(target, work, &mut moved).await {
                    // A statement that was sent before may have failed, and the function's then failed
                    // for that alone: the first error is the one that counts.
                    return Err(match pipeline.finish().await {
                        Ok(()) => error,
                        Err((purpose, first)) => explained(target, &totals, purpose, &first).await,
                    });
                }
            }
        }
    }
    for (sql, parameters) in chunks::statements(job, epochs) {
        pipeline.send(Purpose::Own, sql.to_owned(), parameters).await;
    }
    let positions = positions::moved(job, &moved);
    pipeline.send(Purpose::Own, positions::MOVE.to_owned(), positions).await;
    pipeline.send_plain(Purpose::Own, "commit").await;
    match pipeline.finish().await {
        Ok(()) => Ok(moved),
        Err((purpose, error)) => Err(explained(target, &totals, purpose, &error).await),
    }
}

/// The error of a statement, with what it was for.
#[cold]
async fn explained(
    target: Target<'_>,
    totals: &[(&TotalsPlan, Vec<Cells>)],
    purpose: Purpose<'_>,
    error: &tokio_postgres::Error,
) -> Error {
    let server = target.lease.server;
    match purpose {
        Purpose::Rows(plan) => {
            failure(&format!("{} in Postgres at {server}", plan.attempted), error)
        }
        Purpose::Totals(plan, at) => {
            let columns = totals.get(at).map_or(&[][..], |(_, columns)| columns);
            upsert_failed(target, plan, columns, error).await
        }
        Purpose::Own => {
            let job = target.job;
            failure(&format!("commit epochs of job {job} to Postgres at {server}"), error)
        }
    }
}

/// What one statement writes, gathered from all epochs.
enum Group<'a> {
    Rows(&'a RowsPlan, Vec<&'a Rows>),
    Totals(&'a TotalsPlan, Vec<&'a Totals>),
    Own(Vec<&'a dyn Work>),
}

/// The batches of one statement together, in the order in which the pipeline made the sinks.
fn groups<'a>(place: Place, epochs: &[&'a Epoch]) -> Result<BTreeMap<(usize, &'a str), Group<'a>>> {
    let mut groups = BTreeMap::new();
    for staged in epochs.iter().flat_map(|epoch| epoch.staged_for(place)) {
        let Some(batch) = staged.batch::<Batch>() else {
            return Err(Error::permanent("commit to Postgres what no sink of its own has staged"));
        };
        match batch {
            Batch::Wrong(why) => return Err(Error::config(why.clone())),
            Batch::Rows(plan, rows) => {
                let group =
                    groups.entry(batch.order()).or_insert_with(|| Group::Rows(plan, Vec::new()));
                if let Group::Rows(_, all) = group {
                    all.push(rows);
                }
            }
            Batch::Totals(plan, totals) => {
                let group =
                    groups.entry(batch.order()).or_insert_with(|| Group::Totals(plan, Vec::new()));
                if let Group::Totals(_, all) = group {
                    all.push(totals);
                }
            }
            Batch::Own(_, work) => {
                let group = groups.entry(batch.order()).or_insert_with(|| Group::Own(Vec::new()));
                if let Group::Own(all) = group {
                    all.push(&**work);
                }
            }
        }
    }
    Ok(groups)
}

/// The rows of all upserts as columns, some thousand rows each.
fn merge_totals<'a>(
    groups: &BTreeMap<(usize, &'a str), Group<'a>>,
) -> Result<Vec<(&'a TotalsPlan, Vec<Cells>)>> {
    let mut all = Vec::new();
    for group in groups.values() {
        if let Group::Totals(plan, batches) = group {
            all.extend(merged(plan, batches)?.into_iter().map(|columns| (*plan, columns)));
        }
    }
    Ok(all)
}

/// The parameters of each run of a statement: pieces of rows, up to a bounded number of rows.
fn row_parameters<'a>(plan: &RowsPlan, batches: &[&'a Rows]) -> Vec<Vec<Parameter<'a>>> {
    /// Rows a statement, unless one piece has more.
    const MOST_ROWS: usize = 16_384;
    let mut statements = Vec::new();
    let mut taken = Vec::new();
    let mut rows = 0;
    for piece in batches.iter().flat_map(|batch| &batch.pieces) {
        if rows > 0 && rows + piece.rows > MOST_ROWS {
            statements.push(std::mem::take(&mut taken));
            rows = 0;
        }
        rows += piece.rows;
        taken.push(piece);
    }
    statements.push(taken);
    let column = |pieces: &[&'a super::columns::Piece], at: usize| {
        pieces.iter().filter_map(|piece| piece.columns.get(at)).collect::<Vec<&'a Cells>>()
    };
    statements
        .iter()
        .map(|pieces| {
            (plan.kinds.iter().enumerate())
                .map(|(at, kind)| parameter(Array::new(*kind, column(pieces, at)), kind.array()))
                .collect()
        })
        .collect()
}

fn total_parameters<'a>(plan: &TotalsPlan, columns: &'a [Cells]) -> Vec<Parameter<'a>> {
    let keys = plan.keys.iter().map(|(_, kind)| *kind);
    let kinds = keys.chain(plan.values.iter().map(|(_, kind, _)| *kind));
    kinds
        .zip(columns)
        .map(|(kind, cells)| parameter(Array::new(kind, [cells]), kind.array()))
        .collect()
}

/// Runs a function of the pipeline's own, and notes what it found out about single records.
async fn own(target: Target<'_>, work: &[&dyn Work], moved: &mut Positions) -> Result<()> {
    let Some(first) = work.first() else { return Ok(()) };
    let attempted = format!("run {:?} in Postgres at {}", first.name(), target.lease.server);
    let tx = Transaction::new(target.lease.client(), attempted);
    let returned = first.run(&tx, work).await;
    let ((), found) = tx.outcome(returned)?;
    for (partition, found) in found {
        if let Some(standing) = moved.get_mut(&partition) {
            standing.found.merge(found);
        }
    }
    Ok(())
}

/// The error of an upsert. When a sum is out of range the server does not say where: it is asked.
#[cold]
async fn upsert_failed(
    target: Target<'_>,
    plan: &TotalsPlan,
    columns: &[Cells],
    error: &tokio_postgres::Error,
) -> Error {
    const OUT_OF_RANGE: &str = "22003";
    let told = failure(
        &format!("upsert into {} in Postgres at {}", plan.table, target.lease.server),
        error,
    );
    let out_of_range = error.code().is_some_and(|code| code.code() == OUT_OF_RANGE);
    match &plan.overflow_sql {
        Some(sql) if out_of_range => match culprit(target.lease, plan, sql, columns).await {
            Some((column, key)) => overflow_at(plan, &column, &key).because(told),
            None => told,
        },
        _ => told,
    }
}

async fn culprit(
    lease: &Lease<'_>,
    plan: &TotalsPlan,
    sql: &str,
    columns: &[Cells],
) -> Option<(String, String)> {
    lease.client().batch_execute("rollback").await.ok()?;
    let parameters = total_parameters(plan, columns);
    let parameters: Vec<(&(dyn tokio_postgres::types::ToSql + Sync), Type)> =
        parameters.iter().map(|(value, kind)| (&**value as _, kind.clone())).collect();
    let rows = lease.read(sql, &parameters, "look for a sum that is out of range").await.ok()?;
    let row = rows.first()?;
    let at: i32 = row.try_get(0).ok()?;
    let keys: Vec<String> = row.try_get(1).ok()?;
    let (column, ..) = plan.values.get(usize::try_from(at).ok()?.checked_sub(1)?)?;
    let shown = plan.keys.iter().zip(keys).map(|((name, _), key)| format!("{name} = {key:?}"));
    Some((column.clone(), shown.collect::<Vec<_>>().join(", ")))
}
