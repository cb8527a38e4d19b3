//! Makes another value of each by a call that takes its time.

use std::fmt;
use std::future::ready;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};
use futures::stream::FuturesOrdered;
use futures::{FutureExt, Stream, StreamExt};
use pin_project::pin_project;

use crate::activity::Activity;
use crate::alarm::Alarm;
use crate::barrier::{Barrier, Class, Reject};
use crate::element::Element;
use crate::error::Error;
use crate::flow::{Elements, Flow};
use crate::lookup::Failed;
use crate::record::{Origin, Record};
use crate::topology::Tip;

/// The pause after the first attempt that failed; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How calls are made: how many at a time, how long each may take, how often it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    pub(crate) at_most: usize,
    deadline: Duration,
    attempts: u32,
}

impl Calls {
    /// This many calls at a time, at least one. Each attempt may take five seconds, and there are five.
    #[must_use]
    pub fn at_most(count: usize) -> Self {
        Self { at_most: count.max(1), deadline: Duration::from_secs(5), attempts: 5 }
    }

    /// How long an attempt may take; one that takes longer has failed and is made again.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many attempts are made, at least one, where one fails by a transient error. Between them is a
    /// pause that grows from 50 milliseconds to two seconds.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Makes a call, again if need be.
    pub(crate) async fn make<U, R>(
        self,
        alarm: Alarm,
        mut call: impl FnMut() -> R,
    ) -> Result<U, Failed>
    where
        R: Future<Output = Result<U, Failed>>,
    {
        let mut pause = FIRST_PAUSE;
        let mut left = self.attempts;
        loop {
            left = left.saturating_sub(1);
            let answer = match select(pin!(call()), alarm.after(self.deadline)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => {
                    let attempted = format!("await a call: no answer within {:?}", self.deadline);
                    Err(Failed::Error(Error::transient(attempted)))
                }
            };
            match answer {
                Err(Failed::Error(error)) if error.is_transient() && left > 0 => {
                    tracing::debug!(error = %error.report(), "a call failed: trying again");
                }
                answer => return answer,
            }
            alarm.after(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl<S: Elements<Value: Clone>> Flow<S> {
    /// Makes another value of each by an asynchronous call; timestamp, origin and order stay.
    ///
    /// Where many records ask for the same, take [`lookup`](crate::KeyedFlow::lookup), which asks once.
    /// What needs no waiting belongs into [`map`](Self::map).
    ///
    /// # Time and state
    /// None. As many calls as [`Calls`] says are under way at a time, and no more is read while there are
    /// that many. A barrier waits for the calls before it, so an epoch is whole; if calls take longer than
    /// the commit interval, commits do too. Deadlines and pauses need a job: outside of one no time passes.
    ///
    /// What a call answers is not a function of the records. A call is made again for every record that was
    /// not committed before a restart, and may answer something else then; only the last answer is committed,
    /// with everything that was made of it. What the call *does* elsewhere may so be done more than once.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::BadRecord;
    /// use rtbflow::operators::Calls;
    /// use rtbflow::testing::{run, values};
    ///
    /// let halves = run(values([4, 3, 2]), |flow| {
    ///     flow.map_async(Calls::at_most(2), |n| async move {
    ///         if n % 2 == 0 { Ok(n / 2) } else { Err(BadRecord::new("odd").into()) }
    ///     })
    /// });
    /// assert_eq!(halves, [2, 1]);
    /// ```
    pub fn map_async<U, F, R>(self, calls: Calls, call: F) -> Flow<MapAsync<S, F, U>>
    where
        U: Send + 'static,
        F: Fn(S::Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<U, Failed>> + Send + 'static,
    {
        let tip = self.tip.then("map_async");
        let under_way = UnderWay::new(calls, &tip);
        Flow { stream: MapAsync { stream: self.stream, call: Arc::new(call), under_way }, tip }
    }
}

/// The stream behind [`Flow::map_async`].
#[pin_project]
pub struct MapAsync<S, F, U> {
    #[pin]
    stream: S,
    call: Arc<F>,
    under_way: UnderWay<U>,
}

impl<S, F, U> fmt::Debug for MapAsync<S, F, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapAsync({} under way)", self.under_way.queue.len())
    }
}

impl<S, U, F, R> Stream for MapAsync<S, F, U>
where
    S: Elements<Value: Clone>,
    U: Send + 'static,
    F: Fn(S::Value) -> R + Send + Sync + 'static,
    R: Future<Output = Result<U, Failed>> + Send + 'static,
{
    type Item = Element<U>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Element<U>>> {
        let this = self.project();
        let (calls, alarm) = (this.under_way.calls, this.under_way.alarm.clone());
        this.under_way.poll(this.stream, context, |value: S::Value| {
            let (call, alarm) = (Arc::clone(this.call), alarm.clone());
            Answer::Awaited(calls.make(alarm, move || call(value.clone())).boxed())
        })
    }
}

/// What comes of a value.
pub(crate) enum Answer<U> {
    Known(U),
    Awaited(BoxFuture<'static, Result<U, Failed>>),
}

/// What comes out of the queue.
enum Arrived<U> {
    Element(Element<U>),
    Failed(Option<Origin>, Failed),
}

/// Calls under way, and what waits behind them: everything leaves in the order in which it came.
pub(crate) struct UnderWay<U> {
    pub(crate) calls: Calls,
    pub(crate) alarm: Alarm,
    queue: FuturesOrdered<BoxFuture<'static, Arrived<U>>>,
    rejects: Vec<(Reject, Class)>,
    /// Why the epoch cannot be committed.
    failure: Option<Error>,
    /// Whether the task is about to end: nothing more is called.
    failed: bool,
    ended: bool,
    /// Whether a watermark waits in the queue: nothing behind it is taken in. Results may be due by it, and a
    /// barrier that is to pass between them must not find records before it.
    watermark_waits: bool,
    activity: Activity,
}

impl<U: Send + 'static> UnderWay<U> {
    pub(crate) fn new(calls: Calls, tip: &Tip) -> Self {
        Self {
            calls,
            alarm: tip.alarm(),
            queue: FuturesOrdered::new(),
            rejects: Vec::new(),
            failure: None,
            failed: false,
            ended: false,
            watermark_waits: false,
            activity: tip.activity(),
        }
    }

    /// Takes in what there is room for, and hands out what has arrived.
    pub(crate) fn poll<S: Elements>(
        &mut self,
        mut stream: Pin<&mut S>,
        context: &mut Context<'_>,
        mut call: impl FnMut(S::Value) -> Answer<U>,
    ) -> Poll<Option<Element<U>>> {
        loop {
            while !self.ended && !self.watermark_waits && self.queue.len() < self.calls.at_most {
                let element = match stream.as_mut().poll_next(context) {
                    Poll::Ready(Some(Element::Record(record, watermark))) => {
                        if self.failed {
                            continue;
                        }
                        let Record { value, timestamp, origin } = record;
                        match call(value) {
                            Answer::Known(value) => {
                                Element::Record(Record { value, timestamp, origin }, watermark)
                            }
                            Answer::Awaited(answer) => {
                                let arrived = answer.map(move |answer| match answer {
                                    Ok(value) => Arrived::Element(Element::Record(
                                        Record { value, timestamp, origin },
                                        watermark,
                                    )),
                                    Err(failed) => Arrived::Failed(origin, failed),
                                });
                                self.queue.push_back(arrived.boxed());
                                continue;
                            }
                        }
                    }
                    Poll::Ready(Some(Element::Watermark(watermark))) => {
                        Element::Watermark(watermark)
                    }
                    Poll::Ready(Some(Element::Barrier(barrier))) => Element::Barrier(barrier),
                    Poll::Ready(None) => {
                        self.ended = true;
                        break;
                    }
                    Poll::Pending => break,
                };
                if self.queue.is_empty() {
                    return Poll::Ready(Some(self.pass(element)));
                }
                self.watermark_waits = matches!(element, Element::Watermark(_));
                self.queue.push_back(ready(Arrived::Element(element)).boxed());
            }
            match self.queue.poll_next_unpin(context) {
                Poll::Ready(Some(Arrived::Element(element))) => {
                    return Poll::Ready(Some(self.pass(element)));
                }
                Poll::Ready(Some(Arrived::Failed(origin, failed))) => self.fail(origin, failed),
                Poll::Ready(None) if self.ended => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn fail(&mut self, origin: Option<Origin>, failed: Failed) {
        match failed {
            Failed::BadRecord(reason) => {
                let reject = origin.map(|origin| Reject { origin, reason });
                self.rejects.extend(reject.map(|reject| (reject, Class::DeadLettered)));
            }
            Failed::Error(error) => {
                self.failed = true;
                self.failure.get_or_insert(error);
                self.activity.add(1);
            }
        }
    }

    /// Something leaves; a barrier takes along how the records before it ended.
    fn pass(&mut self, element: Element<U>) -> Element<U> {
        match &element {
            Element::Barrier(barrier) => self.tell(barrier),
            Element::Watermark(_) => self.watermark_waits = false,
            Element::Record(..) => {}
        }
        element
    }

    fn tell(&mut self, barrier: &Barrier) {
        if !self.rejects.is_empty() {
            barrier.gather(|epoch| epoch.reject(self.rejects.drain(..)));
        }
        if let Some(error) = self.failure.take() {
            barrier.fail(error);
        }
    }
}
