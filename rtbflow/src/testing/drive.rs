//! Drives a chain of operators by hand: elements in, elements out, no job and no runtime.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;

use crate::activity::Activity;
use crate::barrier::Barrier;
use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::record::Record;
use crate::testing::builders::{at, read};
use crate::time::Timestamp;

/// The flow that a pipeline under test is given.
pub type TestFlow<T> = Flow<ScriptedStream<T>>;

/// A stream of elements that were written down before, with pauses in between.
pub struct ScriptedStream<T> {
    elements: VecDeque<Option<Element<T>>>,
    inlet: Option<Inlet>,
}

impl<T> ScriptedStream<T> {
    /// These elements; `None` is a pause, in which nothing is there at the moment.
    pub(crate) fn new(elements: impl IntoIterator<Item = Option<Element<T>>>) -> Self {
        Self { elements: elements.into_iter().collect(), inlet: None }
    }

    /// These elements, which barriers overtake; behind them it waits.
    pub(crate) fn through(elements: impl IntoIterator<Item = Element<T>>, inlet: &Inlet) -> Self {
        Self { inlet: Some(inlet.clone()), ..Self::new(elements.into_iter().map(Some)) }
    }
}

/// Where reading stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Border {
    /// How many elements were read.
    pub(crate) read: usize,
    /// The highest watermark that was passed.
    pub(crate) watermark: Timestamp,
}

impl Border {
    /// Nothing was read.
    pub(crate) const BEGINNING: Self = Self { read: 0, watermark: Timestamp::MIN };
}

/// Where barriers are put in that overtake what is at hand, as a task puts them in.
#[derive(Debug, Clone)]
pub(crate) struct Inlet(Arc<Mutex<Inside>>);

#[derive(Debug)]
struct Inside {
    barrier: Option<Barrier>,
    /// The watermark that held where reading began, until it is passed.
    held: Option<Timestamp>,
    at: Border,
    /// Where it stood when the last barrier passed.
    border: Border,
    activity: Activity,
}

impl Inlet {
    /// Reading begins there.
    pub(crate) fn new(at: Border) -> Self {
        let held = Some(at.watermark).filter(|watermark| *watermark > Timestamp::MIN);
        let activity = Activity::default();
        Self(Arc::new(Mutex::new(Inside { barrier: None, held, at, border: at, activity })))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which watermarks come alone is said by the operators.
    pub(crate) fn obey(&self, activity: Activity) {
        self.inside().activity = activity;
    }

    /// Puts in a barrier.
    pub(crate) fn send(&self, barrier: Barrier) {
        self.inside().barrier = Some(barrier);
    }

    /// Where reading stood when the last barrier passed.
    pub(crate) fn border(&self) -> Border {
        self.inside().border
    }
}

impl Inside {
    /// What comes before the next element.
    fn before<T>(&mut self, next: Option<&Element<T>>) -> Option<Element<T>> {
        if let Some(barrier) = self.barrier.take() {
            self.border = self.at;
            return Some(Element::Barrier(barrier));
        }
        if let Some(held) = self.held.take() {
            return Some(Element::Watermark(held));
        }
        match next {
            Some(Element::Record(_, watermark)) => {
                let watermark = *watermark;
                let alone = watermark > self.at.watermark && self.activity.is_due(watermark);
                self.at.watermark = self.at.watermark.max(watermark);
                if alone {
                    self.activity.alone();
                    return Some(Element::Watermark(watermark));
                }
            }
            // The end of all time is that of one life.
            Some(Element::Watermark(Timestamp::MAX)) => return None,
            Some(Element::Watermark(watermark)) => {
                self.at.watermark = self.at.watermark.max(*watermark)
            }
            Some(Element::Barrier(_)) | None => {}
        }
        self.at.read += usize::from(next.is_some());
        None
    }
}

impl<T> Debug for ScriptedStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScriptedStream({} elements)", self.elements.len())
    }
}

impl<T: Unpin> Stream for ScriptedStream<T> {
    type Item = Element<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Element<T>>> {
        let Self { elements, inlet } = &mut *self;
        if let Some(inlet) = inlet {
            let next = elements.front().and_then(Option::as_ref);
            if let Some(before) = inlet.inside().before(next) {
                return Poll::Ready(Some(before));
            }
        }
        match elements.pop_front() {
            Some(Some(element)) => Poll::Ready(Some(element)),
            Some(None) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None if inlet.is_some() => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// These values as records of partition 0, a millisecond apart, each followed by its watermark.
pub fn values<T>(values: impl IntoIterator<Item = T>) -> Vec<Element<T>> {
    timed(values.into_iter().zip(0..))
}

/// These values as records of partition 0, each with its event time in milliseconds and followed by the
/// highest so far as the watermark.
pub fn timed<T>(values: impl IntoIterator<Item = (T, i64)>) -> Vec<Element<T>> {
    let mut highest = Timestamp::MIN;
    let mut elements = Vec::new();
    for (offset, (value, ms)) in (0..).zip(values) {
        elements.push(Element::Record(read(value, ms, offset), highest));
        if at(ms) > highest {
            highest = at(ms);
            elements.push(Element::Watermark(highest));
        }
    }
    elements
}

/// What a pipeline makes of these elements, and of the end of all time after them.
///
/// # Panics
/// If the pipeline waits for something, or fails.
///
/// ```
/// use rtbflow::testing::{run, values};
///
/// assert_eq!(run(values([1, 2, 3]), |flow| flow.filter(|n| *n > 1)), [2, 3]);
/// ```
pub fn run<T, S>(
    input: Vec<Element<T>>,
    pipeline: impl FnOnce(TestFlow<T>) -> Flow<S>,
) -> Vec<S::Value>
where
    T: Send + Unpin + 'static,
    S: Elements,
{
    let records = drive(input, pipeline).into_iter().filter_map(|element| match element {
        Element::Record(record, _) => Some(record.value),
        Element::Watermark(_) | Element::Barrier(_) => None,
    });
    records.collect()
}

/// As [`run`], but all that comes out, written down: `value@time` for a record, `w` and a time for a
/// watermark.
///
/// # Panics
/// If the pipeline waits for something, or fails.
pub fn elements<T, S>(
    input: Vec<Element<T>>,
    pipeline: impl FnOnce(TestFlow<T>) -> Flow<S>,
) -> Vec<String>
where
    T: Send + Unpin + 'static,
    S: Elements<Value: Debug>,
{
    let time = |time: Timestamp| match time {
        Timestamp::MIN | Timestamp::MAX => time.to_string(),
        time => time.as_millis().to_string(),
    };
    let written = drive(input, pipeline).into_iter().filter_map(|element| match element {
        Element::Record(Record { value, timestamp, .. }, _) => {
            Some(format!("{value:?}@{}", time(timestamp)))
        }
        Element::Watermark(watermark) => Some(format!("w{}", time(watermark))),
        Element::Barrier(_) => None,
    });
    written.collect()
}

#[expect(clippy::panic, reason = "the test kit fails as assertions do")]
fn drive<T, S>(
    mut input: Vec<Element<T>>,
    pipeline: impl FnOnce(TestFlow<T>) -> Flow<S>,
) -> Vec<Element<S::Value>>
where
    T: Send + Unpin + 'static,
    S: Elements,
{
    input.push(Element::Watermark(Timestamp::MAX));
    let (barrier, gathering) = Barrier::new(at(0));
    input.push(Element::Barrier(barrier));
    let flow = pipeline(Flow::from_elements(ScriptedStream::new(input.into_iter().map(Some))));
    if let Err(error) = flow.topology() {
        panic!("{error}");
    }
    let mut stream = Box::pin(flow.into_elements());
    let mut context = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    loop {
        match stream.as_mut().poll_next(&mut context) {
            Poll::Ready(Some(Element::Barrier(barrier))) => barrier.complete(),
            Poll::Ready(Some(element)) => out.push(element),
            Poll::Ready(None) => break,
            Poll::Pending => panic!("the pipeline waits for something"),
        }
    }
    match gathering.finish() {
        Ok(Ok(_)) => out,
        Ok(Err(_)) => panic!("the barrier did not come out"),
        Err(error) => panic!("{error}"),
    }
}
