//! Lets through a record of each key now and then.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::barrier::Class;
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::process::{Process, ProcessLogic, Retention, Turn};
use crate::operators::stateful::Stateful;
use crate::record::Record;
use crate::time::{Timestamp, some_time};

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements,
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Lets a record of each key through, at once, and then none until one is `interval` later in event time;
    /// the others are dropped and accounted for as *filtered*. `name` is what the times are kept by.
    ///
    /// For repeats, which are counted as such, take [`dedup`](Self::dedup); to keep the *last* of a
    /// burst, [`debounce`](Self::debounce).
    ///
    /// # Time and state
    /// Keeps a time a key until the watermark is the interval past it. Records are taken as they come: one
    /// that is earlier than the last that was let through is dropped.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::testing::{run, timed};
    ///
    /// let readings = timed([("a", 0), ("b", 10), ("a", 40), ("a", 100)]);
    /// let few = run(readings, |flow| {
    ///     flow.key_by(|sensor: &&str| sensor.to_string()).throttle("readings", Duration::from_millis(100))
    /// });
    /// assert_eq!(few, ["a", "b", "a"]);
    /// ```
    pub fn throttle(self, name: &str, interval: Duration) -> Flow<impl Elements<Value = S::Value>> {
        let tip = self.tip.then_named("throttle", name, &format!("one in {interval:?}"));
        tip.check([some_time("it keeps records back", interval)]);
        let logic =
            ProcessLogic::new(self.key, Retention::after_change(interval), Throttle { interval });
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

/// The logic behind [`KeyedFlow::throttle`].
pub(super) struct Throttle {
    interval: Duration,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Throttle(one in {:?})", self.interval)
    }
}

impl<K, T: Send + 'static> Process<K, T> for Throttle {
    /// When the last was let through.
    type State = Timestamp;
    type Output = T;

    fn on_record(&mut self, record: Record<T>, turn: &mut Turn<'_, K, Timestamp, T>) {
        if turn.state().is_some_and(|last| record.timestamp < *last + self.interval) {
            return turn.account(Class::Filtered, record.origin);
        }
        *turn.state_mut() = Some(record.timestamp);
        turn.forward(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{laws, run, timed};

    const TEN: Duration = Duration::from_millis(10);

    #[test]
    fn one_in_an_interval_is_let_through() {
        let times = [0, 9, 10, 11, 25, 24, 34, 35];
        let found =
            run(timed(times.map(|ms| (ms, ms))), |flow| flow.key_by(|_| ()).throttle("few", TEN));
        assert_eq!(found, [0, 10, 25, 35]);
    }

    #[test]
    fn a_restart_changes_nothing() {
        laws::operator(timed((0..40).map(|n| (n, n * 3 - n % 5 * 4))), |flow| {
            flow.key_by(|n| n % 3).throttle("few", TEN)
        });
    }
}
