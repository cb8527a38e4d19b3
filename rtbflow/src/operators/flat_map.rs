//! Makes any number of records of each.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use pin_project::pin_project;

use crate::barrier::Class;
use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::record::{Origin, Record};
use crate::time::Timestamp;

impl<S: Elements> Flow<S> {
    /// Makes any number of records of each, with its timestamp and origin.
    ///
    /// A record of which none is made is accounted for as *filtered*; one of which any are made has been
    /// used, and what becomes of them is not accounted for again.
    ///
    /// # Time and state
    /// None: it holds the values made of one record. They stay together: all that is made of one record is
    /// committed in one epoch, so that one record should not become more rows than the place takes at once.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let letters = run(values(["ab", "", "c"]), |flow| flow.flat_map(|text: &str| text.chars().collect::<Vec<_>>()));
    /// assert_eq!(letters, ['a', 'b', 'c']);
    /// ```
    pub fn flat_map<I, F>(self, f: F) -> Flow<FlatMap<S, F, I::IntoIter>>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        I::IntoIter: Send + 'static,
        F: FnMut(S::Value) -> I + Send + 'static,
    {
        Flow { stream: FlatMap::new(self.stream, f), tip: self.tip.then("flat_map") }
    }
}

/// The stream behind [`Flow::flat_map`].
#[pin_project]
pub struct FlatMap<S, F, I> {
    #[pin]
    stream: S,
    f: F,
    made: Option<Made<I>>,
    dropped: u64,
}

struct Made<I> {
    values: I,
    timestamp: Timestamp,
    origin: Option<Origin>,
    watermark: Timestamp,
}

impl<I: Iterator> Iterator for Made<I> {
    type Item = Element<I::Item>;
    fn next(&mut self) -> Option<Element<I::Item>> {
        let value = self.values.next()?;
        let record = Record { value, timestamp: self.timestamp, origin: self.origin };
        Some(Element::Record(record, self.watermark))
    }
}

impl<S, F, I> FlatMap<S, F, I> {
    pub(super) fn new(stream: S, f: F) -> Self {
        Self { stream, f, made: None, dropped: 0 }
    }
}

impl<S, F, I> fmt::Debug for FlatMap<S, F, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlatMap")
    }
}

impl<S, I, F> Stream for FlatMap<S, F, I::IntoIter>
where
    S: Elements,
    I: IntoIterator,
    F: FnMut(S::Value) -> I,
{
    type Item = Element<I::Item>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            if let Some(record) = this.made.as_mut().and_then(Iterator::next) {
                return Poll::Ready(Some(record));
            }
            *this.made = None;
            return Poll::Ready(match ready!(this.stream.as_mut().poll_next(context)) {
                Some(Element::Record(record, watermark)) => {
                    let accountable = record.is_accountable();
                    let Record { value, timestamp, origin } = record;
                    let mut made = Made {
                        values: (this.f)(value).into_iter(),
                        timestamp,
                        origin: origin.map(Origin::shared),
                        watermark,
                    };
                    let Some(first) = made.next() else {
                        *this.dropped += u64::from(accountable);
                        continue;
                    };
                    *this.made = Some(made);
                    Some(first)
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
