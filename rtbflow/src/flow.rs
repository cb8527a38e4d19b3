//! A flow of elements through operators: what a pipeline is written in.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::BoxStream;

use crate::broken::spoiler;
use crate::element::Element;
use crate::error::Result;
use crate::topology::{Tip, Topology};

/// A stream of [`Element`]s: the alias that keeps signatures readable.
///
/// ```
/// use rtbflow::{Elements, Flow};
///
/// /// A statement is a plain function from flow to flow.
/// fn evens(numbers: Flow<impl Elements<Value = u64>>) -> Flow<impl Elements<Value = u64>> {
///     numbers.filter(|n| n % 2 == 0)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stream of elements",
    note = "a flow is made by a job's source or by `Flow::from_elements`, and changed by its operators"
)]
pub trait Elements: Stream<Item = Element<<Self as Elements>::Value>> + Send + 'static {
    /// The values of the records.
    type Value: Send + 'static;
}

impl<S, T> Elements for S
where
    S: Stream<Item = Element<T>> + Send + 'static,
    T: Send + 'static,
{
    type Value = T;
}

/// A flow of elements: a thin wrapper around the stream, whose methods are the operators.
///
/// Each operator's method stands in the operator's own file. A chain of operators compiles to one
/// state machine; chains of some dozens of operators need a [`boxed`](Self::boxed) in between, or the
/// compiler gives up.
#[must_use = "a flow does nothing until it ends in a sink"]
pub struct Flow<S> {
    pub(crate) stream: S,
    pub(crate) tip: Tip,
}

impl<S> fmt::Debug for Flow<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flow({})", std::any::type_name::<S>())
    }
}

impl<S: Elements> Flow<S> {
    /// A flow of any stream of elements; a job makes its flows itself. To put a stream around that of a flow
    /// take [`adapt`](Self::adapt), which stays part of the pipeline.
    pub fn from_elements(stream: S) -> Self {
        Self { stream, tip: Tip::source(&[]) }
    }

    /// The stream of elements behind the flow.
    pub fn into_elements(self) -> S {
        self.stream
    }

    /// The same flow with its type forgotten, for the price of one dynamic call an element.
    pub fn boxed(self) -> Flow<BoxStream<'static, Element<S::Value>>> {
        Flow { stream: Box::pin(self.stream), tip: self.tip }
    }

    /// An operator of one's own that needs no state: `adapt` puts a stream around that of the flow, and
    /// `kind` is what the topology calls it. For one with state take [`logic`](Self::logic).
    ///
    /// Watermarks and barriers have to come out once and in order, and every record before the barrier that
    /// it came before: `testing::laws::operator` checks that.
    ///
    /// # Examples
    /// ```
    /// use futures::StreamExt;
    /// use rtbflow::Element;
    /// use rtbflow::testing::{laws, run, values};
    ///
    /// let negated = run(values([1, 2]), |flow| {
    ///     flow.adapt("negate", |elements| {
    ///         elements.map(|element| match element {
    ///             Element::Record(record, watermark) => Element::Record(record.map(|n| -n), watermark),
    ///             other => other,
    ///         })
    ///     })
    /// });
    /// assert_eq!(negated, [-1, -2]);
    /// ```
    pub fn adapt<S2: Elements>(self, kind: &'static str, adapt: impl FnOnce(S) -> S2) -> Flow<S2> {
        Flow { stream: adapt(self.stream), tip: self.tip.then(kind) }
    }

    /// What the pipeline is made of up to here.
    ///
    /// # Errors
    /// With all names and settings of operators that cannot be used.
    pub fn topology(&self) -> Result<Topology> {
        self.tip.finish().fits().map(|(topology, _)| topology)
    }
}

/// A flow whose records have a key: what windows, joins and dedup start from.
#[must_use = "a flow does nothing until it ends in a sink"]
pub struct KeyedFlow<S, F> {
    pub(crate) stream: S,
    pub(crate) key: F,
    pub(crate) tip: Tip,
}

impl<S, F> fmt::Debug for KeyedFlow<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedFlow({})", std::any::type_name::<S>())
    }
}

/// The end of a pipeline: where its sinks are.
#[must_use = "a pipeline returns its ends, or their records go nowhere"]
pub struct End {
    pub(crate) drain: Pin<Box<dyn Drain>>,
    pub(crate) tip: Tip,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("End")
    }
}

/// Pulls elements through a chain into its sink, for as long as there are any.
pub(crate) trait Drain: Send {
    /// Ready when the flow has ended; pending when it has nothing at the moment, when a barrier has passed, and
    /// when enough waits that a barrier has to set out first.
    fn poll_drain(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()>;
}

impl End {
    /// As [`Drain::poll_drain`].
    ///
    /// # Errors
    /// If the chain has [spoilt its epoch](crate::Error::spoil_epoch): nothing of it may be committed.
    pub(crate) fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = self.drain.as_mut().poll_drain(context);
        spoiler().map_or(polled.map(Ok), |error| Poll::Ready(Err(error)))
    }

    /// Both ends of a pipeline with two branches; more of them follow one after another. What the sinks of
    /// both take in an epoch is committed in one step.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::Job;
    /// use rtbflow::epoch::Memory;
    /// use rtbflow::source::MemorySource;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let place = Memory::new();
    /// let (small, large) = (place.collected::<i32>(), place.collected::<i32>());
    /// let report = Job::new("by-size")
    ///     .source(MemorySource::new("numbers", vec![vec![1, 200, 3]]))
    ///     .anchor(place.clone())
    ///     .pipeline({
    ///         let (small, large) = (small.clone(), large.clone());
    ///         move |numbers| {
    ///             let (few, many) = numbers.split_by(|n| *n < 100);
    ///             few.to(small.sink()).and(many.to(large.sink()))
    ///         }
    ///     })
    ///     .run()
    ///     .await?;
    /// assert_eq!((small.values(), large.values()), (vec![1, 3], vec![200]));
    /// assert_eq!(report.records_in(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn and(self, other: Self) -> Self {
        let tip = self.tip.clone();
        Self { drain: Box::pin(Both { one: Some(self), other: Some(other) }), tip }
    }
}

struct Both {
    one: Option<End>,
    other: Option<End>,
}

impl Drain for Both {
    fn poll_drain(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { one, other } = &mut *self;
        for end in [one, other] {
            let drain = end.as_mut().map(|end| end.drain.as_mut());
            if drain.is_some_and(|drain| drain.poll_drain(context).is_ready()) {
                *end = None;
            }
        }
        if self.one.is_none() && self.other.is_none() { Poll::Ready(()) } else { Poll::Pending }
    }
}
