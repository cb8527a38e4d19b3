//! Keeps the first record of each key by event time.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::barrier::Class;
use crate::error::Error;
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::late::Late;
use crate::operators::process::{Process, ProcessLogic, Retention, Turn};
use crate::operators::stateful::Stateful;
use crate::record::Record;
use crate::time::{Timestamp, some_time};

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements<Value: Clone + Serialize + DeserializeOwned>,
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Keeps the first record of each key by event time, once the watermark has reached it, and drops its
    /// repeats: records of the same key whose event time is less than `within` after that of the one
    /// kept. Of several at the same time the one that came first is kept. `name` is what they are kept by;
    /// `late` says what becomes of records behind the watermark.
    ///
    /// Where the first to arrive will do, take [`dedup`](Self::dedup): it emits at once and keeps less.
    /// To keep one record per window, take a [`window`](Self::window).
    ///
    /// # Time and state
    /// Holds back a record that may be the first until the watermark reaches its time, and remembers the
    /// key, with the time of the record that was emitted, for `within` after that. Where `within` is longer
    /// than the records are out of order, what comes out depends on the records alone, and not on the order
    /// in which they come. Each repeat makes one more duplicate; where an earlier record takes the place of
    /// one held back, that is counted as well. The end of all time emits what is held back.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::window::Late;
    /// use rtbflow::testing::builders::{element, watermark};
    /// use rtbflow::testing::run;
    ///
    /// // The order is read last and was made first.
    /// let orders = vec![element(("a1", 2), 20), element(("a1", 1), 10), watermark(30), element(("a1", 3), 30)];
    /// let kept = run(orders, |flow| {
    ///     flow.map(|(id, n)| (id.to_owned(), n))
    ///         .key_by(|order| order.0.clone())
    ///         .earliest("orders", Duration::from_secs(1), Late::Drop)
    ///         .map(|order| order.1)
    /// });
    /// assert_eq!(kept, [1]);
    /// ```
    pub fn earliest(
        self,
        name: &str,
        within: Duration,
        late: Late,
    ) -> Flow<impl Elements<Value = S::Value>> {
        let tip = self.tip.then_named("earliest", name, &format!("within {within:?}"));
        tip.check([some_time("it remembers records", within)]);
        let earliest = Earliest { within, late, values: PhantomData };
        let logic = ProcessLogic::new(self.key, Retention::after_change(within), earliest);
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

/// The logic behind [`KeyedFlow::earliest`].
pub(super) struct Earliest<T> {
    within: Duration,
    late: Late,
    values: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for Earliest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Earliest(within {:?})", self.within)
    }
}

/// What is kept for a key.
#[derive(Debug, Serialize, Deserialize)]
pub struct First<T> {
    /// The time of the last that was emitted.
    #[serde(rename = "put_out")]
    emitted: Option<Timestamp>,
    /// Those that may be first, in order of time; none less than the duration from another.
    held: Vec<(Timestamp, T)>,
}

impl<T> Earliest<T> {
    fn is_repeat(&self, first: &First<T>, at: Timestamp) -> bool {
        let follows = |before: Timestamp| before <= at && at < before + self.within;
        first.emitted.is_some_and(follows) || first.held.iter().any(|(before, _)| follows(*before))
    }

    fn on_late<K>(&self, record: &Record<T>, turn: &mut Turn<'_, K, First<T>, T>) {
        let (time, watermark) = (record.timestamp, turn.watermark());
        turn.late(self.late, record.origin, watermark.since(time), || {
            format!("it is of {time}, the watermark is {watermark}")
        });
    }
}

impl<K, T> Process<K, T> for Earliest<T>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
{
    type State = First<T>;
    type Output = T;

    fn on_record(&mut self, record: Record<T>, turn: &mut Turn<'_, K, First<T>, T>) {
        let at = record.timestamp;
        if at < turn.watermark() {
            return self.on_late(&record, turn);
        }
        if turn.state().is_some_and(|first| self.is_repeat(first, at)) {
            return turn.account(Class::Duplicate, record.origin);
        }
        let first = turn.state_mut().get_or_insert(First { emitted: None, held: Vec::new() });
        let next = first.held.partition_point(|(held, _)| *held <= at);
        match first.held.get_mut(next) {
            Some(held) if held.0 < at + self.within => {
                let (later, _) = std::mem::replace(held, (at, record.value));
                turn.cancel_event_timer(later);
                turn.account(Class::Duplicate, record.origin);
            }
            _ => first.held.insert(next, (at, record.value)),
        }
        turn.set_event_timer(at);
    }

    fn on_event_timer(&mut self, due: Timestamp, turn: &mut Turn<'_, K, First<T>, T>) {
        let Some(first) = turn.state_mut() else {
            return Error::broken("a record is due of a key that holds none").spoil_epoch();
        };
        let passed = first.held.partition_point(|(held, _)| *held <= due);
        let passed: Vec<_> = first.held.drain(..passed).collect();
        first.emitted = passed.last().map_or(first.emitted, |(at, _)| Some(*at));
        for (at, value) in passed {
            turn.emit_at(value, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{element, watermark};
    use crate::testing::run;

    const TEN: Duration = Duration::from_millis(10);

    /// What is kept of records of one key at these times; after the watermarks among them, those behind
    /// are late.
    fn kept(steps: &[Result<i64, i64>]) -> Vec<i64> {
        let steps = steps.iter().map(|step| match step {
            Ok(ms) => element(*ms, *ms),
            Err(ms) => watermark(*ms),
        });
        run(steps.collect(), |flow| flow.key_by(|_| ()).earliest("first", TEN, Late::Drop))
    }

    #[test]
    fn the_earliest_is_kept_whatever_the_order() {
        assert_eq!(kept(&[Ok(7), Ok(5), Ok(6)]), [5]);
        assert_eq!(kept(&[Ok(5), Ok(15), Ok(14), Ok(25)]), [5, 15, 25]);
        assert_eq!(kept(&[Ok(25), Ok(15), Ok(5), Ok(24)]), [5, 15, 25]);
    }

    #[test]
    fn it_is_remembered_for_its_time_after_it_was_emitted() {
        assert_eq!(kept(&[Ok(5), Err(6), Ok(14), Err(14), Ok(15)]), [5, 15]);
        assert_eq!(kept(&[Ok(5), Err(6), Ok(5), Ok(6)]), [5], "5 is late, 6 a repeat");
        assert_eq!(kept(&[Ok(5), Err(5), Ok(5)]), [5], "at the watermark is not behind it");
    }

    #[test]
    fn the_ends_of_time_are_times_as_well() {
        assert_eq!(kept(&[Ok(i64::MAX), Ok(i64::MIN)]), [i64::MIN, i64::MAX]);
    }
}
