//! Sends the records that failed a step to the dead-letter topic.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use pin_project::pin_project;

use crate::barrier::{Class, Reject};
use crate::element::Element;
use crate::error::BadRecord;
use crate::flow::{Elements, Flow};
use crate::record::Record;

impl<S, T> Flow<S>
where
    S: Elements<Value = Result<T, BadRecord>>,
    T: Send + 'static,
{
    /// Keeps the values; a record with a [`BadRecord`] goes to the dead-letter topic, unchanged as it was
    /// read, with the reason.
    ///
    /// What does not decode goes there by itself; this is for a check of one's own. A record that an
    /// operator made of several, such as a window's result, was not read anywhere: it is only dropped.
    ///
    /// # Time and state
    /// None.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::BadRecord;
    /// use rtbflow::testing::{run, values};
    ///
    /// let priced = run(values([3, -1, 5]), |flow| {
    ///     flow.map(|price: i64| if price < 0 { Err(BadRecord::new("negative price")) } else { Ok(price) })
    ///         .dead_letter()
    /// });
    /// assert_eq!(priced, [3, 5]);
    /// ```
    pub fn dead_letter(self) -> Flow<DeadLetter<S>> {
        let stream = DeadLetter { stream: self.stream, rejects: Vec::new() };
        Flow { stream, tip: self.tip.then("dead_letter") }
    }
}

/// The stream behind [`Flow::dead_letter`].
#[pin_project]
pub struct DeadLetter<S> {
    #[pin]
    stream: S,
    rejects: Vec<(Reject, Class)>,
}

impl<S> fmt::Debug for DeadLetter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeadLetter")
    }
}

impl<S, T> Stream for DeadLetter<S>
where
    S: Elements<Value = Result<T, BadRecord>>,
{
    type Item = Element<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Element<T>>> {
        let mut this = self.project();
        loop {
            return Poll::Ready(match ready!(this.stream.as_mut().poll_next(context)) {
                Some(Element::Record(record, watermark)) => {
                    let (timestamp, origin) = (record.timestamp, record.origin);
                    match record.value {
                        Ok(value) => {
                            Some(Element::Record(Record { value, timestamp, origin }, watermark))
                        }
                        Err(reason) => {
                            if let Some(origin) = origin {
                                this.rejects.push((Reject { origin, reason }, Class::DeadLettered));
                            }
                            continue;
                        }
                    }
                }
                Some(Element::Watermark(watermark)) => Some(Element::Watermark(watermark)),
                Some(Element::Barrier(barrier)) => {
                    if !this.rejects.is_empty() {
                        barrier.gather(|epoch| epoch.reject(this.rejects.drain(..)));
                    }
                    Some(Element::Barrier(barrier))
                }
                None => None,
            });
        }
    }
}
