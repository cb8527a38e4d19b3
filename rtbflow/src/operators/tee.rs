//! Sends every record two ways.

use crate::flow::{Elements, Flow};
use crate::operators::{LeftBranch, RightBranch, Route, Routed};
use crate::record::{Origin, Record};

impl<S> Flow<S>
where
    S: Elements<Value: Clone>,
{
    /// Makes two flows of one, each with every record.
    ///
    /// To end one flow in several sinks give [`to`](Self::to) a tuple of them, which copies nothing. For
    /// records that go one way or the other take [`split`](Self::split).
    ///
    /// # Time and state
    /// As [`split`](Self::split). A record that goes two ways has been used: what becomes of it there is not
    /// accounted for again.
    ///
    /// # Errors
    /// As [`split`](Self::split).
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let both = run(values([1, 2]), |flow| {
    ///     let (numbers, others) = flow.tee();
    ///     numbers.union(others.map(|n| n * 10))
    /// });
    /// assert_eq!(both, [1, 10, 2, 20]);
    /// ```
    pub fn tee(self) -> (Flow<LeftBranch<S, Copies>>, Flow<RightBranch<S, Copies>>) {
        self.fork("tee", Copies)
    }
}

/// The route of [`Flow::tee`].
#[derive(Debug)]
pub struct Copies;

impl<T: Clone + Send + 'static> Route<T> for Copies {
    type Left = T;
    type Right = T;

    #[inline]
    fn route(&mut self, record: Record<T>) -> Routed<T, T> {
        let shared = Record { origin: record.origin.map(Origin::shared), ..record };
        (Some(shared.clone()), Some(shared))
    }
}
