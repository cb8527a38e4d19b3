//! Makes another value of each.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use pin_project::pin_project;

use crate::element::Element;
use crate::flow::{Elements, Flow};

impl<S: Elements> Flow<S> {
    /// Makes another value of each; timestamp and origin stay.
    ///
    /// To drop some as well take [`filter_map`](Self::filter_map), to make several of one
    /// [`flat_map`](Self::flat_map).
    ///
    /// # Time and state
    /// None.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// assert_eq!(run(values([1, 2, 3]), |flow| flow.map(|n| n * 10)), [10, 20, 30]);
    /// ```
    pub fn map<U, F>(self, f: F) -> Flow<Map<S, F>>
    where
        U: Send + 'static,
        F: FnMut(S::Value) -> U + Send + 'static,
    {
        Flow { stream: Map::new(self.stream, f), tip: self.tip.then("map") }
    }
}

/// The stream behind [`Flow::map`].
#[pin_project]
pub struct Map<S, F> {
    #[pin]
    stream: S,
    f: F,
}

impl<S, F> Map<S, F> {
    pub(super) fn new(stream: S, f: F) -> Self {
        Self { stream, f }
    }
}

impl<S, F> fmt::Debug for Map<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Map")
    }
}

impl<S, U, F> Stream for Map<S, F>
where
    S: Elements,
    F: FnMut(S::Value) -> U,
{
    type Item = Element<U>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Element<U>>> {
        let this = self.project();
        Poll::Ready(match ready!(this.stream.poll_next(context)) {
            Some(Element::Record(record, watermark)) => {
                Some(Element::Record(record.map(this.f), watermark))
            }
            Some(Element::Watermark(watermark)) => Some(Element::Watermark(watermark)),
            Some(Element::Barrier(barrier)) => Some(Element::Barrier(barrier)),
            None => None,
        })
    }
}
