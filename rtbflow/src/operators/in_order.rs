//! Answers that are awaited at the same time and leave in the order of their records.

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, Stream, StreamExt};
use pin_project::pin_project;

use crate::either::Either;
use crate::element::Element;
use crate::flow::Elements;
use crate::lookup::Failed;
use crate::record::Record;

/// What comes of a value.
pub(super) enum Answer<U> {
    Known(U),
    Awaited(BoxFuture<'static, Result<U, Failed>>),
}

/// Awaits the answers of the records that have come, and lets whatever came behind them wait for them.
#[pin_project]
pub(super) struct InOrder<S, U> {
    #[pin]
    stream: S,
    most: usize,
    queue: FuturesOrdered<BoxFuture<'static, Element<Result<U, Failed>>>>,
    /// Whether an answer has failed for good, so that the task is about to end: nothing more is awaited.
    failed: bool,
    ended: bool,
    /// Whether a watermark waits in the queue: nothing behind it is taken in. Results may be due by it, and a
    /// barrier that is to pass between them must not find records before it.
    watermark_waits: bool,
}

impl<S, U: Send + 'static> InOrder<S, U> {
    /// Awaits at most this many answers at a time.
    pub(super) fn new(stream: S, most: usize) -> Self {
        let queue = FuturesOrdered::new();
        Self { stream, most, queue, failed: false, ended: false, watermark_waits: false }
    }
}

/// What passes at once, and what is awaited.
type Answered<U> =
    Either<Element<Result<U, Failed>>, BoxFuture<'static, Element<Result<U, Failed>>>>;

/// What becomes of an element.
fn answered<U: Send + 'static>(element: Element<Answer<U>>) -> Answered<U> {
    let (Record { value, timestamp, origin }, watermark) = match element.into_record() {
        Ok(record) => record,
        Err(other) => return Either::Left(other),
    };
    let made = move |value| Element::Record(Record { value, timestamp, origin }, watermark);
    match value {
        Answer::Known(value) => Either::Left(made(Ok(value))),
        Answer::Awaited(answer) => Either::Right(answer.map(made).boxed()),
    }
}

impl<S, U> fmt::Debug for InOrder<S, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InOrder({} awaited)", self.queue.len())
    }
}

impl<S, U> InOrder<S, U>
where
    S: Elements<Value = Answer<U>>,
    U: Send + 'static,
{
    /// Takes in what comes, as far as there is room; what has nothing before it passes at once.
    fn fill(self: Pin<&mut Self>, context: &mut Context<'_>) -> Option<Element<Result<U, Failed>>> {
        let mut this = self.project();
        while !*this.ended && !*this.watermark_waits && this.queue.len() < *this.most {
            let element = match this.stream.as_mut().poll_next(context) {
                Poll::Ready(Some(element)) => element,
                Poll::Ready(None) => {
                    *this.ended = true;
                    break;
                }
                Poll::Pending => break,
            };
            if *this.failed && matches!(element, Element::Record(..)) {
                continue;
            }
            match answered(element) {
                Either::Left(passing) if this.queue.is_empty() => return Some(passing),
                Either::Left(passing) => {
                    *this.watermark_waits = matches!(passing, Element::Watermark(_));
                    this.queue.push_back(ready(passing).boxed());
                }
                Either::Right(awaited) => this.queue.push_back(awaited),
            }
        }
        None
    }
}

impl<S, U> Stream for InOrder<S, U>
where
    S: Elements<Value = Answer<U>>,
    U: Send + 'static,
{
    type Item = Element<Result<U, Failed>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(passing) = self.as_mut().fill(context) {
            return Poll::Ready(Some(passing));
        }
        let this = self.project();
        let element = match this.queue.poll_next_unpin(context) {
            Poll::Ready(Some(element)) => element,
            Poll::Ready(None) if *this.ended => return Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => return Poll::Pending,
        };
        if let Element::Record(record, _) = &element {
            *this.failed |= matches!(record.value, Err(Failed::Error(_)));
        }
        *this.watermark_waits &= !matches!(element, Element::Watermark(_));
        Poll::Ready(Some(element))
    }
}
