//! A source of what a stream brings.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::BoxStream;
use futures::task::AtomicWaker;
use futures::{Stream, StreamExt, stream};

use crate::bounded::offset_of;
use crate::clock::Clock;
use crate::error::Result;
use crate::position::Position;
use crate::record::{Partition, Topic};
use crate::source::memory::MOST_RECORDS;
use crate::source::{Context, Delivery, EventTime, FixedFeed, MemoryBatch, Source};
use crate::time::Timestamp;

/// Values that are kept until the job says that they are committed.
const MOST_KEPT: usize = 500_000;

/// A source of the values of any [`futures::Stream`].
///
/// For values that can be made again take [`IteratorSource`](crate::source::IteratorSource); for those
/// that a service hands over one by one, [`channel`](crate::source::channel).
///
/// A stream cannot be read again: an offset is the number of values that came before, in all lives of
/// the job, and means nothing to whoever makes them. What was taken and is not committed is kept, so that
/// a job that starts anew *within* the process loses nothing. **When the process ends, what was taken and
/// not committed is lost**: at most once. Whoever cannot bear that keeps the values where they can be
/// read again.
///
/// # Time and state
/// A stream that has nothing at the moment is not taken to stand at its end, since what comes may be old:
/// its last windows stay open until the next value, or its end. See
/// [`pending_is_end`](Self::pending_is_end). Up to 500,000 values are kept until they are committed; then
/// the stream waits.
///
/// # Examples
/// ```
/// use rtbflow::epoch::Memory;
/// use rtbflow::source::StreamSource;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let place = Memory::new();
/// let out = place.collected::<&str>();
/// let words = futures::stream::iter(["tick", "", "tock"]);
/// let job = rtbflow::Job::new("words")
///     .source(StreamSource::new("words", words))
///     .anchor(place.clone())
///     .pipeline({
///         let out = out.clone();
///         move |words| words.filter(|word| !word.is_empty()).to(out.sink())
///     });
/// job.run().await?;
/// assert_eq!(out.values(), ["tick", "tock"]);
/// # Ok::<(), rtbflow::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamSource<T> {
    topic: Topic,
    event_time: Arc<EventTime<T>>,
    pending_is_end: bool,
    values: Arc<futures::lock::Mutex<BoxStream<'static, Vec<T>>>>,
    kept: Arc<Uncommitted<T>>,
}

impl<T: Clone + Send + Sync + 'static> StreamSource<T> {
    /// The values of a stream, in one partition, which ends when the stream does.
    #[must_use]
    pub fn new(topic: &str, values: impl Stream<Item = T> + Send + 'static) -> Self {
        Self {
            topic: Topic::new(topic),
            event_time: Arc::new(EventTime::of_transport()),
            pending_is_end: false,
            values: Arc::new(futures::lock::Mutex::new(values.ready_chunks(MOST_RECORDS).boxed())),
            kept: Arc::default(),
        }
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

    /// Whether a stream that has nothing at the moment stands at its end, so that its event time goes on
    /// with the wall clock after the job's [idle time-out](crate::Job::idle_timeout). Right where values
    /// are made just before they are handed over.
    #[must_use]
    pub fn pending_is_end(self, pending_is_end: bool) -> Self {
        Self { pending_is_end, ..self }
    }
}

impl<T> fmt::Debug for StreamSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamSource({})", self.topic)
    }
}

impl<T: Clone + Send + Sync + 'static> Source for StreamSource<T> {
    type Batch = MemoryBatch<T>;
    type Feed = FixedFeed<MemoryBatch<T>>;

    fn topics(&self) -> Vec<String> {
        vec![self.topic.to_string()]
    }

    fn out_of_orderness(&self, _topic: Topic) -> Duration {
        self.event_time.out_of_orderness
    }

    async fn open(&self, context: Context) -> Result<Self::Feed> {
        let partition = Partition::new(self.topic, 0);
        let prove_every = self.pending_is_end.then(|| context.idle_timeout / 4);
        let (event_time, values) = (Arc::clone(&self.event_time), Arc::clone(&self.values));
        let (kept, committed) = (Arc::clone(&self.kept), Arc::clone(&self.kept));
        let feed = FixedFeed::new(vec![partition], move |_, from| {
            let reader = StreamReader {
                again: kept.begin(from.unwrap_or(0)).into(),
                values: Arc::clone(&values),
                kept: Arc::clone(&kept),
                event_time: Arc::clone(&event_time),
                clock: Arc::clone(&context.clock),
                prove_every,
            };
            reader.deliveries()
        });
        Ok(feed.on_committed(move |positions| {
            let position = positions.iter().find(|(of, _)| *of == partition);
            // What is said of other partitions, or of none that was read, lets nothing go.
            if let Some(Position { offset: Some(offset), .. }) = position.map(|(_, at)| *at) {
                committed.committed(offset);
            }
        }))
    }
}

/// Reads the stream in one run of the job.
struct StreamReader<T> {
    /// What an earlier run took and did not commit.
    again: VecDeque<Numbered<T>>,
    values: Arc<futures::lock::Mutex<BoxStream<'static, Vec<T>>>>,
    kept: Arc<Uncommitted<T>>,
    event_time: Arc<EventTime<T>>,
    clock: Arc<dyn Clock>,
    prove_every: Option<Duration>,
}

impl<T: Clone + Send + Sync + 'static> StreamReader<T> {
    fn deliveries(self) -> impl Stream<Item = Result<Delivery<MemoryBatch<T>>>> {
        stream::unfold(Some(self), |reader| async {
            let mut reader = reader?;
            let delivery = reader.next().await;
            let more = !matches!(delivery, Delivery::Finished);
            Some((Ok(delivery), more.then_some(reader)))
        })
    }

    async fn next(&mut self) -> Delivery<MemoryBatch<T>> {
        if let Some(numbered) = self.again.pop_front() {
            return self.batch(numbered);
        }
        self.kept.room().await;
        let values = Arc::clone(&self.values);
        let mut values = values.lock().await;
        let asked = self.clock.now();
        let taken = match self.prove_every {
            None => values.next().await,
            Some(every) => {
                let quiet = Box::pin(tokio::time::sleep(every));
                match select(values.next(), quiet).await {
                    Either::Left((taken, _)) => taken,
                    // Nothing was there when it was asked, and nothing has come since.
                    Either::Right(_) => {
                        return Delivery::AtEnd { asked, offset: self.kept.lock().next };
                    }
                }
            }
        };
        match taken {
            Some(taken) => self.batch(self.kept.keep(taken)),
            None => Delivery::Finished,
        }
    }

    fn batch(&self, (first, values): Numbered<T>) -> Delivery<MemoryBatch<T>> {
        let event_time = Arc::clone(&self.event_time);
        Delivery::Batch(MemoryBatch::new(values, first, event_time, self.clock.now()))
    }
}

/// Values and the number of the first.
type Numbered<T> = (i64, Arc<Vec<T>>);

/// What was taken from the stream and is not known to be committed.
struct Uncommitted<T> {
    log: Mutex<UncommittedLog<T>>,
    room: AtomicWaker,
}

struct UncommittedLog<T> {
    batches: VecDeque<Numbered<T>>,
    count: usize,
    /// The number of the next value.
    next: i64,
}

impl<T> Default for Uncommitted<T> {
    fn default() -> Self {
        let log = UncommittedLog { batches: VecDeque::new(), count: 0, next: 0 };
        Self { log: Mutex::new(log), room: AtomicWaker::new() }
    }
}

impl<T> Uncommitted<T> {
    fn lock(&self) -> MutexGuard<'_, UncommittedLog<T>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reading begins at an offset: what is kept from there on, to be read again.
    fn begin(&self, from: i64) -> Vec<Numbered<T>> {
        self.committed(from);
        let mut log = self.lock();
        // Values are numbered on from where the last process stood.
        log.next = log.next.max(from);
        log.batches.iter().cloned().collect()
    }

    /// Numbers values and keeps them.
    fn keep(&self, values: Vec<T>) -> Numbered<T> {
        let mut log = self.lock();
        let numbered = (log.next, Arc::new(values));
        log.count += numbered.1.len();
        log.next = numbered.0.saturating_add(offset_of(numbered.1.len()));
        log.batches.push_back(numbered.clone());
        numbered
    }

    /// Drops the batches that lie wholly before an offset.
    fn committed(&self, offset: i64) {
        let mut log = self.lock();
        while let Some((first, values)) = log.batches.front()
            && first.saturating_add(offset_of(values.len())) <= offset
        {
            log.count -= values.len();
            log.batches.pop_front();
        }
        drop(log);
        self.room.wake();
    }

    /// Waits until enough is committed that there is room for more.
    async fn room(&self) {
        poll_fn(|context| {
            self.room.register(context.waker());
            if self.lock().count < MOST_KEPT { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests;
