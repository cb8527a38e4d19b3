//! Makes another value of those records that give one.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use pin_project::pin_project;

use crate::barrier::Class;
use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::record::Record;

impl<S: Elements> Flow<S> {
    /// Makes another value of each, or drops the record, which is then accounted for as *filtered*.
    ///
    /// # Time and state
    /// None. The watermark advances by the dropped records too.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let numbers = run(values(["1", "x", "3"]), |flow| flow.filter_map(|text| text.parse::<u8>().ok()));
    /// assert_eq!(numbers, [1, 3]);
    /// ```
    pub fn filter_map<U, F>(self, f: F) -> Flow<FilterMap<S, F>>
    where
        U: Send + 'static,
        F: FnMut(S::Value) -> Option<U> + Send + 'static,
    {
        let stream = FilterMap { stream: self.stream, f, dropped: 0 };
        Flow { stream, tip: self.tip.then("filter_map") }
    }
}

/// The stream behind [`Flow::filter_map`].
#[pin_project]
pub struct FilterMap<S, F> {
    #[pin]
    stream: S,
    f: F,
    dropped: u64,
}

impl<S, F> fmt::Debug for FilterMap<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilterMap")
    }
}

impl<S, U, F> Stream for FilterMap<S, F>
where
    S: Elements,
    F: FnMut(S::Value) -> Option<U>,
{
    type Item = Element<U>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Element<U>>> {
        let mut this = self.project();
        loop {
            return Poll::Ready(match ready!(this.stream.as_mut().poll_next(context)) {
                Some(Element::Record(record, watermark)) => {
                    let accountable = record.is_accountable();
                    let Record { value, timestamp, origin } = record;
                    let Some(value) = (this.f)(value) else {
                        *this.dropped += u64::from(accountable);
                        continue;
                    };
                    Some(Element::Record(Record { value, timestamp, origin }, watermark))
                }
                Some(Element::Watermark(watermark)) => Some(Element::Watermark(watermark)),
                Some(Element::Barrier(barrier)) => {
                    let dropped = std::mem::take(this.dropped);
                    if dropped > 0 {
                        barrier.gather(|epoch| epoch.tally.add(Class::Filtered, dropped));
                    }
                    Some(Element::Barrier(barrier))
                }
                None => None,
            });
        }
    }
}
