//! A source of what an iterator makes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::bounded::offset_of;
use crate::error::{Error, Result};
use crate::record::{Partition, Topic};
use crate::source::memory::{MOST_RECORDS, chunked};
use crate::source::{Context, EventTime, FixedFeed, MemoryBatch, Source};
use crate::time::Timestamp;

/// A source of the values of iterators, made as they are read.
///
/// A closure makes the iterator, anew whenever the job starts to read. Where it makes the same values
/// each time, a job over it recovers exactly: it goes on behind the values that it has committed, by
/// their number. One that does not end is read for ever; values that are there already are better in a
/// [`MemorySource`](crate::source::MemorySource).
///
/// # Examples
/// ```
/// use rtbflow::epoch::Memory;
/// use rtbflow::source::IteratorSource;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let place = Memory::new();
/// let out = place.collected::<u64>();
/// let job = rtbflow::Job::new("squares")
///     .source(IteratorSource::new("numbers", || 1..=3_u64))
///     .anchor(place.clone())
///     .pipeline({
///         let out = out.clone();
///         move |numbers| numbers.map(|n| n * n).to(out.sink())
///     });
/// job.run().await?;
/// assert_eq!(out.values(), [1, 4, 9]);
/// # Ok::<(), rtbflow::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IteratorSource<T> {
    topic: Topic,
    partitions: i32,
    make: Arc<Make<T>>,
    event_time: Arc<EventTime<T>>,
}

/// Makes the values of a partition.
type Make<T> = dyn Fn(i32) -> Box<dyn Iterator<Item = T> + Send> + Send + Sync;

impl<T: Clone + Send + Sync + 'static> IteratorSource<T> {
    /// The values of one iterator, in one partition.
    #[must_use]
    pub fn new<I>(topic: &str, make: impl Fn() -> I + Send + Sync + 'static) -> Self
    where
        I: IntoIterator<Item = T, IntoIter: Send + 'static>,
    {
        Self::partitioned(topic, 1, move |_| make())
    }

    /// The values of several iterators, one per partition, of which there must be one: `make` is given its number,
    /// from 0. Each
    /// partition is a task.
    #[must_use]
    pub fn partitioned<I>(
        topic: &str,
        partitions: u16,
        make: impl Fn(i32) -> I + Send + Sync + 'static,
    ) -> Self
    where
        I: IntoIterator<Item = T, IntoIter: Send + 'static>,
    {
        let make: Arc<Make<T>> = Arc::new(move |number| Box::new(make(number).into_iter()));
        let event_time = Arc::new(EventTime::of_transport());
        Self { topic: Topic::new(topic), partitions: i32::from(partitions), make, event_time }
    }

    /// Takes event time from the value; records may be out of order by at most this much. Without it a
    /// record's time is the wall clock's when it is read.
    #[must_use]
    pub fn event_time(
        self,
        of: impl Fn(&T) -> Timestamp + Send + Sync + 'static,
        out_of_orderness: Duration,
    ) -> Self {
        Self { event_time: Arc::new(EventTime::new(of, out_of_orderness)), ..self }
    }
}

impl<T> fmt::Debug for IteratorSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IteratorSource({}, {} partitions)", self.topic, self.partitions)
    }
}

impl<T: Clone + Send + Sync + 'static> Source for IteratorSource<T> {
    type Batch = MemoryBatch<T>;
    type Feed = FixedFeed<MemoryBatch<T>>;

    fn topics(&self) -> Vec<String> {
        vec![self.topic.to_string()]
    }

    fn is_bounded(&self) -> bool {
        true
    }

    fn out_of_orderness(&self, _topic: Topic) -> Duration {
        self.event_time.out_of_orderness
    }

    fn validate(&self) -> Result<()> {
        Error::unless(self.partitions > 0, || {
            format!("read {:?} of 0 partitions; give it 1 or more", self.topic.name())
        })
    }

    async fn open(&self, context: Context) -> Result<Self::Feed> {
        let partitions = (0..self.partitions).map(|number| Partition::new(self.topic, number));
        let (make, event_time, clock) =
            (Arc::clone(&self.make), Arc::clone(&self.event_time), context.clock);
        Ok(FixedFeed::new(partitions.collect(), move |partition, from| {
            let from = from.unwrap_or(0).max(0);
            // An offset that no iterator comes to lies behind all that it brings.
            let mut values =
                make(partition.number).skip(usize::try_from(from).unwrap_or(usize::MAX));
            let (event_time, clock) = (Arc::clone(&event_time), Arc::clone(&clock));
            chunked(from, move |first| {
                let taken: Vec<T> = values.by_ref().take(MOST_RECORDS).collect();
                (!taken.is_empty()).then(|| {
                    let after = first + offset_of(taken.len());
                    (MemoryBatch::new(taken, first, Arc::clone(&event_time), clock.now()), after)
                })
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::DeadLetter;
    use crate::testing::builders::letter;
    use crate::testing::laws::{self, SourceUnderTest};

    struct Numbers;

    impl SourceUnderTest for Numbers {
        type Source = IteratorSource<i32>;

        fn source(&self) -> IteratorSource<i32> {
            IteratorSource::partitioned("numbers", 3, |number| 0..number * 700)
        }

        fn records(&self) -> Vec<DeadLetter> {
            let letters =
                |number| (0..number * 700).map(move |at| letter("numbers", number, at.into()));
            (0..3).flat_map(letters).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_sources() {
        laws::source(&Numbers).await;
    }
}
