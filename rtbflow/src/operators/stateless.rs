//! The one loop of the operators that keep no state: [`StatelessStep`] is what differs between them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use pin_project::pin_project;

use crate::barrier::{Barrier, Class, Gathered};
use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::record::Record;
use crate::time::Timestamp;
use crate::topology::Tip;

/// What an operator without state does with each record.
pub(super) trait StatelessStep<V>: Send + 'static {
    /// The values that it emits.
    type Out: Send + 'static;

    /// What becomes of a record.
    fn step(&mut self, record: Record<V>, watermark: Timestamp) -> Outcome<Self::Out>;

    /// The next of what the last record has left to be emitted.
    #[inline]
    fn rest(&mut self) -> Option<Element<Self::Out>> {
        None
    }

    /// A barrier passes: what is known of the records before it belongs to its epoch.
    #[inline]
    fn pass(&mut self, _: &Barrier, _operator: &Arc<str>) {}
}

/// What becomes of a record in a [`StatelessStep`].
pub(super) enum Outcome<U> {
    /// It is emitted so.
    Emitted(Record<U>),
    /// It is not wanted: it counts as filtered.
    Filtered,
    /// It is not emitted, and the step accounts for it when the barrier passes.
    Rejected,
}

/// The stream of an operator without state.
#[pin_project]
pub(super) struct Stateless<S, T> {
    #[pin]
    stream: S,
    step: T,
    /// What it is called in measurements.
    operator: Arc<str>,
    filtered: u64,
}

impl<S, T> Stateless<S, T> {
    pub(super) fn new(stream: S, step: T, tip: &Tip) -> Self {
        Self { stream, step, operator: tip.operator(), filtered: 0 }
    }
}

impl<S: Elements> Flow<S> {
    /// The flow behind a step; `kind` is what the topology calls it.
    pub(super) fn step<T: StatelessStep<S::Value>>(
        self,
        kind: &'static str,
        step: T,
    ) -> Flow<Stateless<S, T>> {
        let tip = self.tip.then(kind);
        Flow { stream: Stateless::new(self.stream, step, &tip), tip }
    }
}

impl<S, T> fmt::Debug for Stateless<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stateless({})", std::any::type_name::<T>())
    }
}

impl<S, T> Stream for Stateless<S, T>
where
    S: Elements,
    T: StatelessStep<S::Value>,
{
    type Item = Element<T::Out>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        // Counted apart from the operator, so that the count stays in a register.
        let mut filtered = 0;
        let element = loop {
            if let Some(element) = this.step.rest() {
                break Some(element);
            }
            let Poll::Ready(element) = this.stream.as_mut().poll_next(context) else {
                *this.filtered += filtered;
                return Poll::Pending;
            };
            break match element {
                Some(Element::Record(record, watermark)) => {
                    let accountable = record.is_accountable();
                    match this.step.step(record, watermark) {
                        Outcome::Emitted(record) => Some(Element::Record(record, watermark)),
                        Outcome::Filtered => {
                            filtered += u64::from(accountable);
                            continue;
                        }
                        Outcome::Rejected => continue,
                    }
                }
                Some(Element::Watermark(watermark)) => Some(Element::Watermark(watermark)),
                Some(Element::Barrier(barrier)) => {
                    filtered += std::mem::take(this.filtered);
                    if filtered > 0 {
                        let filtered = std::mem::take(&mut filtered);
                        let count =
                            |epoch: &mut Gathered| epoch.tally.add(Class::Filtered, filtered);
                        barrier.gather_of(this.operator, count);
                    }
                    this.step.pass(&barrier, this.operator);
                    Some(Element::Barrier(barrier))
                }
                None => None,
            };
        };
        *this.filtered += filtered;
        Poll::Ready(element)
    }
}
