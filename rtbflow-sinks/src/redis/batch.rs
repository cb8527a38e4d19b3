//! What a sink of this place stages: work for the script, and which rows each piece of it stands for.

use redis::Cmd;
use rtbflow::epoch::RefusedResult;
use rtbflow::sink::{Place, Staged, StagedRows};
use rtbflow::{Error, Origin, Result};

use crate::redis::merges::{Merged, Merges};
use crate::redis::operations::{Operation, Operations};

/// What a sink has staged.
pub(crate) struct SinkBatch {
    work: Work,
    /// Where the record of each row was read.
    origins: Vec<Option<Origin>>,
}

/// What is to be done for the rows. A piece of it is for one row, or for several that were merged.
pub(crate) enum Work {
    Operations(Operations),
    Merges(Merges),
}

/// A piece of work as it is sent: for all its rows that were not refused, or for one.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    of: Of<'a>,
    /// The row that it is for, or the first of them.
    pub(crate) row: usize,
    is_alone: bool,
}

#[derive(Clone, Copy)]
enum Of<'a> {
    Operation(&'a Operations, &'a Operation),
    Merge(&'a Merged),
}

impl SinkBatch {
    pub(crate) fn new(work: Work, origins: Vec<Option<Origin>>) -> Self {
        Self { work, origins }
    }

    pub(crate) fn staged(self, place: Place) -> Staged {
        Staged::new(place, self.origins.len(), self)
    }

    /// Whether its sink was put together rightly. A job asks the sink before anything is read; whoever drives a sink by
    /// hand may not.
    pub(crate) fn validate(&self) -> Result<()> {
        match &self.work {
            Work::Merges(Merges { wrong: Some(wrong), .. }) => Err(Error::config(wrong)),
            Work::Merges(_) | Work::Operations(_) => Ok(()),
        }
    }

    /// The pieces to be sent, without the rows that were refused. `apart`: row by row, so that the place
    /// can say which of them it refuses.
    pub(crate) fn pieces(&self, staged: &Staged, apart: bool) -> Vec<Piece<'_>> {
        let is_left = |row: usize| !staged.is_refused(row);
        let mut pieces = Vec::new();
        match &self.work {
            Work::Operations(all) => {
                for operation in all.iter() {
                    let rows = operation.rows().filter(|row| is_left(*row));
                    let together = !apart && operation.sum(is_left).is_some();
                    add(&mut pieces, Of::Operation(all, operation), rows, together);
                }
            }
            Work::Merges(all) => {
                for merged in &all.merged {
                    let rows = merged.rows().filter(|row| is_left(*row));
                    let together = !apart && merged.sums(is_left).is_some();
                    add(&mut pieces, Of::Merge(merged), rows, together);
                }
            }
        }
        if apart {
            // The script takes a row's work together: all of it, or none.
            pieces.sort_by_key(|piece| piece.row);
        }
        pieces
    }

    /// Adds what comes before the pieces to the command.
    pub(crate) fn prelude(&self, command: &mut Cmd) {
        match &self.work {
            Work::Operations(_) => {}
            Work::Merges(merges) => merges.prelude(command),
        }
    }
}

/// Adds a piece for all of these rows together, or one for each. Without rows there is nothing to do.
fn add<'a>(
    pieces: &mut Vec<Piece<'a>>,
    of: Of<'a>,
    rows: impl Iterator<Item = usize>,
    together: bool,
) {
    for row in rows {
        pieces.push(Piece { of, row, is_alone: !together });
        if together {
            break;
        }
    }
}

impl Piece<'_> {
    /// Adds it to the command.
    pub(crate) fn write(&self, staged: &Staged, command: &mut Cmd) -> Result<()> {
        let is_wanted = |row: usize| match self.is_alone {
            true => row == self.row,
            false => !staged.is_refused(row),
        };
        let written = match self.of {
            Of::Operation(all, operation) => all.write(operation, is_wanted, command),
            Of::Merge(merged) => merged.write(is_wanted, command),
        };
        // Rows that do not fit together go by themselves, and `check` refuses one that does not even so.
        written.ok_or_else(|| Error::broken("a number is sent to Redis that is beyond 64 bits"))
    }
}

impl StagedRows for SinkBatch {
    fn origin(&self, row: usize) -> Option<Origin> {
        // A row that was read nowhere has none either.
        self.origins.get(row).copied().flatten()
    }

    fn result(&self, row: usize) -> RefusedResult {
        let (key, value) = match &self.work {
            Work::Operations(operations) => operations.describe(row),
            Work::Merges(merges) => merges.describe(row),
        };
        let mut result = RefusedResult::new(value.to_string());
        result.key = key.map(String::into_bytes);
        result
    }
}
