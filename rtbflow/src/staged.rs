//! What a sink has staged for one epoch, and what is known of its rows.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::Origin;
use crate::refused_result::RefusedResult;

/// A place where results go. Sinks and the anchor or writer they belong to carry the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    kind: &'static str,
    number: u64,
}

impl Place {
    /// A new place of this kind, such as `"postgres"`; each call makes another.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { kind, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The kind, such as `"postgres"`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        self.kind
    }
}

/// A batch that a sink has staged for its place.
pub struct Staged {
    /// The place that knows how to write it.
    pub place: Place,
    /// Rows, keys or events in it.
    pub rows: usize,
    batch: Box<dyn StagedRows>,
    refused: Vec<usize>,
}

/// The rows of a batch, in a form that only their place knows. Nothing of it has to be said, but what is said
/// lets a row that the place refuses become a dead letter that can be understood.
///
/// # Examples
/// ```
/// use rtbflow::sink::{Place, Staged, StagedRows};
/// use rtbflow::{Origin, Record};
///
/// struct Readings(Vec<Record<i64>>);
///
/// impl StagedRows for Readings {
///     fn origin(&self, row: usize) -> Option<Origin> {
///         self.0.get(row)?.origin
///     }
/// }
///
/// let staged = Staged::new(Place::new("board"), 1, Readings(vec![Record::derived(7, Default::default())]));
/// assert_eq!(staged.batch::<Readings>().unwrap().0[0].value, 7);
/// assert!(staged.refused().is_empty());
/// ```
pub trait StagedRows: Any + Send + Sync {
    /// Where the record of a row was read; `None` for a result that was read nowhere, and for a row that
    /// stands for many records.
    fn origin(&self, row: usize) -> Option<Origin> {
        let _ = row;
        None
    }

    /// What a dead letter carries of a row that has no origin: the whole row. Nothing unless a batch says
    /// otherwise.
    fn result(&self, row: usize) -> RefusedResult {
        let _ = row;
        RefusedResult::default()
    }
}

impl Staged {
    /// A batch of this many rows for a place.
    #[must_use]
    pub fn new(place: Place, rows: usize, batch: impl StagedRows) -> Self {
        Self { place, rows, batch: Box::new(batch), refused: Vec::new() }
    }

    /// The batch, if it is of this type.
    #[must_use]
    pub fn batch<B: StagedRows>(&self) -> Option<&B> {
        let batch: &dyn Any = &*self.batch;
        batch.downcast_ref()
    }

    /// The rows that the place has refused and that must be left out, by their numbers, ascending.
    #[must_use]
    pub fn refused(&self) -> &[usize] {
        &self.refused
    }

    /// Whether a row has been refused and must be left out.
    #[must_use]
    pub fn is_refused(&self, row: usize) -> bool {
        self.refused.binary_search(&row).is_ok()
    }

    /// Where the record of a row was read.
    #[must_use]
    pub fn origin(&self, row: usize) -> Option<Origin> {
        self.batch.origin(row)
    }

    /// What a dead letter carries of a row.
    #[must_use]
    pub fn result(&self, row: usize) -> RefusedResult {
        self.batch.result(row)
    }

    /// Leaves a row out from now on. False if it was left out already, or is none of the batch.
    pub(crate) fn refuse(&mut self, row: usize) -> bool {
        match self.refused.binary_search(&row) {
            Err(at) if row < self.rows => {
                self.refused.insert(at, row);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staged({} rows for {})", self.rows, self.place.kind())
    }
}
