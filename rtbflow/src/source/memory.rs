//! A source of values that are in memory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{TryFutureExt, future, stream};

use crate::bounded::offset_of;
use crate::dead_letter::{DeadLetter, Original};
use crate::error::{BadRecord, Error, Result};
use crate::record::{Origin, Partition, Topic};
use crate::source::{Batch, Content, Context, Delivery, EventTime, FixedFeed, Incoming, Source};
use crate::time::Timestamp;

/// Records in one batch.
pub(crate) const MOST_RECORDS: usize = 500;

/// A source of values that are in memory already, in as many partitions as wanted.
///
/// They can be read again from any position, so a job over them recovers exactly. For values that are
/// made as they are read take [`IteratorSource`](crate::source::IteratorSource); for those that a
/// service makes, [`channel`](crate::source::channel).
///
/// # Examples
/// ```
/// use rtbflow::source::MemorySource;
///
/// let numbers = MemorySource::new("numbers", vec![vec![1, 2, 3], vec![4, 5]]);
/// assert_eq!(format!("{numbers:?}"), "MemorySource(numbers, 2 partitions)");
/// ```
pub struct MemorySource<T> {
    topic: Topic,
    partitions: Vec<Arc<Vec<T>>>,
    event_time: Arc<EventTime<T>>,
}

impl<T: Clone + Send + Sync + 'static> MemorySource<T> {
    /// Values in lists, one list per partition. Each partition is a task; without any there is one, with
    /// nothing in it.
    #[must_use]
    pub fn new(topic: &str, mut partitions: Vec<Vec<T>>) -> Self {
        if partitions.is_empty() {
            // A job ends when its tasks have ended: it needs one for that.
            partitions.push(Vec::new());
        }
        let partitions = partitions.into_iter().map(Arc::new).collect();
        let event_time = Arc::new(EventTime::of_transport());
        Self { topic: Topic::new(topic), partitions, event_time }
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

impl<T> fmt::Debug for MemorySource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemorySource({}, {} partitions)", self.topic, self.partitions.len())
    }
}

impl<T: Clone + Send + Sync + 'static> Source for MemorySource<T> {
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

    async fn open(&self, context: Context) -> Result<Self::Feed> {
        let lists = self.partitions.clone();
        let partitions =
            (0_i32..).zip(&lists).map(|(number, _)| Partition::new(self.topic, number));
        let (event_time, clock) = (Arc::clone(&self.event_time), context.clock);
        Ok(FixedFeed::new(partitions.collect(), move |partition, from| {
            let list = usize::try_from(partition.number).ok().and_then(|number| lists.get(number));
            let list = list.cloned().ok_or_else(|| {
                Error::broken("a partition is to be read that is not among those in memory")
            });
            let (event_time, clock) = (Arc::clone(&event_time), Arc::clone(&clock));
            // An offset that memory cannot have lies behind all that is there.
            let from = usize::try_from(from.unwrap_or(0).max(0)).unwrap_or(usize::MAX);
            let batches = list.map(|list| {
                chunked(from, move |at| {
                    let batch = batch_at(&list, at, &event_time, clock.now())?;
                    let after = at + batch.len();
                    Some((batch, after))
                })
            });
            future::ready(batches).try_flatten_stream()
        }))
    }
}

/// The next batch of a list, if there is more of it.
fn batch_at<T: Clone + Send + Sync + 'static>(
    list: &[T],
    at: usize,
    event_time: &Arc<EventTime<T>>,
    now: Timestamp,
) -> Option<MemoryBatch<T>> {
    let values: Vec<T> = list.iter().skip(at).take(MOST_RECORDS).cloned().collect();
    let batch = || MemoryBatch::new(values, offset_of(at), Arc::clone(event_time), now);
    (at < list.len()).then(batch)
}

/// Batches for as long as `next` makes any, then the end.
pub(crate) fn chunked<B, S>(
    first: S,
    mut next: impl FnMut(S) -> Option<(B, S)>,
) -> impl futures::Stream<Item = Result<Delivery<B>>> {
    let mut state = Some(first);
    let mut finished = false;
    stream::iter(std::iter::from_fn(move || {
        if finished {
            return None;
        }
        let made = state.take().and_then(&mut next);
        let Some((batch, after)) = made else {
            finished = true;
            return Some(Ok(Delivery::Finished));
        };
        state = Some(after);
        Some(Ok(Delivery::Batch(batch)))
    }))
}

/// Values on their way into a task.
pub struct MemoryBatch<T> {
    values: Arc<Vec<T>>,
    first: i64,
    event_time: Arc<EventTime<T>>,
    now: Timestamp,
}

impl<T> MemoryBatch<T> {
    /// Values at ascending offsets from `first` on. Their event time is that of the value, or `now` where it
    /// has none.
    #[must_use]
    pub fn new(
        values: impl Into<Arc<Vec<T>>>,
        first: i64,
        event_time: Arc<EventTime<T>>,
        now: Timestamp,
    ) -> Self {
        Self { values: values.into(), first, event_time, now }
    }
}

impl<T> fmt::Debug for MemoryBatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBatch({} values from offset {})", self.values.len(), self.first)
    }
}

impl<T: Clone + Send + Sync + 'static> Batch for MemoryBatch<T> {
    type Value = T;

    fn len(&self) -> usize {
        self.values.len()
    }

    #[inline]
    fn get(&self, index: usize) -> Option<Incoming<T>> {
        let value = self.values.get(index)?.clone();
        let at = self.event_time.of(&value, self.now);
        let offset = self.first.saturating_add(offset_of(index));
        Some(Incoming { offset, content: Content::Value(value, at) })
    }

    fn dead_letter(
        &self,
        partition: Partition,
        offset: i64,
        reason: BadRecord,
    ) -> Option<DeadLetter> {
        let index = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.values.get(index)?;
        let origin = Origin::new(partition, offset);
        Some(DeadLetter::record(origin, Original::default(), reason))
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::letter;
    use crate::testing::laws::{self, SourceUnderTest};

    struct Numbers(Vec<usize>);

    impl SourceUnderTest for Numbers {
        type Source = MemorySource<usize>;

        fn source(&self) -> MemorySource<usize> {
            let lists = self.0.iter().map(|count| (0..*count).collect());
            MemorySource::new("numbers", lists.collect())
        }

        fn records(&self) -> Vec<DeadLetter> {
            let lists = self.0.iter().zip(0..);
            let letters = |(count, number): (&usize, i32)| {
                (0..i64::try_from(*count).unwrap()).map(move |at| letter("numbers", number, at))
            };
            lists.flat_map(letters).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_sources() {
        laws::source(&Numbers(vec![2])).await;
        laws::source(&Numbers(vec![3, 1, MOST_RECORDS, MOST_RECORDS + 1, 3 * MOST_RECORDS])).await;
    }
}
