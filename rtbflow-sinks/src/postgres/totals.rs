//! Changes of rows, folded in memory to one per key before they are written.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use rtbflow::epoch::RefusedResult;
use rtbflow::{Error, Origin, Record, Result};

use crate::postgres::cell::{Cell, Kind};
use crate::postgres::cells::{Cells, elements};
use crate::postgres::columns::Column;
use crate::postgres::failure::row_failure;
use crate::postgres::json;

/// How the values of one key become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnFold {
    /// The last one.
    Set,
    /// Their sum.
    Add,
    /// The greatest.
    Max,
    /// The least.
    Min,
}

/// How folded changes are written.
pub(crate) struct TotalsPlan {
    pub(crate) rank: usize,
    pub(crate) sql: String,
    /// The table's name as the pipeline wrote it.
    pub(crate) table: String,
    pub(crate) keys: Vec<(String, Kind)>,
    pub(crate) values: Vec<(String, Kind, ColumnFold)>,
    /// What is wrong with the sink: its rows are not written.
    pub(crate) wrong: Option<String>,
}

impl TotalsPlan {
    /// What it does, for messages.
    pub(crate) fn what(&self) -> String {
        format!("upsert into {}", self.table)
    }
}

/// What the values of one column and key have come to.
#[derive(Debug, Clone)]
pub(crate) enum Total {
    /// Wide enough that a sum cannot overflow here, only where it is written.
    Sum(i128),
    SumDouble(f64),
    Value(Cell<'static>),
}

impl Total {
    fn new(fold: ColumnFold, cell: Cell<'_>) -> Self {
        match (fold, cell) {
            (ColumnFold::Add, Cell::BigInt(number)) => Self::Sum(number.into()),
            (ColumnFold::Add, Cell::Double(number)) => Self::SumDouble(number),
            (_, cell) => Self::Value(cell.into_owned()),
        }
    }

    /// Folds another value into this one.
    ///
    /// # Errors
    /// If it is of another form: a column has one kind and one fold, so that its values are alike.
    fn merge(&mut self, fold: ColumnFold, other: Self) -> Result<()> {
        match (self, other) {
            // Of numbers of 64 bits, of which memory does not hold enough to get to the end of 128.
            (Self::Sum(sum), Self::Sum(more)) => *sum = sum.saturating_add(more),
            (Self::SumDouble(sum), Self::SumDouble(more)) => *sum += more,
            (Self::Value(held), Self::Value(new)) => {
                let replaces = match fold {
                    ColumnFold::Set | ColumnFold::Add => true,
                    ColumnFold::Max => {
                        *held == Cell::Null || new.order(held).is_some_and(|o| o.is_gt())
                    }
                    ColumnFold::Min => {
                        *held == Cell::Null || new.order(held).is_some_and(|o| o.is_lt())
                    }
                };
                if replaces {
                    *held = new;
                }
            }
            (Self::Sum(_) | Self::SumDouble(_) | Self::Value(_), _) => {
                return Err(Error::broken("values of one column are folded in two ways"));
            }
        }
        Ok(())
    }
}

/// The changes of an epoch, one per key. The key is that of its columns' cells in wire form.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    rows: HashMap<Box<[u8]>, Box<[Total]>, RandomState>,
    /// What was folded, record by record: the cells of its key, then those of its values. Should the place
    /// refuse one of the records, the others are folded again.
    log: Cells,
    /// Where each record was read.
    origins: Vec<Option<Origin>>,
}

impl Totals {
    pub(crate) fn keys(&self) -> usize {
        self.rows.len()
    }

    /// How many records were folded.
    pub(crate) fn count(&self) -> usize {
        self.origins.len()
    }

    /// Where a record was read.
    pub(crate) fn origin(&self, record: usize) -> Option<Origin> {
        self.origins.get(record).copied().flatten()
    }

    /// Folds a record in.
    pub(crate) fn fold<T>(
        &mut self,
        keys: &[Column<T>],
        values: &[Column<T>],
        folds: &[ColumnFold],
        record: &Record<T>,
    ) {
        let Self { rows, log, origins } = self;
        let begin = log.bytes().len();
        for column in keys {
            log.push(&(column.cell)(record));
        }
        let values = values.iter().zip(folds).map(|(column, fold)| (*fold, (column.cell)(record)));
        // From where the log ended before its columns were added: the key of the table is what is written anyway.
        let key = log.bytes().get(begin..).unwrap_or_default();
        if let Some(held) = rows.get_mut(key) {
            for (held, (fold, cell)) in held.iter_mut().zip(values) {
                log.push(&cell);
                if let Err(error) = held.merge(fold, Total::new(fold, cell)) {
                    error.spoil_epoch();
                }
            }
        } else {
            let key = key.into();
            let slot = |(fold, cell)| {
                log.push(&cell);
                Total::new(fold, cell)
            };
            rows.insert(key, values.map(slot).collect());
        }
        origins.push(record.origin);
    }

    /// These records alone, by their numbers, ascending.
    pub(crate) fn pick(&self, plan: &TotalsPlan, records: &[usize]) -> Result<Self> {
        let mut picked = Self::default();
        for record in records {
            picked.fold_wire(plan, &self.cells(plan, *record)?, self.origin(*record))?;
        }
        Ok(picked)
    }

    fn fold_wire(
        &mut self,
        plan: &TotalsPlan,
        cells: &[&[u8]],
        origin: Option<Origin>,
    ) -> Result<()> {
        let (key, values) = cells.split_at_checked(plan.keys.len()).ok_or_else(incomplete)?;
        // As `fold` makes it, so that the same records have the same key.
        let key: Box<[u8]> = key.concat().into();
        let slots = plan.values.iter().zip(values).map(|((_, kind, fold), element)| {
            Ok((*fold, Total::new(*fold, Cell::read(*kind, element)?)))
        });
        match self.rows.get_mut(&key) {
            Some(held) => {
                for (held, slot) in held.iter_mut().zip(slots) {
                    let (fold, slot) = slot?;
                    held.merge(fold, slot)?;
                }
            }
            None => {
                let slots = slots.map(|slot: Result<(ColumnFold, Total)>| Ok(slot?.1));
                self.rows.insert(key, slots.collect::<Result<_>>()?);
            }
        }
        cells.iter().for_each(|element| self.log.push_element(element));
        self.origins.push(origin);
        Ok(())
    }

    /// The cells of a record, in wire form: of its key, then of its values.
    fn cells(&self, plan: &TotalsPlan, record: usize) -> Result<Vec<&[u8]>> {
        let columns = plan.keys.len() + plan.values.len();
        let numbers = record * columns..(record + 1) * columns;
        numbers.map(|number| self.log.element(number).ok_or_else(incomplete)).collect()
    }

    /// A record as a dead letter carries it.
    pub(crate) fn result(&self, plan: &TotalsPlan, record: usize) -> RefusedResult {
        let keys = plan.keys.iter().map(|(name, kind)| (&**name, *kind));
        let values = plan.values.iter().map(|(name, kind, _)| (&**name, *kind));
        // It is only shown: what cannot be read back ends the job where the others are folded again.
        let cells = self.cells(plan, record).unwrap_or_default();
        json::wire_row(keys.chain(values), cells)
    }
}

#[cold]
fn incomplete() -> Error {
    Error::broken("a record that was folded is not whole in the log of its epoch")
}

/// The changes of several epochs as columns, one row per key, in the order of the keys: every instance
/// locks rows in the same order, so that they wait for each other but never in a circle.
pub(crate) fn merged(plan: &TotalsPlan, batches: &[Cow<'_, Totals>]) -> Result<Vec<Vec<Cells>>> {
    /// Keys per statement.
    const MOST_ROWS: usize = 16_384;
    let mut rows: Vec<(&[u8], &[Total])> = Vec::new();
    for batch in batches {
        #[expect(clippy::iter_over_hash_type, reason = "sorted just below")]
        for (key, slots) in &batch.rows {
            rows.push((key, slots));
        }
    }
    rows.sort_by_key(|(key, _)| *key);
    rows.chunk_by(|(a, _), (b, _)| a == b)
        .collect::<Vec<_>>()
        .chunks(MOST_ROWS)
        .map(|keys| columns(plan, keys))
        .collect()
}

fn columns(plan: &TotalsPlan, keys: &[&[(&[u8], &[Total])]]) -> Result<Vec<Cells>> {
    let mut columns = vec![Cells::default(); plan.keys.len() + plan.values.len()];
    for &same_key in keys {
        // Chunks are never empty.
        let Some(((key, slots), more)) = same_key.split_first() else { continue };
        let mut totals = slots.to_vec();
        for (_, slots) in more {
            for ((total, slot), (_, _, fold)) in totals.iter_mut().zip(*slots).zip(&plan.values) {
                total.merge(*fold, slot.clone())?;
            }
        }
        let (key_columns, value_columns) = columns.split_at_mut(plan.keys.len());
        for (element, cells) in elements(key).zip(key_columns) {
            cells.push_element(element);
        }
        let totals = plan.values.iter().zip(totals).zip(value_columns);
        for (((name, kind, _), total), cells) in totals {
            cells.push(&finished(*kind, total).ok_or_else(|| overflow(plan, name, key))?);
        }
    }
    Ok(columns)
}

fn finished(kind: Kind, slot: Total) -> Option<Cell<'static>> {
    Some(match slot {
        Total::Sum(sum) if kind == Kind::BigInt => Cell::BigInt(i64::try_from(sum).ok()?),
        // There is no other whole number that is added to.
        Total::Sum(_) => return None,
        Total::SumDouble(sum) => Cell::Double(sum),
        Total::Value(cell) => cell,
    })
}

/// The error of a sum that is beyond its column.
#[cold]
fn overflow(plan: &TotalsPlan, column: &str, key: &[u8]) -> Error {
    let shown: Vec<String> = elements(key)
        .zip(&plan.keys)
        .filter_map(|(element, (name, kind))| {
            // It is only shown.
            Some(format!("{name} = {}", Cell::read(*kind, element).ok()?))
        })
        .collect();
    row_failure(
        &plan.what(),
        format!("the sum of column {column:?} where {} is out of range", shown.join(", ")),
    )
}
