//! Keeps the last record of each burst of a key.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::process::{Process, ProcessLogic, Retention, Turn};
use crate::operators::stateful::Stateful;
use crate::record::Record;
use crate::time::{Timestamp, some_time};

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements<Value: Serialize + DeserializeOwned>,
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Emits the last record of each burst of a key: that which none of the same key follows for `quiet` of
    /// event time. Those that are followed sooner are used up by it. `name` is what they are kept by.
    ///
    /// For the first of a burst, at once, take [`throttle`](Self::throttle).
    ///
    /// # Time and state
    /// Holds the last record of each burst until the watermark is `quiet` past its event time: what comes out
    /// depends on the records alone, and not on the order in which they come. Of two at the same time the one
    /// that came later stays. A record behind the watermark takes back nothing: it belongs to a burst that is
    /// held, or is one of its own. The end of all time emits what is held.
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
    pub fn debounce(self, name: &str, quiet: Duration) -> Flow<impl Elements<Value = S::Value>> {
        let tip = self.tip.then_named("debounce", name, &format!("quiet for {quiet:?}"));
        tip.check([some_time("it waits", quiet)]);
        let debounce = Debounce { quiet, values: PhantomData };
        let logic = ProcessLogic::new(self.key, Retention::after_change(quiet), debounce);
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

/// The logic behind [`KeyedFlow::debounce`].
pub(super) struct Debounce<T> {
    quiet: Duration,
    values: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for Debounce<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Debounce(quiet for {:?})", self.quiet)
    }
}

/// What has not been quiet for long enough: the time of its first record, that of its last, and the last.
type Burst<T> = (Timestamp, Timestamp, T);

impl<K, T> Process<K, T> for Debounce<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    /// In order of time; mostly one.
    type State = Vec<Burst<T>>;
    type Output = T;
    const VERSION: u16 = 2;

    fn on_record(&mut self, record: Record<T>, turn: &mut Turn<'_, K, Vec<Burst<T>>, T>) {
        let (at, quiet) = (record.timestamp, self.quiet);
        let mut burst = (at, at, record.value);
        let bursts = turn.state_mut().get_or_insert_default();
        // Those that it prolongs become one with it.
        let begin = bursts.partition_point(|(_, last, _)| *last + quiet <= at);
        let end = bursts.partition_point(|(first, ..)| *first < at + quiet).max(begin);
        let prolonged: Vec<Burst<T>> = bursts.drain(begin..end).collect();
        let mut over = Vec::new();
        for (first, last, value) in prolonged {
            over.push(last + quiet);
            burst.0 = first.min(burst.0);
            if last > burst.1 {
                (burst.1, burst.2) = (last, value);
            }
        }
        let due = burst.1 + quiet;
        bursts.insert(begin, burst);
        over.into_iter().filter(|at| *at != due).for_each(|at| turn.cancel_event_timer(at));
        turn.set_event_timer(due);
    }

    fn on_event_timer(&mut self, due: Timestamp, turn: &mut Turn<'_, K, Vec<Burst<T>>, T>) {
        let Some(bursts) = turn.state_mut() else {
            return Error::broken("a burst is over of a key that has none").spoil_epoch();
        };
        let over = bursts.partition_point(|(_, last, _)| *last + self.quiet <= due);
        let over: Vec<Burst<T>> = bursts.drain(..over).collect();
        if bursts.is_empty() {
            turn.clear();
        }
        for (_, last, value) in over {
            turn.emit_at(value, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{element, watermark};
    use crate::testing::{elements, laws, timed};

    const TEN: Duration = Duration::from_millis(10);

    #[test]
    fn the_last_is_emitted_when_the_watermark_says_that_it_was() {
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
    fn what_comes_between_two_bursts_makes_them_one() {
        let input = vec![element(1, 0), element(3, 18), element(2, 9), element(4, 40)];
        let found = elements(input, |flow| flow.key_by(|_| ()).debounce("last", TEN));
        assert_eq!(found, ["3@18", "4@40", "w+inf"]);
    }

    #[test]
    fn a_restart_changes_nothing() {
        laws::operator(timed((0..40).map(|n| (n, n * 4 - n % 5 * 4))), |flow| {
            flow.key_by(|n| n % 3).debounce("last", TEN)
        });
    }
}
