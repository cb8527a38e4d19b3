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
            stream::unfold(Some(reader), |reader| async {
                let mut reader = reader?;
                let delivery = reader.next().await;
                let more = !matches!(delivery, Delivery::Finished);
                Some((Ok(delivery), more.then_some(reader)))
            })
        });
        Ok(feed.on_committed(move |positions| {
            let position = positions.iter().find(|(of, _)| *of == partition);
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
        log.next = numbered.0.saturating_add(length(&numbered.1));
        log.batches.push_back(numbered.clone());
        numbered
    }

    /// Drops the batches that lie wholly before an offset.
    fn committed(&self, offset: i64) {
        let mut log = self.lock();
        while let Some((first, values)) = log.batches.front()
            && first.saturating_add(length(values)) <= offset
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

fn length<T>(values: &[T]) -> i64 {
    i64::try_from(values.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, Memory, Verdict};
    use crate::error::Error;
    use crate::job::Job;
    use crate::operators::window::{Count, Late, Tumbling};
    use crate::position::{JobName, Task};
    use crate::staged::Place;
    use crate::testing::TokioClock;
    use crate::testing::builders::at;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_second_process_numbers_on() {
        let place = Memory::new();
        let out = place.collected();
        for values in [0..3, 3..6] {
            let results = out.clone();
            let job = Job::new("numbers");
            let job = job.source(StreamSource::new("numbers", stream::iter(values)));
            let job = job.anchor(place.clone());
            let job = job.pipeline(move |numbers| numbers.to(results.sink()));
            assert_eq!(job.run_until(std::future::pending()).await.unwrap().records_in(), 3);
        }
        assert_eq!(out.values(), (0..6).collect::<Vec<_>>());
    }

    /// A place whose first commit breaks the run, as a source's lost connection would.
    #[derive(Clone)]
    struct Breaking(Memory, Arc<AtomicBool>);

    impl Anchor for Breaking {
        fn place(&self) -> Place {
            self.0.place()
        }
        async fn prepare(&self, job: &JobName) -> Result<()> {
            self.0.prepare(job).await
        }
        async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
            self.0.claim(job, claim).await
        }
        async fn restore(
            &self,
            job: &JobName,
            task: Task,
            from: Option<String>,
        ) -> Result<ChunkPage> {
            self.0.restore(job, task, from).await
        }
        async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
            if !self.1.swap(true, Ordering::Relaxed) {
                return Err(Error::permanent("commit: broken"));
            }
            self.0.commit(job, epochs).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_and_not_committed_is_read_again_within_the_process() {
        let place = Breaking(Memory::new(), Arc::default());
        let source = Arc::new(StreamSource::new("numbers", stream::iter(0..1_200)));
        /// The same source for two jobs: what a restart within the process is.
        struct Shared(Arc<StreamSource<i64>>);
        impl Source for Shared {
            type Batch = MemoryBatch<i64>;
            type Feed = FixedFeed<MemoryBatch<i64>>;
            fn topics(&self) -> Vec<String> {
                self.0.topics()
            }
            async fn open(&self, context: Context) -> Result<Self::Feed> {
                self.0.open(context).await
            }
        }
        let out = place.0.collected();
        let run = || {
            let out = out.clone();
            let job = Job::new("numbers").source(Shared(Arc::clone(&source)));
            let job = job.anchor(place.clone());
            job.pipeline(move |numbers| numbers.to(out.sink())).run_until(std::future::pending())
        };
        assert!(run().await.is_err());
        assert!(out.values().is_empty());
        run().await.unwrap();
        assert_eq!(out.values(), (0..1_200).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_closes_its_windows_where_it_is_asked_to() {
        for pending_is_end in [true, false] {
            let place = Memory::new();
            let counts = place.collected::<u64>();
            let stream = stream::iter([at(500)]).chain(stream::pending());
            let source = StreamSource::new("times", stream)
                .event_time(|at| *at, Duration::ZERO)
                .pending_is_end(pending_is_end);
            let results = counts.clone();
            let job = Job::new("quiet").clock(TokioClock::new(at(1_000)));
            let job = job.source(source).anchor(place.clone()).pipeline(move |times| {
                times
                    .key_by(|_| 0)
                    .window(Tumbling::of(Duration::from_secs(1)).late(Late::DeadLetter))
                    .aggregate("counts", Count)
                    .map(|window| window.value)
                    .to(results.sink())
            });
            job.run_until(tokio::time::sleep(Duration::from_secs(60))).await.unwrap();
            assert_eq!(counts.values().len(), usize::from(pending_is_end));
        }
    }

    #[test]
    fn what_is_committed_is_dropped() {
        let kept = Uncommitted::default();
        assert!(kept.begin(7).is_empty());
        assert_eq!(kept.keep(vec!['a', 'b']).0, 7);
        assert_eq!(kept.keep(vec!['c']).0, 9);
        kept.committed(8);
        assert_eq!(kept.lock().count, 3);
        kept.committed(9);
        assert_eq!(kept.lock().count, 1);
        assert_eq!(kept.begin(9), [(9, Arc::new(vec!['c']))]);
    }
}
