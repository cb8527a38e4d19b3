//! A sink that keeps what it is given, in memory.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::barrier::{Class, Tally};
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

impl<T: Clone> Collected<T> {
    /// Adds the records that `same` does not find there already, and counts the others.
    fn append(&self, batch: &[Record<T>], same: Option<Same<T>>) -> Tally {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Tally::NONE;
        for record in batch {
            if same.is_some_and(|same| rows.iter().any(|row| same(&row.value, &record.value))) {
                found.add(Class::Duplicate, u64::from(record.is_accountable()));
            } else {
                rows.push(record.clone());
            }
        }
        found
    }
}

/// Whether two values are of the same thing.
type Same<T> = fn(&T, &T) -> bool;

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
    same: Option<Same<T>>,
    staged: Vec<Record<T>>,
}

impl<T> Collect<T> {
    pub(crate) fn new(place: Place, to: Collected<T>) -> Self {
        Self { place, to, same: None, staged: Vec::new() }
    }

    /// Leaves out what is there already: the first that is committed stays, and each other one that
    /// `same` says is the same counts as a duplicate. It compares with all that is there.
    ///
    /// ```
    /// use rtbflow::Job;
    /// use rtbflow::epoch::Memory;
    /// use rtbflow::source::MemorySource;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let place = Memory::new();
    /// let (_, orders) = place.collect::<u32>();
    /// let job = Job::new("orders")?
    ///     .source(MemorySource::new("orders", vec![vec![7, 8, 7]]))
    ///     .anchor(place.clone())
    ///     .pipeline({
    ///         let orders = orders.clone();
    ///         move |flow| flow.to(place.collect_into(&orders).distinct(|a, b| a == b))
    ///     });
    /// let report = job.until_end(true).run(std::future::pending()).await?;
    /// assert_eq!(orders.values(), [7, 8]);
    /// assert_eq!(report.duplicates, 1);
    /// # Ok::<(), rtbflow::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn distinct(self, same: fn(&T, &T) -> bool) -> Self {
        Self { same: Some(same), ..self }
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
            let batch: Box<dyn Batch> = Box::new((self.to.clone(), self.same, rows));
            out.push(Staged { place: self.place, rows: count, batch: Box::new(batch) });
        }
    }

    fn places(&self) -> Vec<Place> {
        vec![self.place]
    }
}

/// A batch that knows where it goes; the anchor need not know the type of its records.
pub(crate) trait Batch: Send + Sync {
    /// Applies it, and tells what was found out about its records.
    fn apply(&self) -> Tally;
}

impl<T: Clone + Send + Sync> Batch for (Collected<T>, Option<Same<T>>, Vec<Record<T>>) {
    fn apply(&self) -> Tally {
        let (to, same, rows) = self;
        to.append(rows, *same)
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
