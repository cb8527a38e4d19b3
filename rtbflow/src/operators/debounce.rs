//! Keeps the last record of each burst of a key.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::element::Record;
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::Stateful;
use crate::operators::process::{Process, ProcessLogic, Retention, Turn};
use crate::time::Timestamp;

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements<Value: Clone + Serialize + DeserializeOwned>,
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Puts out the last record of each key once nothing has followed it for a duration of event time; those
    /// that are followed sooner are used up by it. `name` is what they are kept by.
    ///
    /// For the first of a burst, at once, take [`throttle`](Self::throttle).
    ///
    /// # Time and state
    /// Holds one record a key until the watermark, or a record of the key, is `quiet` past its event time. A record that is earlier
    /// than the one held, or that comes after it was put out and lies within the same burst, changes nothing
    /// that was put out: it begins or prolongs a burst of its own. The end of all time puts out what is
    /// held.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::testing::{run, timed};
    ///
    /// // A bid is changed three times in a row, and once later.
    /// let bids = timed([(500, 0), (600, 40), (700, 90), (800, 200)]);
    /// let settled = run(bids, |flow| flow.key_by(|_| ()).debounce("bids", Duration::from_millis(100)));
    /// assert_eq!(settled, [700, 800]);
    /// ```
    pub fn debounce(
        self,
        name: &str,
        quiet: Duration,
    ) -> Flow<Stateful<S, ProcessLogic<K, S::Value, F, Debounce<S::Value>>>> {
        let tip = self.tip.then_named("debounce", name, &format!("quiet for {quiet:?}"));
        let debounce = Debounce { quiet, values: PhantomData };
        let logic = ProcessLogic::new(self.key, Retention::after_change(quiet), debounce);
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

/// The logic behind [`KeyedFlow::debounce`].
pub struct Debounce<T> {
    quiet: Duration,
    values: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for Debounce<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Debounce(quiet for {:?})", self.quiet)
    }
}

impl<K, T> Process<K, T> for Debounce<T>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
{
    /// The last record and its time.
    type State = (Timestamp, T);
    type Output = T;

    fn on_record(&mut self, record: Record<T>, turn: &mut Turn<'_, K, (Timestamp, T), T>) {
        let held = turn.state().map(|(held, _)| *held);
        if held.is_some_and(|held| record.timestamp < held) {
            return;
        }
        if let Some(held) = held {
            turn.cancel_event_timer(held + self.quiet);
            if record.timestamp >= held + self.quiet {
                put_out(turn);
            }
        }
        turn.set_event_timer(record.timestamp + self.quiet);
        *turn.state_mut() = Some((record.timestamp, record.value));
    }

    fn on_event_timer(&mut self, _: Timestamp, turn: &mut Turn<'_, K, (Timestamp, T), T>) {
        put_out(turn);
    }
}

fn put_out<K, T>(turn: &mut Turn<'_, K, (Timestamp, T), T>) {
    if let Some((at, value)) = turn.state_mut().take() {
        turn.put_out_at(value, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{element, watermark};
    use crate::testing::{elements, laws, timed};

    const TEN: Duration = Duration::from_millis(10);

    #[test]
    fn the_last_is_put_out_when_the_watermark_says_that_it_was() {
        let input = vec![element(1, 0), element(3, 9), element(2, 5), watermark(18), watermark(19)];
        let found = elements(input, |flow| flow.key_by(|_| ()).debounce("last", TEN));
        assert_eq!(found, ["w18", "3@9", "w19", "w+inf"]);
    }

    #[test]
    fn one_that_comes_too_late_is_a_burst_of_its_own() {
        let input = vec![element(1, 0), watermark(50), element(2, 5)];
        let found = elements(input, |flow| flow.key_by(|_| ()).debounce("last", TEN));
        assert_eq!(found, ["1@0", "w50", "2@5", "w+inf"]);
    }

    #[test]
    fn a_restart_changes_nothing() {
        laws::operator(timed((0..40).map(|n| (n, n * 4 - n % 5 * 4))), |flow| {
            flow.key_by(|n| n % 3).debounce("last", TEN)
        });
    }
}
