//! Makes two flows of one that carries two kinds of records.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::Stream;

use crate::barrier::Barrier;
use crate::either::Either;
use crate::element::Element;
use crate::error::Error;
use crate::flow::{Elements, Flow};
use crate::record::Record;

impl<S, L, R> Flow<S>
where
    S: Elements<Value = Either<L, R>>,
    L: Send + 'static,
    R: Send + 'static,
{
    /// Makes two flows of one that carries two kinds of records: each goes on with one kind.
    ///
    /// To tell them by a condition take [`split_by`](Self::split_by); to send every record both ways,
    /// [`tee`](Self::tee). Where only one kind is of interest take [`filter_map`](Self::filter_map).
    ///
    /// # Time and state
    /// Watermarks and barriers go to both flows. What one of them has not taken yet waits in memory: at most
    /// what the task has at hand. A record stays accountable, wherever it goes.
    ///
    /// # Errors
    /// The task fails at its next barrier if one of the flows was dropped instead of ended in a sink.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::Either::{self, Left, Right};
    /// use rtbflow::testing::{run, values};
    ///
    /// let input: [Either<i64, &str>; 3] = [Left(3), Right("x"), Left(5)];
    /// let texts = run(values(input), |flow| {
    ///     let (numbers, letters) = flow.split();
    ///     numbers.map(|n| n.to_string()).union(letters.map(str::to_owned))
    /// });
    /// assert_eq!(texts, ["3", "x", "5"]);
    /// ```
    pub fn split(self) -> (Flow<LeftBranch<S, ByKind>>, Flow<RightBranch<S, ByKind>>) {
        self.fork("split", ByKind)
    }
}

/// What each of two branches is given of a record.
pub trait Route<T>: Send + 'static {
    /// The values of the first branch.
    type Left: Send + 'static;
    /// The values of the second branch.
    type Right: Send + 'static;

    /// What the first and what the second branch is given.
    fn route(&mut self, record: Record<T>) -> Routed<Self::Left, Self::Right>;
}

/// What the first and what the second of two branches is given.
pub type Routed<L, R> = (Option<Record<L>>, Option<Record<R>>);

/// The route of [`Flow::split`].
#[derive(Debug)]
pub struct ByKind;

impl<L: Send + 'static, R: Send + 'static> Route<Either<L, R>> for ByKind {
    type Left = L;
    type Right = R;

    #[inline]
    fn route(&mut self, record: Record<Either<L, R>>) -> Routed<L, R> {
        let Record { value, timestamp, origin } = record;
        match value {
            Either::Left(value) => (Some(Record { value, timestamp, origin }), None),
            Either::Right(value) => (None, Some(Record { value, timestamp, origin })),
        }
    }
}

impl<S: Elements> Flow<S> {
    /// Two flows that share this one.
    pub(super) fn fork<P: Route<S::Value>>(
        self,
        kind: &'static str,
        route: P,
    ) -> (Flow<LeftBranch<S, P>>, Flow<RightBranch<S, P>>) {
        let tip = self.tip.then(kind);
        let stream = Box::pin(self.stream);
        let fork = Fork { stream, route, left: Queue::new(), right: Queue::new() };
        let fork = Arc::new(Mutex::new(fork));
        let left = Flow { stream: LeftBranch(Arc::clone(&fork)), tip: tip.clone() };
        (left, Flow { stream: RightBranch(fork), tip })
    }
}

/// A stream that two branches share. Whichever is polled takes from it, and puts aside what is the other's.
struct Fork<S: Elements, P: Route<S::Value>> {
    stream: Pin<Box<S>>,
    route: P,
    left: Queue<P::Left>,
    right: Queue<P::Right>,
}

/// What a branch has not taken yet.
struct Queue<T> {
    elements: VecDeque<Element<T>>,
    /// Whether the branch was dropped.
    dropped: bool,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { elements: VecDeque::new(), dropped: false }
    }

    #[inline]
    fn push(&mut self, element: Element<T>) {
        if !self.dropped {
            self.elements.push_back(element);
        }
    }

    fn close(&mut self) {
        self.dropped = true;
        self.elements.clear();
    }
}

impl<S: Elements, P: Route<S::Value>> Fork<S, P> {
    /// Takes one element from the stream; false at its end.
    #[inline]
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        match ready!(self.stream.as_mut().poll_next(context)) {
            Some(Element::Record(record, watermark)) => {
                let (left, right) = self.route.route(record);
                if let Some(record) = left {
                    self.left.push(Element::Record(record, watermark));
                }
                if let Some(record) = right {
                    self.right.push(Element::Record(record, watermark));
                }
            }
            Some(Element::Watermark(watermark)) => {
                self.left.push(Element::Watermark(watermark));
                self.right.push(Element::Watermark(watermark));
            }
            Some(Element::Barrier(barrier)) => self.fork(barrier),
            None => return Poll::Ready(false),
        }
        Poll::Ready(true)
    }

    /// A barrier goes both ways.
    fn fork(&mut self, barrier: Barrier) {
        if self.left.dropped || self.right.dropped {
            barrier.fail(Error::config(
                "run a pipeline with branches: one of them leads to no sink; end each in one",
            ));
        }
        self.left.push(Element::Barrier(barrier.clone()));
        self.right.push(Element::Barrier(barrier));
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

macro_rules! branch {
    ($branch:ident, $side:ident, $kind:ident, $doc:literal) => {
        #[doc = $doc]
        pub struct $branch<S: Elements, P: Route<S::Value>>(Arc<Mutex<Fork<S, P>>>);

        impl<S: Elements, P: Route<S::Value>> fmt::Debug for $branch<S, P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($branch))
            }
        }

        impl<S: Elements, P: Route<S::Value>> Stream for $branch<S, P> {
            type Item = Element<P::$kind>;

            #[inline]
            fn poll_next(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                let mut fork = lock(&self.0);
                loop {
                    if let Some(element) = fork.$side.elements.pop_front() {
                        return Poll::Ready(Some(element));
                    }
                    if !ready!(fork.poll_more(context)) {
                        return Poll::Ready(None);
                    }
                }
            }
        }

        impl<S: Elements, P: Route<S::Value>> Drop for $branch<S, P> {
            fn drop(&mut self) {
                lock(&self.0).$side.close();
            }
        }
    };
}
branch!(LeftBranch, left, Left, "The stream behind the first of two flows that were one.");
branch!(RightBranch, right, Right, "The stream behind the second of two flows that were one.");

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::barrier::Barrier;
    use crate::testing::builders::{at, element};

    #[test]
    fn a_branch_that_leads_nowhere_fails_the_task() {
        let (barrier, gathering) = Barrier::new(at(0));
        let elements = [element(Either::Right::<u8, u8>(1), 0), Element::Barrier(barrier)];
        let (left, right) = Flow::from_elements(futures::stream::iter(elements)).split();
        drop(right);
        let mut left = left.into_elements();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Element::Barrier(barrier))) =
            Pin::new(&mut left).poll_next(&mut context)
        else {
            panic!("the barrier does not come first");
        };
        barrier.complete();
        assert!(gathering.finish().unwrap_err().is_config());
    }
}
