//! Makes another value of each record, of what is known of it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use pin_project::pin_project;

use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::record::Record;

impl<S: Elements> Flow<S> {
    /// Makes another value of each record, of its value, its event time and where it was read; timestamp
    /// and origin stay.
    ///
    /// For an id of records that bring none: topic, partition and offset are the same in every run. Where
    /// the value alone will do take [`map`](Self::map).
    ///
    /// # Time and state
    /// None.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, timed};
    ///
    /// let lines = run(timed([("a", 5), ("b", 7)]), |flow| {
    ///     flow.map_record(|record| format!("{} at {}", record.value, record.timestamp.as_millis()))
    /// });
    /// assert_eq!(lines, ["a at 5", "b at 7"]);
    /// ```
    pub fn map_record<U, F>(self, f: F) -> Flow<MapRecord<S, F>>
    where
        U: Send + 'static,
        F: FnMut(Record<S::Value>) -> U + Send + 'static,
    {
        Flow { stream: MapRecord { stream: self.stream, f }, tip: self.tip.then("map_record") }
    }
}

/// The stream behind [`Flow::map_record`].
#[pin_project]
pub struct MapRecord<S, F> {
    #[pin]
    stream: S,
    f: F,
}

impl<S, F> fmt::Debug for MapRecord<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MapRecord")
    }
}

impl<S, U, F> Stream for MapRecord<S, F>
where
    S: Elements,
    F: FnMut(Record<S::Value>) -> U,
{
    type Item = Element<U>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Element<U>>> {
        let this = self.project();
        Poll::Ready(match ready!(this.stream.poll_next(context)) {
            Some(Element::Record(record, watermark)) => {
                let (timestamp, origin) = (record.timestamp, record.origin);
                let value = (this.f)(record);
                Some(Element::Record(Record { value, timestamp, origin }, watermark))
            }
            Some(Element::Watermark(watermark)) => Some(Element::Watermark(watermark)),
            Some(Element::Barrier(barrier)) => Some(Element::Barrier(barrier)),
            None => None,
        })
    }
}
