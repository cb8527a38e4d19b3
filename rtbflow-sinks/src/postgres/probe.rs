//! Finds out which records of a commit Postgres refuses for what they are.
//!
//! In a transaction that is rolled back, behind the locks of the positions, records are written from the
//! left to the right, by halves, each half behind a savepoint; all rows of a record together, whatever the
//! sinks. One record among n costs log₂ n + 2 statements of each sink, over no more than three times the
//! rows. One transaction has at most 60 savepoints: with the 65th a server's snapshots overflow, for everybody on
//! it. What was accepted is then written again by the next transaction, without savepoints.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rtbflow::epoch::{Epoch, Refusal, Step};
use rtbflow::sink::StagedRows as _;
use rtbflow::{BadRecord, Error, Origin, Result};
use tokio::time::Instant;

use crate::postgres::batch::SinkBatch;
use crate::postgres::failure::{Blame, blamed};
use crate::postgres::groups::{FailedStatement, Groups, Picked, Sent, finish};
use crate::postgres::pipeline::Pipeline;
use crate::postgres::positions;
use crate::postgres::search::Search;
use crate::postgres::session::{Lease, deadline};
use crate::postgres::target::{Target, applied, batch, decide, rollback};

/// Savepoints of one transaction.
const MOST_SAVEPOINTS: usize = 60;

/// What rows have deferred is looked at with them; a constraint that needs the rows of several sinks finds
/// them.
const DEFER: &str = "set constraints all deferred";
const LOOK: &str = "set constraints all immediate; set constraints all deferred";

/// Finds the records that are refused, and returns the error that names them.
///
/// # Errors
/// What the place cannot do for reasons of its own.
pub(crate) async fn probe(target: Target<'_>, epochs: &[Epoch], steps: &[Step]) -> Result<Error> {
    let parts = parts(target, epochs, steps)?;
    let units = units(&parts);
    let mut search = Search::among(units.len());
    let deadline = deadline(target.search);
    let probed = Probed { target, epochs, steps, parts: &parts, units: &units };
    // Without any found yet, to stop would be to try the same for ever.
    while !search.is_over() && (search.refused().is_empty() || Instant::now() < deadline) {
        if !probed.transaction(&mut search).await? {
            break;
        }
    }
    let refusals = search.refused().iter().map(|(unit, reason)| probed.refusal(*unit, reason));
    let refusals = refusals.collect::<Result<Vec<Refusal>>>()?;
    Ok(match refusals.is_empty() {
        false => Error::refused(refusals),
        true => Error::transient(format!(
            "commit epochs of job {} to Postgres at {}: rows were refused together and none by itself; \
             trying again",
            target.job, target.lease.server
        )),
    })
}

/// A batch that takes part.
struct Part<'a> {
    epoch: usize,
    staged: usize,
    batch: &'a SinkBatch,
    /// The rows that were not refused before.
    rows: Vec<usize>,
}

/// One record, with all rows that were made of it: the part and the row of each. A row that was read nowhere
/// stands alone.
type Unit = Vec<(usize, usize)>;

fn parts<'a>(target: Target<'_>, epochs: &'a [Epoch], steps: &[Step]) -> Result<Vec<Part<'a>>> {
    let mut parts = Vec::new();
    for (epoch, of) in applied(epochs, steps) {
        for (number, staged) in of.staged.iter().enumerate() {
            if staged.place == target.place {
                let rows = (0..staged.rows).filter(|row| !staged.is_refused(*row)).collect();
                parts.push(Part { epoch, staged: number, batch: batch(staged)?, rows });
            }
        }
    }
    // In the order in which a commit writes them, so that what is refused here is what was refused there.
    parts.sort_by_key(|part| (part.epoch, part.batch.order()));
    Ok(parts)
}

/// The records in the order in which their tasks saw them.
fn units(parts: &[Part<'_>]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut known: HashMap<(usize, Origin), usize> = HashMap::new();
    for (number, part) in parts.iter().enumerate() {
        for row in &part.rows {
            let origin = part.batch.origin(*row);
            let unit = match origin {
                Some(origin) => *known.entry((part.epoch, origin)).or_insert(units.len()),
                None => units.len(),
            };
            match units.get_mut(unit) {
                Some(unit) => unit.push((number, *row)),
                // The number behind the last: a record that was not seen yet.
                None => units.push(vec![(number, *row)]),
            }
        }
    }
    units
}

/// What is searched.
#[derive(Clone, Copy)]
struct Probed<'a> {
    target: Target<'a>,
    epochs: &'a [Epoch],
    steps: &'a [Step],
    parts: &'a [Part<'a>],
    units: &'a [Unit],
}

impl Probed<'_> {
    /// Goes on with the search in one transaction, which is rolled back. Returns whether it makes sense to go
    /// on in another.
    async fn transaction(&self, search: &mut Search) -> Result<bool> {
        let Target { lease, job, .. } = self.target;
        let mut standings = positions::lock(lease, job, self.epochs).await?;
        let (steps, _) = decide(&mut standings, self.epochs);
        // Another instance may have come since: its rows, and not these, are beside what is tried now.
        let stands = steps == self.steps;
        let goes_on = stands && self.goes_on(search).await?;
        rollback(lease).await?;
        Ok(goes_on)
    }

    async fn goes_on(&self, search: &mut Search) -> Result<bool> {
        let lease = self.target.lease;
        let attempted = format!("look for rows that are refused in Postgres at {}", lease.server);
        // As in a commit, where constraints that may be deferred are looked at behind all rows.
        lease.run(DEFER, &attempted).await?;
        if !self.write_accepted(search).await? {
            return Ok(false);
        }
        for _ in 0..MOST_SAVEPOINTS {
            // All are decided.
            let Some(range) = search.range() else { return Ok(true) };
            lease.run("savepoint rtbflow_probe", &attempted).await?;
            let tried = self.units.iter().skip(range.start).take(range.len());
            match self.write(tried, "release savepoint rtbflow_probe").await {
                Ok(()) => search.taken(&range),
                Err(FailedStatement { what, error }) => {
                    let (Blame::Row, reason) = blamed(&error) else { return Err(error) };
                    // Both: a savepoint that is only rolled back to stays, and counts.
                    let undo =
                        "rollback to savepoint rtbflow_probe; release savepoint rtbflow_probe";
                    lease.run(undo, &attempted).await?;
                    search.refuse(&range, BadRecord::new(format!("{what}: {reason}")));
                }
            }
        }
        Ok(true)
    }

    /// Writes what earlier transactions have found to be taken, so that the rest is tried beside it. Whether it was
    /// taken again.
    async fn write_accepted(&self, search: &Search) -> Result<bool> {
        let accepted: BTreeSet<usize> = search.accepted().collect();
        if accepted.is_empty() {
            return Ok(true);
        }
        let units = self.units.iter().enumerate();
        let accepted = units.filter(|(unit, _)| accepted.contains(unit)).map(|(_, rows)| rows);
        match self.write(accepted, "").await {
            Ok(()) => Ok(true),
            // Others have changed what it was taken beside.
            Err(FailedStatement { error, .. }) if blamed(&error).0 == Blame::Row => Ok(false),
            Err(FailedStatement { error, .. }) => Err(error),
        }
    }

    /// Writes the rows of these records, and looks at what they have deferred; then runs one more statement.
    async fn write(
        &self,
        units: impl Iterator<Item = &Unit>,
        then: &'static str,
    ) -> Result<(), FailedStatement> {
        let lease: &Lease<'_> = self.target.lease;
        let mut picked: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (part, row) in units.flatten() {
            picked.entry(*part).or_default().push(*row);
        }
        let batches = self.parts.iter().enumerate().map(|(number, part)| {
            // A part without any of these records has no rows to write.
            let mut rows = picked.remove(&number).unwrap_or_default();
            rows.sort_unstable();
            (part.batch, Picked::Some(rows))
        });
        let groups = Groups::of(batches)?;
        let mut pipeline = Pipeline::new(lease.client());
        let sent = |what: &str, is_about_rows| Sent { what: what.to_owned(), is_about_rows };
        groups.write(lease, &mut pipeline, |_, _| {}).await?;
        pipeline.send_plain(sent("commit what was deferred", true), LOOK).await;
        pipeline.send_plain(sent("accept rows", false), then).await;
        finish(lease, &mut pipeline).await
    }

    /// The refusal of a record: by one of its rows, with which all the others go.
    fn refusal(&self, unit: usize, reason: &BadRecord) -> Result<Refusal> {
        let first = self.units.get(unit).and_then(|rows| rows.first());
        let part = first.and_then(|(part, row)| Some((self.parts.get(*part)?, *row)));
        let (Part { epoch, staged, .. }, row) =
            part.ok_or_else(|| Error::broken("a record is refused that was not searched"))?;
        Ok(Refusal::new(*epoch, *staged, row, reason.clone()))
    }
}
