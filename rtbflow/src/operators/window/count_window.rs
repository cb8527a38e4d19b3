//! Windows of a fixed number of records of a key, whatever the time.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::operators::late::Undecided;
use crate::operators::window::aggregate::{Aggregate, Merge};
use crate::operators::window::assign::{Aggregation, Apply, Decided};
use crate::operators::window::results::output;
use crate::operators::window::span::{Window, Windowed};
use crate::operators::{Logic, Outbox, Snapshot};
use crate::record::Record;
use crate::state::{Format, KeyedState};
use crate::time::Timestamp;

/// Windows of a fixed number of records of a key, in the order in which they come: the last hundred clicks.
/// For windows of time take [`Tumbling`](super::Tumbling) or [`Sliding`](super::Sliding); for lists that are
/// also emitted when they get old, [`batch`](crate::KeyedFlow::batch).
///
/// A window that is not full is not emitted. [`ttl`](Self::ttl) says how long a key that has gone quiet
/// is remembered; without it the windows cannot be used, as a key might be kept for ever. The window of
/// a result is the time from its earliest record to just after its latest.
///
/// # Time and state
/// Keeps one state per key, and one for each stretch between two windows' borders where they slide, until the
/// key was quiet for the `ttl`. No record is late.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Count, CountWindow, Reduce};
/// use rtbflow::testing::{run, timed};
///
/// let pairs = CountWindow::of(2).ttl(Duration::from_hours(1));
/// let sums = run(timed([(1, 0), (2, 1), (4, 2), (8, 3), (16, 4)]), |flow| {
///     flow.key_by(|_| ()).window(pairs).aggregate("sums", Reduce::new(|sum: &mut u64, n: &u64| *sum += n))
/// });
/// assert_eq!(sums.iter().map(|w| w.value).collect::<Vec<_>>(), [Some(3), Some(12)]);
/// ```
///
/// ```compile_fail
/// use rtbflow::operators::window::{Count, CountWindow};
/// use rtbflow::testing::{run, values};
///
/// run(values([1]), |flow| flow.key_by(|_| ()).window(CountWindow::of(2)).aggregate("counts", Count));
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct CountWindow<D = Undecided> {
    size: u64,
    ttl: D,
}

/// Windows of a key's last `size` records, after every `slide` of them.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct SlidingCount {
    size: u64,
    slide: u64,
    ttl: Duration,
}

impl CountWindow {
    /// Windows of this many records, at least one.
    pub fn of(size: u64) -> Self {
        Self { size, ttl: Undecided }
    }

    /// How long a key is remembered after its last record: until the watermark is this much past it.
    pub fn ttl(self, ttl: Duration) -> CountWindow<Duration> {
        CountWindow { size: self.size, ttl }
    }
}

impl CountWindow<Duration> {
    /// Windows of a key's last records, of all that there are at first, one after every `slide` of them, which must not
    /// be more than a window has. The aggregate has to [`Merge`]; a result costs as many merges as two times the size
    /// over the slide.
    pub fn every(self, slide: u64) -> SlidingCount {
        SlidingCount { size: self.size, slide, ttl: self.ttl }
    }
}

impl SlidingCount {
    fn check(self) -> Result<()> {
        let Self { size, slide, ttl } = self;
        // Where it was not set it is the size.
        let apart = Error::unless(slide > 0 || size == 0, || {
            "its windows are 0 records apart; let 1 or more lie between them".to_owned()
        });
        let long = Error::unless(size > 0, || {
            "its windows are of 0 records; give them 1 or more".to_owned()
        });
        let whole = Error::unless(size == 0 || slide <= size, || {
            format!(
                "its windows are of {size} records, one every {slide}, so that records between two are in none; \
                 `filter` the records that are wanted and take `CountWindow::of({size})`"
            )
        });
        let kept = Error::unless(!ttl.is_zero(), || {
            "its keys are forgotten at once (`ttl`); keep them for longer than the records of a window take"
                .to_owned()
        });
        Error::all([long, apart, whole, kept])
    }

    /// Whether a part ends before the record with this number, counted from 0: where a window begins or
    /// ends. Windows end at multiples of the slide.
    fn is_border(self, number: u64) -> bool {
        number.is_multiple_of(self.slide)
            || (number % self.slide) == (self.slide - self.size % self.slide) % self.slide
    }
}

impl Decided for CountWindow<Duration> {}
impl Decided for SlidingCount {}

impl<K, T, F, A> Apply<K, T, F, A> for CountWindow<Duration>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    A: Aggregate<T>,
{
    type Logic = CountLogic<K, T, F, A>;

    fn detail(&self) -> String {
        format!("{} records, forgotten after {:?}", self.size, self.ttl)
    }

    fn validate(&self, aggregate: &A) -> Result<()> {
        Error::all([self.every(self.size).check(), aggregate.validate()])
    }

    fn apply(self, statement: Aggregation<F, A>) -> Self::Logic {
        let windows = self.every(self.size);
        // A window is one part: nothing is merged.
        CountLogic::new(windows, statement, |_, _, _| {})
    }
}

impl<K, T, F, A> Apply<K, T, F, A> for SlidingCount
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    A: Merge<T>,
{
    type Logic = CountLogic<K, T, F, A>;

    fn detail(&self) -> String {
        format!("{} records every {}, forgotten after {:?}", self.size, self.slide, self.ttl)
    }

    fn validate(&self, aggregate: &A) -> Result<()> {
        Error::all([self.check(), aggregate.validate()])
    }

    fn apply(self, statement: Aggregation<F, A>) -> Self::Logic {
        CountLogic::new(self, statement, A::merge)
    }
}

/// The logic behind [`WindowedFlow::aggregate`](super::WindowedFlow::aggregate) for windows of a fixed number
/// of records.
pub struct CountLogic<K, T, F, A: Aggregate<T>> {
    key: F,
    windows: SlidingCount,
    aggregate: A,
    merge: fn(&A, &mut A::State, &A::State),
    keys: KeyedState<K, Run<A::State>>,
    values: PhantomData<fn(T)>,
}

/// The last records of a key.
#[derive(Serialize, Deserialize)]
struct Run<S> {
    /// How many records came.
    count: u64,
    /// When it is forgotten.
    until: Timestamp,
    /// The last of them, between borders.
    parts: VecDeque<Stretch<S>>,
}

/// Records between two borders.
#[derive(Serialize, Deserialize)]
struct Stretch<S> {
    /// The number of its first record.
    from: u64,
    window: Window,
    state: S,
}

impl<K, T, F, A: Aggregate<T>> fmt::Debug for CountLogic<K, T, F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountLogic({} keys)", self.keys.len())
    }
}

impl<K, T, F, A: Aggregate<T>> CountLogic<K, T, F, A> {
    fn new(
        windows: SlidingCount,
        statement: Aggregation<F, A>,
        merge: fn(&A, &mut A::State, &A::State),
    ) -> Self {
        let Aggregation { key, aggregate, panes: _, early: _ } = statement;
        let SlidingCount { size, slide, ttl } = windows;
        // Nothing is divided by zero before windows of no size are refused.
        let windows = SlidingCount { size: size.max(1), slide: slide.max(1), ttl };
        let format = format!("{size} records every {slide}, {}", aggregate.describe());
        let keys = KeyedState::new(Format::new(VERSION, format));
        Self { key, windows, aggregate, merge, keys, values: PhantomData }
    }
}

const VERSION: u16 = 1;

impl<S> Run<S> {
    /// What lies before the window of the next result is not needed any more.
    #[inline]
    fn forget(&mut self, windows: SlidingCount) {
        let next_end = self.count.div_ceil(windows.slide) * windows.slide;
        // Of the first windows, which have fewer records, all is.
        let needed = next_end.saturating_sub(windows.size);
        while self.parts.len() > 1 && self.parts.get(1).is_some_and(|next| next.from <= needed) {
            self.parts.pop_front();
        }
    }

    /// Adds a record; returns what is made of a window's state, and the window, if a result is due.
    fn add<T, A, R>(
        &mut self,
        record: &Record<T>,
        windows: SlidingCount,
        (aggregate, merge): (&A, fn(&A, &mut S, &S)),
        made: impl FnOnce(Window, &S) -> R,
    ) -> Option<(Window, R)>
    where
        A: Aggregate<T, State = S>,
    {
        let (at, after) = (record.timestamp, record.timestamp + Duration::from_millis(1));
        if self.parts.is_empty() || windows.is_border(self.count) {
            let window = Window { start: at, end: after };
            self.parts.push_back(Stretch { from: self.count, window, state: aggregate.empty() });
        }
        self.count += 1;
        let Some(part) = self.parts.back_mut() else {
            Error::broken("a record has no stretch to belong to").spoil_epoch();
            return None;
        };
        part.window = Window { start: part.window.start.min(at), end: part.window.end.max(after) };
        aggregate.add(&mut part.state, record);
        self.forget(windows);
        if !self.count.is_multiple_of(windows.slide) {
            return None;
        }
        let due = self.whole((aggregate, merge), made);
        if windows.slide >= windows.size {
            self.parts.clear();
        }
        due
    }

    /// What is made of all parts together.
    fn whole<T, A, R>(
        &self,
        (aggregate, merge): (&A, fn(&A, &mut S, &S)),
        made: impl FnOnce(Window, &S) -> R,
    ) -> Option<(Window, R)>
    where
        A: Aggregate<T, State = S>,
    {
        let Some(first) = self.parts.front() else {
            Error::broken("a window that is full has no records").spoil_epoch();
            return None;
        };
        let mut window = first.window;
        if self.parts.len() == 1 {
            return Some((window, made(window, &first.state)));
        }
        let mut state = aggregate.empty();
        for part in &self.parts {
            merge(aggregate, &mut state, &part.state);
            window.start = window.start.min(part.window.start);
            window.end = window.end.max(part.window.end);
        }
        Some((window, made(window, &state)))
    }
}

impl<K, T, F, A> Logic for CountLogic<K, T, F, A>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    A: Aggregate<T>,
{
    type In = T;
    type Out = Windowed<K, A::Output>;
    const VERSION: u16 = VERSION;

    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<Self::Out>) {
        let key = (self.key)(&record.value);
        let until = record.timestamp.max(out.watermark_before()) + self.windows.ttl;
        let slot = self.keys.find(&key).unwrap_or_else(|| {
            let run = Run { count: 0, until, parts: VecDeque::new() };
            self.keys.insert(key, run, until)
        });
        let Some((key, run)) = self.keys.get_mut(slot) else {
            return Error::broken("the key of a record was not added").spoil_epoch();
        };
        run.until = run.until.max(until);
        let until = run.until;
        let aggregate = &self.aggregate;
        let due = run.add(&record, self.windows, (aggregate, self.merge), |window, state| {
            output((&*key, window), (aggregate, state), out)
        });
        if let Some((window, Some(value))) = due {
            let windowed = Windowed { key: key.clone(), window, value };
            out.push(Record::derived(windowed, record.timestamp));
        }
        self.keys.expire(slot, until);
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<Self::Out>,
    ) -> Option<Timestamp> {
        let _ = out;
        // The end of all time is that of one run: another may go on from here.
        if watermark < Timestamp::MAX {
            self.keys.forget(watermark);
        }
        Some(watermark)
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        self.keys.snapshot(snapshot);
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        self.keys.restore(chunk)
    }
}
