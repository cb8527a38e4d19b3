//! A sink that keeps what it is given, in memory.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::element::Record;
use crate::sink::{Place, Sink, Staged};

/// What [`Memory`](crate::epoch::Memory) has committed of one sink, for all to read.
pub struct Collected<T> {
    rows: Arc<Mutex<Vec<Record<T>>>>,
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self { rows: Arc::clone(&self.rows) }
    }
}

impl<T> Default for Collected<T> {
    fn default() -> Self {
        Self { rows: Arc::default() }
    }
}

impl<T: Clone> Collected<T> {
    /// The committed records, in the order of their commits.
    #[must_use]
    pub fn records(&self) -> Vec<Record<T>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The values of the committed records, in the order of their commits.
    #[must_use]
    pub fn values(&self) -> Vec<T> {
        self.records().into_iter().map(|record| record.value).collect()
    }
}

impl<T> Collected<T> {
    fn append(&self, batch: impl IntoIterator<Item = Record<T>>) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).extend(batch);
    }
}

impl<T> fmt::Debug for Collected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.rows.lock().unwrap_or_else(PoisonError::into_inner).len();
        write!(f, "Collected({count} records)")
    }
}

/// Stages records for a [`Memory`](crate::epoch::Memory) anchor, which appends them to a
/// [`Collected`] when it commits.
pub struct Collect<T> {
    place: Place,
    to: Collected<T>,
    staged: Vec<Record<T>>,
}

impl<T> Collect<T> {
    pub(crate) fn new(place: Place, to: Collected<T>) -> Self {
        Self { place, to, staged: Vec::new() }
    }
}

impl<T> fmt::Debug for Collect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collect({} staged)", self.staged.len())
    }
}

impl<T: Clone + Send + Sync + 'static> Sink<T> for Collect<T> {
    fn write(&mut self, record: &Record<T>) {
        self.staged.push(record.clone());
    }

    fn pending(&self) -> usize {
        self.staged.len()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        let rows = std::mem::take(&mut self.staged);
        if !rows.is_empty() {
            let count = rows.len();
            let batch: Box<dyn Batch> = Box::new((self.to.clone(), rows));
            out.push(Staged { place: self.place, rows: count, batch: Box::new(batch) });
        }
    }

    fn places(&self) -> Vec<Place> {
        vec![self.place]
    }
}

/// A batch that knows where it goes; the anchor need not know the type of its records.
pub(crate) trait Batch: Send + Sync {
    fn apply(&self);
}

impl<T: Clone + Send + Sync> Batch for (Collected<T>, Vec<Record<T>>) {
    fn apply(&self) {
        self.0.append(self.1.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use crate::epoch::Memory;
    use crate::testing::builders::record;
    use crate::testing::laws;

    #[test]
    fn keeps_the_laws_of_sinks() {
        let (one, other) = (Memory::new(), Memory::new());
        let records = [record("a", 0), record("b", 1)];
        laws::sink(|| one.collect().0, &records);
        laws::sink(|| (one.collect().0, other.collect().0), &records);
    }
}
