//! A source in memory: any iterator or stream of values, in as many partitions as wanted.

use std::fmt;
use std::future::{self, Future};
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::lock::Mutex;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};

use crate::clock::Clock;
use crate::element::{Origin, Partition, Topic};
use crate::epoch::{DeadLetter, Position, Task};
use crate::error::{BadRecord, Result};
use crate::source::{
    Assignment, Batch, Content, Context, Delivery, EventTime, Feed, Incoming, PartitionInput,
    Source, SourceEvent, TaskInput,
};
use crate::time::Timestamp;

/// Records in one batch.
const MOST_RECORDS: usize = 500;

/// A source of values that are in memory already, or come out of a [`futures::Stream`].
///
/// Values kept in memory can be read again from any position, so a job over them recovers exactly. A
/// stream can be read once: after a restart it goes on where it was.
///
/// ```
/// use rtbflow::source::MemorySource;
///
/// let numbers = MemorySource::new("numbers", vec![vec![1, 2, 3], vec![4, 5]]);
/// assert_eq!(format!("{numbers:?}"), "MemorySource(numbers, 2 partitions)");
/// ```
pub struct MemorySource<T> {
    topic: Topic,
    partitions: Vec<Values<T>>,
    event_time: Arc<EventTime<T>>,
}

enum Values<T> {
    Kept(Arc<Vec<T>>),
    Flowing(Arc<Mutex<Flowing<T>>>),
}

/// A stream and how many of its values were handed over.
struct Flowing<T> {
    values: BoxStream<'static, Vec<T>>,
    taken: i64,
}

impl<T: Clone + Send + Sync + 'static> MemorySource<T> {
    /// Values kept in memory, one list a partition. Each partition is a task; without any there is one, with
    /// nothing in it.
    #[must_use]
    pub fn new(topic: &str, mut partitions: Vec<Vec<T>>) -> Self {
        if partitions.is_empty() {
            // A job ends when its tasks have ended: it needs one for that.
            partitions.push(Vec::new());
        }
        let kept = partitions.into_iter().map(|list| Values::Kept(Arc::new(list)));
        Self::with(topic, kept.collect())
    }

    /// Values as they come out of a stream: one partition, which ends when the stream does.
    #[must_use]
    pub fn from_stream(
        topic: &str,
        values: impl futures::Stream<Item = T> + Send + 'static,
    ) -> Self {
        let values = values.ready_chunks(MOST_RECORDS).boxed();
        let flowing = Values::Flowing(Arc::new(Mutex::new(Flowing { values, taken: 0 })));
        Self::with(topic, vec![flowing])
    }

    fn with(topic: &str, partitions: Vec<Values<T>>) -> Self {
        let event_time = Arc::new(EventTime::of_transport());
        Self { topic: Topic::new(topic), partitions, event_time }
    }

    /// Takes event time from the value; records may be out of order by so much. Without it a record's
    /// time is the wall clock's when it is read.
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
    type Feed = MemoryFeed<T>;

    fn topics(&self) -> Vec<String> {
        vec![self.topic.to_string()]
    }

    fn out_of_orderness(&self) -> Duration {
        self.event_time.out_of_orderness
    }

    async fn open(&self, context: Context) -> Result<MemoryFeed<T>> {
        let (begin, begun) = oneshot::channel();
        let begun = begun.map(Result::unwrap_or_default).shared();
        let inputs = self.partitions.iter().zip(0_i32..).map(|(values, number)| {
            let partition = Partition::new(self.topic, number);
            let from = begun.clone().map(move |positions: Vec<(Partition, Position)>| {
                let position = positions.into_iter().find(|(of, _)| *of == partition);
                position.and_then(|(_, position)| position.offset).unwrap_or(0)
            });
            let maker = Maker {
                event_time: Arc::clone(&self.event_time),
                clock: Arc::clone(&context.clock),
            };
            let deliveries = match values {
                Values::Kept(list) => maker.kept(Arc::clone(list), from).boxed(),
                Values::Flowing(flowing) => maker.flowing(Arc::clone(flowing), from).boxed(),
            };
            PartitionInput { partition, deliveries }
        });
        let inputs: Vec<_> = inputs.collect();
        let of = u32::try_from(inputs.len()).unwrap_or(u32::MAX);
        let tasks = (0..of).zip(inputs).map(|(number, input)| TaskInput {
            task: Task { number, of },
            partitions: vec![input],
        });
        let assignment = Assignment::new(tasks.collect(), move |positions| {
            let _ = begin.send(positions);
        });
        Ok(MemoryFeed { assignment: Some(assignment) })
    }
}

/// Makes the batches of one partition.
struct Maker<T> {
    event_time: Arc<EventTime<T>>,
    clock: Arc<dyn Clock>,
}

impl<T: Clone + Send + Sync + 'static> Maker<T> {
    fn batch(&self, values: Vec<T>, first: i64) -> Result<Delivery<MemoryBatch<T>>> {
        let (event_time, now) = (Arc::clone(&self.event_time), self.clock.now());
        Ok(Delivery::Batch(MemoryBatch { values, first, event_time, now }))
    }

    /// The values from an offset on, then the end.
    fn kept(
        self,
        list: Arc<Vec<T>>,
        from: impl Future<Output = i64> + Send,
    ) -> impl Stream<Item = Result<Delivery<MemoryBatch<T>>>> + Send {
        let batches = move |from: i64| {
            stream::unfold(Some(from), move |from| {
                let next = from.map(|from| {
                    let at = usize::try_from(from).unwrap_or(0).min(list.len());
                    let values: Vec<T> = list.iter().skip(at).take(MOST_RECORDS).cloned().collect();
                    if values.is_empty() {
                        return (Ok(Delivery::Finished), None);
                    }
                    let after = from + i64::try_from(values.len()).unwrap_or(0);
                    (self.batch(values, from), Some(after))
                });
                future::ready(next)
            })
        };
        from.map(batches).flatten_stream()
    }

    /// What the stream still has, then the end.
    fn flowing(
        self,
        flowing: Arc<Mutex<Flowing<T>>>,
        from: impl Future<Output = i64> + Send,
    ) -> impl Stream<Item = Result<Delivery<MemoryBatch<T>>>> + Send {
        let maker = Arc::new(self);
        let batches = move |_| {
            stream::unfold(Some((flowing, maker)), |state| async move {
                let (flowing, maker) = state?;
                let mut open = flowing.lock().await;
                let Some(values) = open.values.next().await else {
                    return Some((Ok(Delivery::Finished), None));
                };
                let first = open.taken;
                open.taken += i64::try_from(values.len()).unwrap_or(0);
                drop(open);
                Some((maker.batch(values, first), Some((flowing, maker))))
            })
        };
        from.map(batches).flatten_stream()
    }
}

/// An opened [`MemorySource`].
#[derive(Debug)]
pub struct MemoryFeed<T> {
    assignment: Option<Assignment<MemoryBatch<T>>>,
}

impl<T: Clone + Send + Sync + 'static> Feed for MemoryFeed<T> {
    type Batch = MemoryBatch<T>;

    async fn next(&mut self) -> Result<SourceEvent<MemoryBatch<T>>> {
        match self.assignment.take() {
            Some(assignment) => Ok(SourceEvent::Assigned(assignment)),
            None => future::pending().await,
        }
    }

    fn committed(&mut self, _positions: &[(Partition, Position)]) {}

    async fn close(self) {}
}

/// Values on their way into a task.
pub struct MemoryBatch<T> {
    values: Vec<T>,
    first: i64,
    event_time: Arc<EventTime<T>>,
    now: Timestamp,
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
        let offset = self.first.saturating_add(i64::try_from(index).unwrap_or(i64::MAX));
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
        Some(DeadLetter { origin, key: None, value: None, headers: Vec::new(), reason })
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
