//! Looks at each value as it passes.

use crate::flow::{Elements, Flow};
use crate::operators::stateless::{Outcome, StatelessStep};
use crate::record::Record;
use crate::time::Timestamp;

impl<S: Elements> Flow<S> {
    /// Looks at each record as it passes, for logs and counters.
    ///
    /// What it does besides looking happens again when records are read again after a crash: results
    /// belong in a sink.
    ///
    /// # Time and state
    /// None.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let mut seen = 0;
    /// run(values([1, 2]), move |flow| flow.inspect(move |record| { seen += record.value; assert!(seen <= 3) }));
    /// ```
    pub fn inspect<F>(self, f: F) -> Flow<impl Elements<Value = S::Value>>
    where
        F: FnMut(&Record<S::Value>) + Send + 'static,
    {
        self.step("inspect", Inspect(f))
    }
}

struct Inspect<F>(F);

impl<V, F> StatelessStep<V> for Inspect<F>
where
    V: Send + 'static,
    F: FnMut(&Record<V>) + Send + 'static,
{
    type Out = V;

    #[inline]
    fn step(&mut self, record: Record<V>, _: Timestamp) -> Outcome<V> {
        (self.0)(&record);
        Outcome::Emitted(record)
    }
}
