//! A source of the time: a record at each tick of a clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;

use crate::bounded::offset_of;
use crate::clock::Clock;
use crate::error::Result;
use crate::record::{Partition, Topic};
use crate::source::memory::MOST_RECORDS;
use crate::source::{Context, Delivery, EventTime, FixedFeed, MemoryBatch, Source};
use crate::time::{Timestamp, millis};

/// A source of ticks: a record at each multiple of an interval, whose value and event time are the tick's
/// time.
///
/// For what has to happen by the clock whether or not anything comes in. To close the windows of a quiet
/// input no tick is needed: see [`Job::idle_timeout`](crate::Job::idle_timeout).
///
/// # Time and state
/// Ticks are numbered from [`start`](Self::start) on, and the number is the offset, so each tick comes
/// exactly once: those that fall into a time when the job did not run are caught up when it does, unless
/// [`skip_missed`](Self::skip_missed) says otherwise. A job that never ran begins with the tick before
/// now, if `start` was not given, and with `start` if it was.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::Job;
/// use rtbflow::epoch::Memory;
/// use rtbflow::source::TickSource;
/// use rtbflow::testing::TokioClock;
/// use rtbflow::testing::builders::at;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let place = Memory::new();
/// let (_, out) = place.collect::<i64>();
/// let job = Job::new("every-minute")?
///     .clock(TokioClock::new(at(90_000)))
///     .source(TickSource::every(Duration::from_mins(1)))
///     .anchor(place.clone())
///     .pipeline({
///         let out = out.clone();
///         move |ticks| ticks.map(|tick| tick.as_millis()).to(place.collect_into(&out))
///     });
/// job.run(tokio::time::sleep(Duration::from_secs(100))).await?;
/// assert_eq!(out.values(), [60_000, 120_000, 180_000]);
/// # Ok::<(), rtbflow::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TickSource {
    topic: Topic,
    start: Option<Timestamp>,
    interval_ms: i64,
    skip_missed: bool,
}

impl TickSource {
    /// A tick at each multiple of this interval since 1970, in whole milliseconds.
    ///
    /// # Panics
    /// If the interval is shorter than a millisecond.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        let interval_ms = millis(interval);
        assert!(interval_ms > 0, "ticks are a millisecond apart at least");
        Self { topic: Topic::new("ticks"), start: None, interval_ms, skip_missed: false }
    }

    /// The time of tick number 0, from which they are counted. Whoever changes it, or the interval,
    /// changes what the job's position means: give the job another name then.
    #[must_use]
    pub fn start(self, start: Timestamp) -> Self {
        Self { start: Some(start), ..self }
    }

    /// Leaves out the ticks that fell into a time when the job did not run, but for the last of them.
    #[must_use]
    pub fn skip_missed(self) -> Self {
        Self { skip_missed: true, ..self }
    }
}

impl fmt::Debug for TickSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TickSource(every {} ms)", self.interval_ms)
    }
}

impl Source for TickSource {
    type Batch = MemoryBatch<Timestamp>;
    type Feed = FixedFeed<MemoryBatch<Timestamp>>;

    fn topics(&self) -> Vec<String> {
        vec![self.topic.to_string()]
    }

    async fn open(&self, context: Context) -> Result<Self::Feed> {
        let start = self.start.unwrap_or(Timestamp::from_millis(0));
        let dial = Dial { start_ms: start.as_millis(), interval_ms: self.interval_ms };
        let (begins, skips) = (self.start.is_some(), self.skip_missed);
        let event_time = Arc::new(EventTime::new(|tick: &Timestamp| *tick, Duration::ZERO));
        Ok(FixedFeed::new(vec![Partition::new(self.topic, 0)], move |_, from| {
            let now = context.clock.now();
            let reader = Reader {
                dial,
                next: dial.first(now, from, (begins, skips)),
                end: context.until_end.then(|| dial.last(now)),
                clock: Arc::clone(&context.clock),
                event_time: Arc::clone(&event_time),
                prove_every: context.idle_timeout / 4,
            };
            stream::unfold(Some(reader), |reader| async {
                let mut reader = reader?;
                let delivery = reader.next().await;
                let more = !matches!(delivery, Delivery::Finished);
                Some((Ok(delivery), more.then_some(reader)))
            })
        }))
    }
}

/// Which tick is when.
#[derive(Clone, Copy)]
struct Dial {
    start_ms: i64,
    interval_ms: i64,
}

impl Dial {
    fn time(self, number: i64) -> Timestamp {
        Timestamp::from_millis(
            self.start_ms.saturating_add(number.saturating_mul(self.interval_ms)),
        )
    }

    /// The number of the first tick that is read from an offset on: of the first that there is if it `begins`
    /// somewhere, of the last if it `skips` those that were missed.
    fn first(self, now: Timestamp, from: Option<i64>, (begins, skips): (bool, bool)) -> i64 {
        match from {
            None if begins => 0,
            None => self.last(now).max(0),
            Some(from) if skips => self.last(now).max(from),
            Some(from) => from,
        }
    }

    /// The number of the last tick up to now.
    fn last(self, now: Timestamp) -> i64 {
        now.as_millis().saturating_sub(self.start_ms).div_euclid(self.interval_ms)
    }
}

struct Reader {
    dial: Dial,
    next: i64,
    /// The last tick of a run that ends.
    end: Option<i64>,
    clock: Arc<dyn Clock>,
    event_time: Arc<EventTime<Timestamp>>,
    prove_every: Duration,
}

impl Reader {
    async fn next(&mut self) -> Delivery<MemoryBatch<Timestamp>> {
        let now = self.clock.now();
        let due = self.end.unwrap_or_else(|| self.dial.last(now));
        if self.next <= due {
            let first = self.next;
            let ticks: Vec<_> =
                (first..=due).take(MOST_RECORDS).map(|number| self.dial.time(number)).collect();
            self.next = first.saturating_add(offset_of(ticks.len()));
            let event_time = Arc::clone(&self.event_time);
            return Delivery::Batch(MemoryBatch::new(ticks, first, event_time, now));
        }
        if self.end.is_some() {
            return Delivery::Finished;
        }
        // The wall clock may go back; then it is looked at again.
        let ahead = self.dial.time(self.next).since(now);
        tokio::time::sleep(ahead.min(self.prove_every).max(Duration::from_millis(1))).await;
        Delivery::AtEnd { asked: now, offset: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::DeadLetter;
    use crate::epoch::Memory;
    use crate::job::Job;
    use crate::sink::Collected;
    use crate::testing::TokioClock;
    use crate::testing::builders::{at, letter};
    use crate::testing::laws::{self, SourceUnderTest};

    /// A tick each hundred years, from 1770 on.
    struct Centuries;

    impl SourceUnderTest for Centuries {
        type Source = TickSource;

        fn source(&self) -> TickSource {
            let century = Duration::from_secs(100 * 365 * 86_400);
            TickSource::every(century).start(Timestamp::from_millis(0) - century * 2)
        }

        fn records(&self) -> Vec<DeadLetter> {
            (0..3).map(|number| letter("ticks", 0, number)).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_laws_of_sources() {
        laws::source(&Centuries).await;
    }

    /// The ticks of a job that runs from 10 s to 13 s and again from 20 s on.
    async fn two_runs(source: impl Fn() -> TickSource) -> Vec<i64> {
        let (place, out) = (Memory::new(), Collected::default());
        for (begin_ms, seconds) in [(10_000, 3), (20_000, 1)] {
            let (sink_place, sink_out) = (place.clone(), out.clone());
            let job = Job::new("ticks").unwrap().clock(TokioClock::new(at(begin_ms)));
            let job = job.source(source()).anchor(place.clone()).pipeline(move |ticks| {
                ticks.map(|tick| tick.as_millis() / 1_000).to(sink_place.collect_into(&sink_out))
            });
            let time = Duration::from_millis(seconds * 1_000 + 500);
            job.run(tokio::time::sleep(time)).await.unwrap();
        }
        out.values()
    }

    #[tokio::test(start_paused = true)]
    async fn missed_ticks_are_caught_up_or_skipped() {
        let every = || TickSource::every(Duration::from_secs(2));
        assert_eq!(two_runs(every).await, [10, 12, 14, 16, 18, 20]);
        assert_eq!(two_runs(|| every().skip_missed()).await, [10, 12, 20]);
        assert_eq!(two_runs(|| every().start(at(5_000))).await, [5, 7, 9, 11, 13, 15, 17, 19, 21]);
    }
}
