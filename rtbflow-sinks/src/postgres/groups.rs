//! What a commit writes: the rows of all its epochs, one group per statement.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use rtbflow::barrier::Tally;
use rtbflow::{Error, Partition, Result};

use crate::postgres::batch::{Part, RowsPlan, SinkBatch, Work};
use crate::postgres::cell::Kind;
use crate::postgres::cells::{Array, Cells};
use crate::postgres::failure::{failure, place_failure};
use crate::postgres::pipeline::{Parameter, Pipeline, parameter};
use crate::postgres::rows::{ColumnarRows, Piece};
use crate::postgres::session::Lease;
use crate::postgres::totals::{Totals, TotalsPlan, merged};
use crate::postgres::transaction::Transaction;

/// Which rows of a batch are meant.
pub(crate) enum Picked {
    All,
    /// These, by their numbers, ascending.
    Some(Vec<usize>),
}

/// The batches of one statement together, in the order in which the pipeline made the sinks.
pub(crate) struct Groups<'a>(BTreeMap<(usize, &'a str), Group<'a>>);

/// What one statement writes, gathered from all epochs.
enum Group<'a> {
    Rows(&'a RowsPlan, Vec<Cow<'a, ColumnarRows>>),
    /// Columns of folded rows, some thousand each.
    Totals(&'a TotalsPlan, Vec<Cow<'a, Totals>>, Vec<Vec<Cells>>),
    Own(&'a dyn Work, Vec<Part<'a>>),
}

/// What a statement was sent for.
pub(crate) struct Sent {
    /// What it does, such as `insert into "t"`.
    pub(crate) what: String,
    /// Whether it is about rows: then one of them may be to blame if it fails.
    pub(crate) is_about_rows: bool,
}

impl Sent {
    fn rows(what: String) -> Self {
        Self { what, is_about_rows: true }
    }
}

/// A statement that has failed.
pub(crate) struct FailedStatement {
    /// What it does, such as `insert into "t"`.
    pub(crate) what: String,
    pub(crate) error: Error,
}

impl FailedStatement {
    /// Something that has no statement.
    pub(crate) fn alone(error: Error) -> Self {
        Self { what: String::new(), error }
    }
}

impl<'a> Groups<'a> {
    /// Gathers batches, in the order of their epochs.
    pub(crate) fn of(
        batches: impl IntoIterator<Item = (&'a SinkBatch, Picked)>,
    ) -> Result<Self, FailedStatement> {
        let mut groups: BTreeMap<(usize, &'a str), Group<'a>> = BTreeMap::new();
        for (batch, picked) in batches {
            // All of its rows were refused, or none of them is tried this time.
            if matches!(&picked, Picked::Some(rows) if rows.is_empty()) {
                continue;
            }
            let group = match groups.entry(batch.order()) {
                Entry::Occupied(group) => group.into_mut(),
                Entry::Vacant(entry) => {
                    batch.validate().map_err(FailedStatement::alone)?;
                    entry.insert(Group::of(batch))
                }
            };
            group.add(batch, picked).map_err(FailedStatement::alone)?;
        }
        let mut groups = Self(groups);
        groups.merge()?;
        Ok(groups)
    }

    /// Merges what upserts have folded in each epoch.
    fn merge(&mut self) -> Result<(), FailedStatement> {
        for group in self.0.values_mut() {
            if let Group::Totals(plan, all, columns) = group {
                *columns = merged(plan, all)
                    .map_err(|error| FailedStatement { what: plan.what(), error })?;
            }
        }
        Ok(())
    }

    /// Writes everything: statements are sent without waiting, but for the pipeline's own functions, which
    /// wait for theirs. `found` takes what these find out about records.
    pub(crate) async fn write<'s>(
        &'s self,
        lease: &'s Lease<'_>,
        pipeline: &mut Pipeline<'s, Sent>,
        mut found: impl FnMut(Partition, Tally),
    ) -> Result<(), FailedStatement> {
        for group in self.0.values() {
            match group {
                Group::Rows(plan, batches) => {
                    // Sent without waiting for the answers: the server works while the next arrays are written.
                    for parameters in
                        row_parameters(plan, batches).map_err(FailedStatement::alone)?
                    {
                        let sent = Sent::rows(plan.attempted.clone());
                        pipeline.send(sent, plan.sql.clone(), parameters).await;
                    }
                }
                Group::Totals(plan, _, statements) => {
                    for columns in statements {
                        let parameters = total_parameters(plan, columns);
                        pipeline.send(Sent::rows(plan.what()), plan.sql.clone(), parameters).await;
                    }
                }
                Group::Own(work, parts) => {
                    let found_here = run(*work, parts, lease, pipeline).await?;
                    found_here.into_iter().for_each(|(partition, tally)| found(partition, tally));
                }
            }
        }
        Ok(())
    }
}

impl<'a> Group<'a> {
    /// An empty group, for batches as this one.
    fn of(batch: &'a SinkBatch) -> Self {
        match batch {
            SinkBatch::Rows(plan, _) => Self::Rows(plan, Vec::new()),
            SinkBatch::Totals(plan, _) => Self::Totals(plan, Vec::new(), Vec::new()),
            SinkBatch::Own(_, work) => Self::Own(&**work, Vec::new()),
        }
    }

    fn add(&mut self, batch: &'a SinkBatch, picked: Picked) -> Result<()> {
        match (self, batch) {
            (Self::Rows(_, all), SinkBatch::Rows(_, rows)) => all.push(match picked {
                Picked::All => Cow::Borrowed(rows),
                Picked::Some(picked) => Cow::Owned(rows.pick(&picked)?),
            }),
            (Self::Totals(_, all, _), SinkBatch::Totals(plan, totals)) => all.push(match picked {
                Picked::All => Cow::Borrowed(totals),
                Picked::Some(picked) => Cow::Owned(totals.pick(plan, &picked)?),
            }),
            (Self::Own(_, all), SinkBatch::Own(_, work)) => {
                let ranges = match picked {
                    Picked::All => std::iter::once(0..work.count()).collect(),
                    Picked::Some(rows) => ranges(&rows),
                };
                all.push(Part { work: &**work, ranges });
            }
            // The name by which a sink has its place in the order says of what kind it is.
            _ => return Err(Error::broken("sinks of two kinds have one place in the order")),
        }
        Ok(())
    }
}

/// Runs a function of the pipeline's own; returns what it found out about records.
async fn run<'a>(
    work: &'a dyn Work,
    parts: &'a [Part<'a>],
    lease: &'a Lease<'_>,
    pipeline: &mut Pipeline<'_, Sent>,
) -> Result<BTreeMap<Partition, Tally>, FailedStatement> {
    let what = format!("run {:?}", work.name());
    let attempted = format!("{what} in Postgres at {}", lease.server);
    let tx = Transaction::new(lease.client(), attempted);
    let returned = work.run(&tx, parts).await;
    match tx.outcome(returned) {
        Ok(((), found)) => Ok(found),
        Err(error) => {
            // A statement that was sent before may have failed, and the function's then failed for that alone: the
            // first error is the one that counts.
            finish(lease, pipeline).await?;
            Err(FailedStatement { what, error })
        }
    }
}

/// Waits for all answers; the first error is the one that counts.
pub(crate) async fn finish(
    lease: &Lease<'_>,
    pipeline: &mut Pipeline<'_, Sent>,
) -> Result<(), FailedStatement> {
    pipeline.finish().await.map_err(|(Sent { what, is_about_rows }, error)| {
        let attempted = format!("{what} in Postgres at {}", lease.server);
        let error = match is_about_rows {
            true => failure(&attempted, &error),
            false => place_failure(&attempted, &error),
        };
        FailedStatement { what, error }
    })
}

/// Numbers that follow each other, as ranges.
fn ranges(rows: &[usize]) -> Vec<Range<usize>> {
    // Chunks are never empty.
    rows.chunk_by(|a, b| a + 1 == *b)
        .filter_map(|run| Some(*run.first()?..run.last()? + 1))
        .collect()
}

/// The parameters of each run of a statement: pieces of rows, up to a bounded number of rows.
fn row_parameters<'a>(
    plan: &RowsPlan,
    batches: &'a [Cow<'_, ColumnarRows>],
) -> Result<Vec<Vec<Parameter<'a>>>> {
    /// Rows per statement, unless one piece has more.
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
    statements.iter().map(|pieces| columns(plan, pieces)).collect()
}

/// The columns of some pieces, each as one array.
fn columns<'a>(plan: &RowsPlan, pieces: &[&'a Piece]) -> Result<Vec<Parameter<'a>>> {
    let column = |(at, kind): (usize, &Kind)| {
        // The server fills an array that is shorter than the others with nulls.
        let missing = || Error::broken("rows that were staged lack a column");
        let cells = pieces.iter().map(|piece| piece.columns.get(at).ok_or_else(missing));
        let cells = cells.collect::<Result<Vec<&Cells>>>()?;
        Ok(parameter(Array::new(*kind, cells), kind.array()))
    };
    plan.kinds.iter().enumerate().map(column).collect()
}

fn total_parameters<'a>(plan: &TotalsPlan, columns: &'a [Cells]) -> Vec<Parameter<'a>> {
    let keys = plan.keys.iter().map(|(_, kind)| *kind);
    let kinds = keys.chain(plan.values.iter().map(|(_, kind, _)| *kind));
    kinds
        .zip(columns)
        .map(|(kind, cells)| parameter(Array::new(kind, [cells]), kind.array()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_one_range() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), [0..3, 5..6, 7..9]);
        assert!(ranges(&[]).is_empty());
    }
}
