//! Looks at each value as it passes.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use pin_project::pin_project;

use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::record::Record;

impl<S: Elements> Flow<S> {
    /// Looks at each record as it passes, for logs and counters.
    ///
    /// What it does besides looking happens again when records are read again after a crash: results
    /// belong in a sink.
    ///
    /// # Time and state
    /// None.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let mut seen = 0;
    /// run(values([1, 2]), move |flow| flow.inspect(move |record| { seen += record.value; assert!(seen <= 3) }));
    /// ```
    pub fn inspect<F>(self, f: F) -> Flow<Inspect<S, F>>
    where
        F: FnMut(&Record<S::Value>) + Send + 'static,
    {
        Flow { stream: Inspect { stream: self.stream, f }, tip: self.tip.then("inspect") }
    }
}

/// The stream behind [`Flow::inspect`].
#[pin_project]
pub struct Inspect<S, F> {
    #[pin]
    stream: S,
    f: F,
}

impl<S, F> fmt::Debug for Inspect<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inspect")
    }
}

impl<S, F> Stream for Inspect<S, F>
where
    S: Elements,
    F: FnMut(&Record<S::Value>),
{
    type Item = Element<S::Value>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let element = ready!(this.stream.poll_next(context));
        if let Some(Element::Record(record, _)) = &element {
            (this.f)(record);
        }
        Poll::Ready(element)
    }
}
