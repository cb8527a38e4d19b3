//! Says what the key of a record of either kind is.

use crate::either::Either;
use crate::flow::{Elements, Flow};
use crate::operators::Connected;

impl<S, L, R> Flow<S>
where
    S: Elements<Value = Either<L, R>>,
    L: Send + 'static,
    R: Send + 'static,
{
    /// Says what the key of a record of either kind is, for the join that follows: what topics that are read
    /// together come as. The keys must have the same type.
    ///
    /// For two flows take [`connect`](crate::KeyedFlow::connect).
    ///
    /// # Time and state
    /// None.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::Either::{self, Left, Right};
    /// use rtbflow::operators::interval_join::{Bound, IntervalJoin};
    /// use rtbflow::operators::window::Late;
    /// use rtbflow::testing::{run, timed};
    ///
    /// // Orders by customer; payments by customer and amount.
    /// let input: [(Either<u32, (u32, i64)>, i64); 3] =
    ///     [(Left(7), 1_000), (Right((7, 300)), 2_000), (Right((8, 100)), 3_000)];
    /// let join = IntervalJoin::between(Bound::same(), Bound::after(Duration::from_mins(1)));
    /// let paid = run(timed(input), |flow| {
    ///     flow.key_by_either(|order| *order, |payment| payment.0)
    ///         .interval_join("paid", join.late(Late::Drop))
    /// });
    /// assert_eq!(paid, [(7, (7, 300))]);
    /// ```
    pub fn key_by_either<K, F, G>(self, left: F, right: G) -> Connected<S, F, G>
    where
        F: Fn(&L) -> K + Send + 'static,
        G: Fn(&R) -> K + Send + 'static,
    {
        self.connected(left, right)
    }
}
