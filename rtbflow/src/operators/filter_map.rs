//! Makes another value of those records that give one.

use crate::flow::{Elements, Flow};
use crate::operators::stateless::{Outcome, StatelessStep};
use crate::record::Record;
use crate::time::Timestamp;

impl<S: Elements> Flow<S> {
    /// Makes another value of each, or drops the record, which is then accounted for as *filtered*.
    ///
    /// # Time and state
    /// None. The watermark advances by the dropped records too.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let numbers = run(values(["1", "x", "3"]), |flow| flow.filter_map(|text| text.parse::<u8>().ok()));
    /// assert_eq!(numbers, [1, 3]);
    /// ```
    pub fn filter_map<U, F>(self, f: F) -> Flow<impl Elements<Value = U>>
    where
        U: Send + 'static,
        F: FnMut(S::Value) -> Option<U> + Send + 'static,
    {
        self.step("filter_map", FilterMap(f))
    }
}

struct FilterMap<F>(F);

impl<V, U, F> StatelessStep<V> for FilterMap<F>
where
    U: Send + 'static,
    F: FnMut(V) -> Option<U> + Send + 'static,
{
    type Out = U;

    #[inline]
    fn step(&mut self, Record { value, timestamp, origin }: Record<V>, _: Timestamp) -> Outcome<U> {
        match (self.0)(value) {
            Some(value) => Outcome::Emitted(Record { value, timestamp, origin }),
            None => Outcome::Filtered,
        }
    }
}
