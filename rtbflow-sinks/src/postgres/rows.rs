//! Rows that a sink has staged, column by column.

use rtbflow::{Error, Origin, Record, Result};

use crate::postgres::cells::Cells;
use crate::postgres::columns::Column;

/// Rows in columnar form, in pieces of bounded size.
#[derive(Debug, Clone, Default)]
pub(crate) struct ColumnarRows {
    pub(crate) pieces: Vec<Piece>,
    /// Where the record of each row was read.
    pub(crate) origins: Vec<Option<Origin>>,
}

/// Some thousand rows, column by column.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) columns: Vec<Cells>,
    pub(crate) rows: usize,
}

impl Piece {
    /// Rows and bytes after which the next piece begins: small enough for the server's memory, large
    /// enough that a statement costs nothing beside its rows.
    const MOST_ROWS: usize = 8192;
    const MOST_BYTES: usize = 4 << 20;

    /// No rows, of as many columns.
    fn of<T>(columns: &[Column<T>]) -> Self {
        Self { columns: columns.iter().map(|_| Cells::default()).collect(), rows: 0 }
    }

    fn pick(&self, rows: impl Iterator<Item = usize> + Clone) -> Result<Self> {
        let column = |cells: &Cells| {
            let mut picked = Cells::default();
            for row in rows.clone() {
                // Left out of one column, it would move up all that is behind it, in that column alone.
                let element = cells.element(row);
                let missing = || Error::broken("a row that was staged has no value in a column");
                picked.push_element(element.ok_or_else(missing)?);
            }
            Ok(picked)
        };
        let columns = self.columns.iter().map(column).collect::<Result<_>>()?;
        Ok(Self { columns, rows: rows.count() })
    }

    fn bytes(&self) -> usize {
        self.columns.iter().map(|cells| cells.bytes().len()).sum()
    }

    fn is_full(&self) -> bool {
        // The bytes are summed up now and then only: a row is small beside a piece.
        self.rows >= Self::MOST_ROWS
            || (self.rows.is_multiple_of(64) && self.bytes() >= Self::MOST_BYTES)
    }
}

impl ColumnarRows {
    pub(crate) fn push<T>(&mut self, columns: &[Column<T>], record: &Record<T>) {
        let mut piece = match self.pieces.pop() {
            Some(last) if !last.is_full() => last,
            full => {
                self.pieces.extend(full);
                Piece::of(columns)
            }
        };
        for (column, cells) in columns.iter().zip(&mut piece.columns) {
            cells.push(&(column.cell)(record));
        }
        piece.rows += 1;
        self.pieces.push(piece);
        self.origins.push(record.origin);
    }

    pub(crate) fn count(&self) -> usize {
        self.origins.len()
    }

    /// These rows alone, by their numbers, ascending.
    pub(crate) fn pick(&self, rows: &[usize]) -> Result<Self> {
        let mut picked = Self::default();
        // Pieces and numbers go side by side, since both ascend.
        let (mut first, mut rows) = (0, rows);
        for piece in &self.pieces {
            let end = first + piece.rows;
            let (here, behind) = rows.split_at(rows.partition_point(|row| *row < end));
            if !here.is_empty() {
                picked.pieces.push(piece.pick(here.iter().map(|row| row - first))?);
            }
            picked.origins.extend(here.iter().map(|row| self.origins.get(*row).copied().flatten()));
            (first, rows) = (end, behind);
        }
        Ok(picked)
    }

    /// The elements of a row, in wire form.
    pub(crate) fn row(&self, mut row: usize) -> Vec<&[u8]> {
        for piece in &self.pieces {
            if row < piece.rows {
                let columns = piece.columns.iter();
                return columns.filter_map(|cells| cells.element(row)).collect();
            }
            row -= piece.rows;
        }
        // Whoever asks has the number of a row that was staged.
        Vec::new()
    }
}
