//! Makes another value of each record, of what is known of it.

use crate::flow::{Elements, Flow};
use crate::operators::stateless::{Outcome, StatelessStep};
use crate::record::Record;
use crate::time::Timestamp;

impl<S: Elements> Flow<S> {
    /// Makes another value of each record, of its value, its event time and where it was read; timestamp
    /// and origin stay.
    ///
    /// For an id of records that bring none: topic, partition and offset are the same in every run. Where
    /// the value alone will do take [`map`](Self::map).
    ///
    /// # Time and state
    /// None.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, timed};
    ///
    /// let lines = run(timed([("a", 5), ("b", 7)]), |flow| {
    ///     flow.map_record(|record| format!("{} at {}", record.value, record.timestamp.as_millis()))
    /// });
    /// assert_eq!(lines, ["a at 5", "b at 7"]);
    /// ```
    pub fn map_record<U, F>(self, f: F) -> Flow<impl Elements<Value = U>>
    where
        U: Send + 'static,
        F: FnMut(Record<S::Value>) -> U + Send + 'static,
    {
        self.step("map_record", MapRecord(f))
    }
}

struct MapRecord<F>(F);

impl<V, U, F> StatelessStep<V> for MapRecord<F>
where
    U: Send + 'static,
    F: FnMut(Record<V>) -> U + Send + 'static,
{
    type Out = U;

    #[inline]
    fn step(&mut self, record: Record<V>, _: Timestamp) -> Outcome<U> {
        let (timestamp, origin) = (record.timestamp, record.origin);
        Outcome::Emitted(Record { value: (self.0)(record), timestamp, origin })
    }
}
