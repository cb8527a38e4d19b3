//! Keeps the records that a predicate wants.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use pin_project::pin_project;

use crate::barrier::Class;
use crate::element::Element;
use crate::flow::{Elements, Flow};

impl<S: Elements> Flow<S> {
    /// Keeps the records whose value the predicate wants; the others are accounted for as *filtered*.
    ///
    /// To change the value in the same step take [`filter_map`](Self::filter_map); to keep the records of one
    /// key in `n`, [`sample`](crate::KeyedFlow::sample).
    ///
    /// # Time and state
    /// None. The watermark advances by the dropped records too.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// assert_eq!(run(values([1, 2, 3, 4]), |flow| flow.filter(|n| n % 2 == 0)), [2, 4]);
    /// ```
    pub fn filter<F>(self, f: F) -> Flow<Filter<S, F>>
    where
        F: FnMut(&S::Value) -> bool + Send + 'static,
    {
        Flow { stream: Filter::new(self.stream, f), tip: self.tip.then("filter") }
    }
}

/// The stream behind [`Flow::filter`].
#[pin_project]
pub struct Filter<S, F> {
    #[pin]
    stream: S,
    f: F,
    dropped: u64,
}

impl<S, F> Filter<S, F> {
    pub(super) fn new(stream: S, f: F) -> Self {
        Self { stream, f, dropped: 0 }
    }
}

impl<S, F> fmt::Debug for Filter<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

impl<S, F> Stream for Filter<S, F>
where
    S: Elements,
    F: FnMut(&S::Value) -> bool,
{
    type Item = Element<S::Value>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        // Counted apart from the operator, so that the count stays in a register.
        let mut dropped = 0;
        let element = loop {
            match this.stream.as_mut().poll_next(context) {
                Poll::Ready(Some(Element::Record(record, watermark))) => {
                    if (this.f)(&record.value) {
                        break Poll::Ready(Some(Element::Record(record, watermark)));
                    }
                    dropped += u64::from(record.is_accountable());
                }
                other @ (Poll::Pending
                | Poll::Ready(None | Some(Element::Watermark(_) | Element::Barrier(_)))) => {
                    break other;
                }
            }
        };
        *this.dropped += dropped;
        if let Poll::Ready(Some(Element::Barrier(barrier))) = &element {
            let dropped = std::mem::take(this.dropped);
            barrier.gather(|epoch| epoch.tally.add(Class::Filtered, dropped));
        }
        element
    }
}
