//! Keeps the records that a predicate wants.

use crate::flow::{Elements, Flow};
use crate::operators::stateless::{Outcome, StatelessStep};
use crate::record::Record;
use crate::time::Timestamp;

impl<S: Elements> Flow<S> {
    /// Keeps the records whose value the predicate wants; the others are accounted for as *filtered*.
    ///
    /// To change the value in the same step take [`filter_map`](Self::filter_map); to keep the records of one
    /// key in `n`, [`sample`](crate::KeyedFlow::sample).
    ///
    /// # Time and state
    /// None. The watermark advances by the dropped records too.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// assert_eq!(run(values([1, 2, 3, 4]), |flow| flow.filter(|n| n % 2 == 0)), [2, 4]);
    /// ```
    pub fn filter<F>(self, f: F) -> Flow<impl Elements<Value = S::Value>>
    where
        F: FnMut(&S::Value) -> bool + Send + 'static,
    {
        self.step("filter", Filter(f))
    }
}

pub(super) struct Filter<F>(pub(super) F);

impl<V, F> StatelessStep<V> for Filter<F>
where
    V: Send + 'static,
    F: FnMut(&V) -> bool + Send + 'static,
{
    type Out = V;

    #[inline]
    fn step(&mut self, record: Record<V>, _: Timestamp) -> Outcome<V> {
        if (self.0)(&record.value) { Outcome::Emitted(record) } else { Outcome::Filtered }
    }
}
