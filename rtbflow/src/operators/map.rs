//! Makes another value of each.

use crate::flow::{Elements, Flow};
use crate::operators::stateless::{Outcome, StatelessStep};
use crate::record::Record;
use crate::time::Timestamp;

impl<S: Elements> Flow<S> {
    /// Makes another value of each; timestamp and origin stay.
    ///
    /// To drop some as well take [`filter_map`](Self::filter_map), to make several of one
    /// [`flat_map`](Self::flat_map).
    ///
    /// # Time and state
    /// None.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// assert_eq!(run(values([1, 2, 3]), |flow| flow.map(|n| n * 10)), [10, 20, 30]);
    /// ```
    pub fn map<U, F>(self, f: F) -> Flow<impl Elements<Value = U>>
    where
        U: Send + 'static,
        F: FnMut(S::Value) -> U + Send + 'static,
    {
        self.step("map", Map(f))
    }
}

pub(super) struct Map<F>(pub(super) F);

impl<V, U, F> StatelessStep<V> for Map<F>
where
    U: Send + 'static,
    F: FnMut(V) -> U + Send + 'static,
{
    type Out = U;

    #[inline]
    fn step(&mut self, record: Record<V>, _: Timestamp) -> Outcome<U> {
        Outcome::Emitted(record.map(&mut self.0))
    }
}
