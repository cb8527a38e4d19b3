//! A sink that keeps what it is given, in memory.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::barrier::{Class, Tally};
use crate::error::BadRecord;
use crate::record::{Origin, Record};
use crate::refused_result::RefusedResult;
use crate::sink::Sink;
use crate::staged::{Place, Staged, StagedRows};

/// What [`Memory`](crate::epoch::Memory) has committed of one pipeline's results, for all to read.
pub struct Collected<T> {
    place: Place,
    rows: Arc<Mutex<Vec<Record<T>>>>,
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self { place: self.place, rows: Arc::clone(&self.rows) }
    }
}

impl<T> Collected<T> {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, rows: Arc::default() }
    }

    /// A sink that adds to it; each task has its own.
    #[must_use]
    pub fn sink(&self) -> Collect<T> {
        let to = self.clone();
        Collect { to, same: None, constraint: None, description: None, staged: Vec::new() }
    }

    /// Removes all of them, as a job is [forgotten](crate::epoch::Memory::forget_with).
    pub fn clear(&self) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clear();
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

    /// The values behind the first `count`.
    #[cfg(feature = "testing")]
    pub(crate) fn values_from(&self, count: usize) -> Vec<T> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().skip(count).map(|record| record.value.clone()).collect()
    }

    /// Puts other records in the place of these.
    #[cfg(feature = "testing")]
    pub(crate) fn put_back(&self, records: Vec<Record<T>>) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = records;
    }
}

impl<T: Clone> Collected<T> {
    /// Adds the records that `same` does not find there already, and counts the others.
    fn append<'a>(&self, batch: impl Iterator<Item = &'a Record<T>>, same: Option<Same<T>>) -> Tally
    where
        T: 'a,
    {
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

/// Whether the place takes a value.
type Constraint<T> = fn(&T) -> Result<(), BadRecord>;

/// What a dead letter carries of a value that is refused and stands for many records.
type Description<T> = fn(&T) -> RefusedResult;

impl<T> fmt::Debug for Collected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.rows.lock().unwrap_or_else(PoisonError::into_inner).len();
        write!(f, "Collected({count} records)")
    }
}

/// Stages records for a [`Memory`](crate::epoch::Memory) anchor, which appends them to a
/// [`Collected`] when it commits.
pub struct Collect<T> {
    to: Collected<T>,
    same: Option<Same<T>>,
    constraint: Option<Constraint<T>>,
    description: Option<Description<T>>,
    staged: Vec<Record<T>>,
}

impl<T> Collect<T> {
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
    /// let orders = place.collected::<u32>();
    /// let job = Job::new("orders")
    ///     .source(MemorySource::new("orders", vec![vec![7, 8, 7]]))
    ///     .anchor(place.clone())
    ///     .pipeline({
    ///         let orders = orders.clone();
    ///         move |flow| flow.to(orders.sink().distinct(|a, b| a == b))
    ///     });
    /// let report = job.until_end(true).run().await?;
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

    /// What the place takes, as a constraint of a table does: a value that is against it is refused when its
    /// epoch is committed, and becomes a dead letter. For tests of what becomes of it.
    ///
    /// ```
    /// use rtbflow::epoch::Memory;
    /// use rtbflow::source::MemorySource;
    /// use rtbflow::{BadRecord, Job};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let place = Memory::new();
    /// let prices = place.collected::<i64>();
    /// let job = Job::new("prices")
    ///     .source(MemorySource::new("prices", vec![vec![120, -5, 90]]))
    ///     .anchor(place.clone())
    ///     .pipeline({
    ///         let prices = prices.clone();
    ///         let positive = |price: &i64| match price {
    ///             ..0 => Err(BadRecord::new("the price is negative")),
    ///             _ => Ok(()),
    ///         };
    ///         move |flow| flow.to(prices.sink().constraint(positive))
    ///     });
    /// let report = job.until_end(true).run().await?;
    /// assert_eq!(prices.values(), [120, 90]);
    /// assert_eq!((report.decoded, report.dead_lettered), (2, 1));
    /// # Ok::<(), rtbflow::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn constraint(self, constraint: fn(&T) -> Result<(), BadRecord>) -> Self {
        Self { constraint: Some(constraint), ..self }
    }

    /// What a dead letter carries of a value that is [refused](Self::constraint) and stands for many records, such as a
    /// window's result. Nothing unless this says it.
    ///
    /// ```
    /// use rtbflow::BadRecord;
    /// use rtbflow::epoch::{Memory, RefusedResult};
    ///
    /// let counts = Memory::new().collected::<u64>();
    /// let sink = counts
    ///     .sink()
    ///     .constraint(|n| if *n > 9 { Err(BadRecord::new("too many")) } else { Ok(()) })
    ///     .described_by(|n| RefusedResult::new(n.to_string()));
    /// # drop(sink);
    /// ```
    #[must_use]
    pub fn described_by(self, description: fn(&T) -> RefusedResult) -> Self {
        Self { description: Some(description), ..self }
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
            let Self { to, same, constraint, description, .. } = self;
            let (to, same) = (to.clone(), *same);
            let (constraint, description) = (*constraint, *description);
            let taken = Taken { to, same, constraint, description, records: rows };
            let batch = CollectedBatch(Box::new(taken));
            out.push(Staged::new(self.to.place, count, batch));
        }
    }

    fn places(&self) -> Vec<Place> {
        vec![self.to.place]
    }
}

/// A batch that knows where it goes; the anchor need not know the type of its records.
pub(crate) struct CollectedBatch(Box<dyn CollectedRows>);

impl CollectedBatch {
    /// Applies the rows but for those that were refused, and says what was found out about their records.
    pub(crate) fn apply(&self, refused: &[usize]) -> Tally {
        self.0.apply(refused)
    }

    /// The rows that are against the constraint, each with the reason.
    pub(crate) fn violations(&self) -> Vec<(usize, BadRecord)> {
        self.0.violations()
    }
}

impl StagedRows for CollectedBatch {
    fn origin(&self, row: usize) -> Option<Origin> {
        self.0.origin(row)
    }

    fn result(&self, row: usize) -> RefusedResult {
        self.0.result(row)
    }
}

trait CollectedRows: Send + Sync {
    fn apply(&self, refused: &[usize]) -> Tally;
    fn violations(&self) -> Vec<(usize, BadRecord)>;
    fn origin(&self, row: usize) -> Option<Origin>;
    fn result(&self, row: usize) -> RefusedResult;
}

struct Taken<T> {
    to: Collected<T>,
    same: Option<Same<T>>,
    constraint: Option<Constraint<T>>,
    description: Option<Description<T>>,
    records: Vec<Record<T>>,
}

impl<T: Clone + Send + Sync> CollectedRows for Taken<T> {
    fn apply(&self, refused: &[usize]) -> Tally {
        let kept = self.records.iter().enumerate();
        let kept = kept.filter(|(row, _)| refused.binary_search(row).is_err());
        self.to.append(kept.map(|(_, record)| record), self.same)
    }

    fn violations(&self) -> Vec<(usize, BadRecord)> {
        let Some(constraint) = self.constraint else { return Vec::new() };
        let rows = self.records.iter().enumerate();
        rows.filter_map(|(row, record)| Some((row, constraint(&record.value).err()?))).collect()
    }

    fn origin(&self, row: usize) -> Option<Origin> {
        self.records.get(row)?.origin
    }

    fn result(&self, row: usize) -> RefusedResult {
        let record = self.records.get(row);
        let described = record.and_then(|record| Some(self.description?(&record.value)));
        described.unwrap_or_default()
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
        laws::sink(|| one.collected().sink(), &records);
        laws::sink(|| (one.collected().sink(), other.collected().sink()), &records);
    }
}
