//! Makes two flows of one by a condition.

use std::fmt;

use crate::flow::{Elements, Flow};
use crate::operators::{LeftBranch, RightBranch, Route, Routed};
use crate::record::Record;

impl<S: Elements> Flow<S> {
    /// Makes two flows of one: the first goes on with the records for which `condition` holds, the second
    /// with the others.
    ///
    /// Where the two kinds are to have types of their own, map to [`Either`](crate::Either) and take
    /// [`split`](Self::split).
    ///
    /// # Time and state
    /// As [`split`](Self::split).
    ///
    /// # Errors
    /// As [`split`](Self::split).
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let smaller = run(values([1, 2, 3, 4]), |flow| {
    ///     let (even, odd) = flow.split_by(|n| n % 2 == 0);
    ///     even.map(|n| n / 2).union(odd)
    /// });
    /// assert_eq!(smaller, [1, 1, 3, 2]);
    /// ```
    pub fn split_by<F>(
        self,
        condition: F,
    ) -> (Flow<LeftBranch<S, ByCondition<F>>>, Flow<RightBranch<S, ByCondition<F>>>)
    where
        F: FnMut(&S::Value) -> bool + Send + 'static,
    {
        self.fork("split_by", ByCondition(condition))
    }
}

/// The route of [`Flow::split_by`].
pub struct ByCondition<F>(F);

impl<F> fmt::Debug for ByCondition<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByCondition")
    }
}

impl<T, F> Route<T> for ByCondition<F>
where
    T: Send + 'static,
    F: FnMut(&T) -> bool + Send + 'static,
{
    type Left = T;
    type Right = T;

    #[inline]
    fn route(&mut self, record: Record<T>) -> Routed<T, T> {
        if (self.0)(&record.value) { (Some(record), None) } else { (None, Some(record)) }
    }
}
