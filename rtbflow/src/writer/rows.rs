//! Rows on their way to a writer, as they were taken.

use std::fmt;
use std::sync::Arc;

use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::record::{Origin, Record};
use crate::sink::Sink;
use crate::staged::{Place, Staged, StagedRows};

/// A sink that stages the records that it is given for a writer of one's own.
///
/// # Examples
/// A writer that adds up what it is given; a real one would send it somewhere:
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use futures::FutureExt;
/// use futures::future::BoxFuture;
/// use rtbflow::epoch::{Epoch, Memory, Writer};
/// use rtbflow::sink::Place;
/// use rtbflow::source::IteratorSource;
/// use rtbflow::writer::Rows;
/// use rtbflow::{Job, Result};
///
/// #[derive(Clone)]
/// struct Adder(Place, Arc<AtomicU64>);
///
/// impl Writer for Adder {
///     fn place(&self) -> Place {
///         self.0
///     }
///
///     fn write<'a>(&'a self, epochs: &'a [Epoch]) -> BoxFuture<'a, Result<()>> {
///         let added = Rows::<u64>::of(epochs, self.0).map(|rows| {
///             self.1.fetch_add(rows.map(|record| record.value).sum(), Ordering::Relaxed);
///         });
///         async { added }.boxed()
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let adder = Adder(Place::new("adder"), Arc::default());
/// let job = Job::new("sums").source(IteratorSource::new("numbers", || 1..=4)).anchor(Memory::new());
/// let place = adder.place();
/// let job = job.writer(adder.clone()).pipeline(move |numbers| numbers.to(Rows::<u64>::new(place)));
/// job.run().await?;
/// assert_eq!(adder.1.load(Ordering::Relaxed), 10);
/// # Ok::<(), rtbflow::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Rows<T> {
    place: Place,
    staged: Vec<Record<T>>,
}

impl<T> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows({} for {})", self.staged.len(), self.place.kind())
    }
}

/// What is staged. The epochs are lent to the writer, so it is shared.
type SinkBatch<T> = Arc<[Record<T>]>;

impl<T: Send + Sync + 'static> StagedRows for SinkBatch<T> {
    fn origin(&self, row: usize) -> Option<Origin> {
        self.get(row)?.origin
    }
}

impl<T: Clone + Send + Sync + 'static> Rows<T> {
    /// A sink for this place.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { place, staged: Vec::new() }
    }

    /// The records that epochs have staged for a place, in order, but for those that were refused.
    ///
    /// # Errors
    /// A permanent one if something else than [`Rows`] of this type is staged for the place: it would not be written.
    pub fn of(epochs: &[Epoch], place: Place) -> Result<impl Iterator<Item = &Record<T>>> {
        let staged = || epochs.iter().flat_map(move |epoch| epoch.staged_for(place));
        if staged().any(|staged| staged.batch::<SinkBatch<T>>().is_none()) {
            return Err(Error::permanent(format!(
                "write rows of {} to {}: a sink has staged others for the same place; give each type of rows a place \
                 and a writer of its own",
                std::any::type_name::<T>(),
                place.kind()
            )));
        }
        let rows = staged().filter_map(|staged| Some((staged, staged.batch::<SinkBatch<T>>()?)));
        Ok(rows
            .flat_map(|(staged, rows)| rows.iter().enumerate().map(move |row| (staged, row)))
            .filter(|(staged, (row, _))| !staged.is_refused(*row))
            .map(|(_, (_, record))| record))
    }
}

impl<T: Clone + Send + Sync + 'static> Sink<T> for Rows<T> {
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
            let batch: SinkBatch<T> = rows.into();
            out.push(Staged::new(self.place, count, batch));
        }
    }

    fn places(&self) -> Vec<Place> {
        vec![self.place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::barrier::Gathered;
    use crate::position::Task;
    use crate::testing::builders::record;
    use crate::testing::laws;

    #[test]
    fn keeps_the_laws_of_sinks() {
        let place = Place::new("test");
        laws::sink(|| Rows::new(place), &[record("a", 0), record("b", 1)]);
    }

    #[test]
    fn rows_of_another_type_are_not_passed_over() {
        let (place, mut gathered) = (Place::new("test"), Gathered::default());
        let mut sink = Rows::new(place);
        sink.write(&record(7_i64, 0));
        sink.stage(&mut gathered.staged);
        let epochs = [Epoch::new(Task { number: 0, of: 1 }, Vec::new(), gathered)];
        assert_eq!(Rows::<i64>::of(&epochs, place).unwrap().count(), 1);
        let error = Rows::<u8>::of(&epochs, place).map(drop).unwrap_err();
        assert!(error.to_string().contains("write rows of u8 to test"), "{error}");
        assert_eq!(Rows::<u8>::of(&epochs, Place::new("other")).unwrap().count(), 0);
    }
}
