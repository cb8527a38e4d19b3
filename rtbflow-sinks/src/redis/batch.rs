//! What a sink of this place stages: work for the script, and which rows each piece of it stands for.

use redis::Cmd;
use rtbflow::Origin;
use rtbflow::epoch::RefusedResult;
use rtbflow::sink::{Place, Staged, StagedRows};
use serde_json::Value;

/// Operations that stand for rows. An operation has one part for each row that was merged into it, or
/// just one.
pub(crate) trait Work: Send + Sync + 'static {
    /// How many operations there are.
    fn operations(&self) -> usize;

    /// How many parts an operation has; never 0.
    fn parts(&self, operation: usize) -> usize;

    /// The row of a part.
    fn row(&self, operation: usize, part: usize) -> usize;

    /// What comes before the operations.
    fn prelude(&self, command: &mut Cmd) {
        let _ = command;
    }

    /// Whether these parts can be sent as one operation: whether their sums fit 64 bits.
    fn fits(&self, operation: usize, is_part: &dyn Fn(usize) -> bool) -> bool;

    /// Adds the operation of these parts to the command.
    fn write(&self, operation: usize, is_part: &dyn Fn(usize) -> bool, command: &mut Cmd);

    /// What a row does, for whoever reads a dead letter: its key, and all of it.
    fn describe(&self, row: usize) -> (Option<String>, Value);
}

/// What a sink has staged.
pub(crate) struct Batch {
    work: Box<dyn Work>,
    /// Where the record of each row was read.
    origins: Vec<Option<Origin>>,
    /// Why the sink cannot be used at all, as far as somebody made a mistake in putting it together.
    pub(crate) mistake: Option<String>,
}

/// An operation as it is sent: of all parts that were not refused, or of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    operation: usize,
    part: Option<usize>,
}

impl Batch {
    pub(crate) fn new(work: impl Work, origins: Vec<Option<Origin>>) -> Self {
        Self { work: Box::new(work), origins, mistake: None }
    }

    pub(crate) fn mistaken(self, mistake: Option<String>) -> Self {
        Self { mistake, ..self }
    }

    pub(crate) fn staged(self, place: Place) -> Staged {
        Staged::new(place, self.origins.len(), self)
    }

    /// The operations to be sent, without the rows that were refused. `apart`: row by row, so that the place
    /// can say which of them it refuses.
    pub(crate) fn pieces(&self, staged: &Staged, apart: bool) -> Vec<Piece> {
        let mut pieces = self.in_order(staged, apart);
        if apart {
            pieces.sort_by_key(|piece| self.first_row(*piece));
        }
        pieces
    }

    /// The row of a piece, or the first of them.
    pub(crate) fn first_row(&self, piece: Piece) -> usize {
        self.work.row(piece.operation, piece.part.unwrap_or(0))
    }

    fn in_order(&self, staged: &Staged, apart: bool) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(self.work.operations());
        for operation in 0..self.work.operations() {
            let parts = self.work.parts(operation);
            let is_part = |part: usize| !staged.is_refused(self.work.row(operation, part));
            if parts == 1 || (!apart && self.work.fits(operation, &is_part)) {
                if (0..parts).any(is_part) {
                    pieces.push(Piece { operation, part: None });
                }
            } else {
                let each = (0..parts).filter(|part| is_part(*part));
                pieces.extend(each.map(|part| Piece { operation, part: Some(part) }));
            }
        }
        pieces
    }

    /// Adds what comes before the pieces to the command.
    pub(crate) fn prelude(&self, command: &mut Cmd) {
        self.work.prelude(command);
    }

    /// Adds a piece to the command.
    pub(crate) fn write(&self, staged: &Staged, piece: Piece, command: &mut Cmd) {
        let Piece { operation, part } = piece;
        let is_part = |number: usize| match part {
            Some(part) => part == number,
            None => !staged.is_refused(self.work.row(operation, number)),
        };
        self.work.write(operation, &is_part, command);
    }
}

impl StagedRows for Batch {
    fn origin(&self, row: usize) -> Option<Origin> {
        self.origins.get(row).copied().flatten()
    }

    fn result(&self, row: usize) -> RefusedResult {
        let (key, value) = self.work.describe(row);
        let mut result = RefusedResult::new(value.to_string());
        result.key = key.map(String::into_bytes);
        result
    }
}
