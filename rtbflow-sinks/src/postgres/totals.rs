//! Changes of rows, folded in memory to one a key before they are written.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;
use rtbflow::{Error, Record, Result};

use super::cell::{Cell, Cells, Kind, from_days, from_micros};
use super::columns::Column;

/// How the values of one key become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
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
    /// Finds a row whose sum does not fit any more.
    pub(crate) overflow_sql: Option<String>,
    /// The table's name as the pipeline wrote it.
    pub(crate) table: String,
    pub(crate) keys: Vec<(String, Kind)>,
    pub(crate) values: Vec<(String, Kind, Fold)>,
}

/// What the values of one column and key have come to.
#[derive(Debug, Clone)]
pub(crate) enum Slot {
    /// Wide enough that a sum can not overflow here, only where it is written.
    Sum(i128),
    SumDouble(f64),
    Value(Cell<'static>),
}

impl Slot {
    fn new(fold: Fold, cell: Cell<'_>) -> Self {
        match (fold, cell) {
            (Fold::Add, Cell::BigInt(number)) => Self::Sum(number.into()),
            (Fold::Add, Cell::Double(number)) => Self::SumDouble(number),
            (_, cell) => Self::Value(cell.into_owned()),
        }
    }

    fn merge(&mut self, fold: Fold, other: Self) {
        match (self, other) {
            (Self::Sum(sum), Self::Sum(more)) => *sum = sum.saturating_add(more),
            (Self::SumDouble(sum), Self::SumDouble(more)) => *sum += more,
            (Self::Value(held), Self::Value(new)) => {
                let replaces = match fold {
                    Fold::Set | Fold::Add => true,
                    Fold::Max => *held == Cell::Null || new.order(held).is_some_and(|o| o.is_gt()),
                    Fold::Min => *held == Cell::Null || new.order(held).is_some_and(|o| o.is_lt()),
                };
                if replaces {
                    *held = new;
                }
            }
            // A column has one kind and one fold, so that its slots are alike.
            (Self::Sum(_) | Self::SumDouble(_) | Self::Value(_), _) => {}
        }
    }
}

/// The changes of an epoch, one a key. The key is that of its columns' cells in wire form.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    rows: HashMap<Box<[u8]>, Box<[Slot]>, RandomState>,
}

impl Totals {
    pub(crate) fn count(&self) -> usize {
        self.rows.len()
    }

    /// Folds a record in; `key` is its key in wire form.
    pub(crate) fn fold<T>(
        &mut self,
        key: &[u8],
        values: &[Column<T>],
        folds: &[Fold],
        record: &Record<T>,
    ) {
        let slots = values
            .iter()
            .zip(folds)
            .map(|(column, fold)| (*fold, Slot::new(*fold, (column.cell)(record))));
        if let Some(held) = self.rows.get_mut(key) {
            for (held, (fold, slot)) in held.iter_mut().zip(slots) {
                held.merge(fold, slot);
            }
        } else if let Entry::Vacant(entry) = self.rows.entry(key.into()) {
            entry.insert(slots.map(|(_, slot)| slot).collect());
        }
    }
}

/// The changes of several epochs as columns, one row a key, in the order of the keys: every instance
/// locks rows in the same order, so that they wait for each other but never in a circle.
pub(crate) fn merged(plan: &TotalsPlan, batches: &[&Totals]) -> Result<Vec<Vec<Cells>>> {
    /// Keys a statement.
    const MOST_ROWS: usize = 16_384;
    let mut rows: Vec<(&[u8], &[Slot])> = Vec::new();
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

fn columns(plan: &TotalsPlan, keys: &[&[(&[u8], &[Slot])]]) -> Result<Vec<Cells>> {
    let mut columns = vec![Cells::default(); plan.keys.len() + plan.values.len()];
    for &same_key in keys {
        let Some(((key, slots), more)) = same_key.split_first() else { continue };
        let (key_columns, value_columns) = columns.split_at_mut(plan.keys.len());
        for (element, cells) in elements(key).zip(key_columns) {
            cells.push_element(element);
        }
        for (at, ((name, kind, fold), cells)) in plan.values.iter().zip(value_columns).enumerate() {
            let Some(first) = slots.get(at) else { continue };
            let mut slot = first.clone();
            for (_, slots) in more {
                if let Some(next) = slots.get(at) {
                    slot.merge(*fold, next.clone());
                }
            }
            cells.push(&finished(*kind, slot).ok_or_else(|| overflow(plan, name, key))?);
        }
    }
    Ok(columns)
}

fn finished(kind: Kind, slot: Slot) -> Option<Cell<'static>> {
    Some(match slot {
        Slot::Sum(sum) if kind == Kind::BigInt => Cell::BigInt(i64::try_from(sum).ok()?),
        Slot::Sum(_) => return None,
        Slot::SumDouble(sum) => Cell::Double(sum),
        Slot::Value(cell) => cell,
    })
}

/// The error of a sum that is beyond its column.
#[cold]
fn overflow(plan: &TotalsPlan, column: &str, key: &[u8]) -> Error {
    let shown: Vec<String> = elements(key)
        .zip(&plan.keys)
        .map(|(element, (name, kind))| format!("{name} = {}", show(*kind, element)))
        .collect();
    overflow_at(plan, column, &shown.join(", "))
}

#[cold]
pub(crate) fn overflow_at(plan: &TotalsPlan, column: &str, key: &str) -> Error {
    Error::permanent(format!(
        "add to column {column:?} of table {:?} where {key}: the sum is out of range",
        plan.table
    ))
}

/// The elements of a key in wire form, each with its length.
fn elements(mut key: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = key.first_chunk::<4>()?;
        let whole = usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_add(4)?;
        let (element, rest) = key.split_at_checked(whole)?;
        key = rest;
        Some(element)
    })
}

fn show(kind: Kind, element: &[u8]) -> String {
    let bytes = element.get(4..).unwrap_or_default();
    let long = || bytes.try_into().map(i64::from_be_bytes).unwrap_or_default();
    let short = || bytes.try_into().map(i32::from_be_bytes).unwrap_or_default();
    match kind {
        Kind::Text => format!("{:?}", String::from_utf8_lossy(bytes)),
        Kind::BigInt => long().to_string(),
        Kind::Int => short().to_string(),
        Kind::Timestamp => from_micros(long()).to_string(),
        Kind::Date => from_days(short()).to_string(),
        Kind::Bool | Kind::Double | Kind::Bytes => format!("{bytes:?}"),
    }
}
