//! Gathers the records of each key into lists.

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
    S: Elements<Value: Clone + Serialize + DeserializeOwned>,
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Gathers records of each key, as they come, into lists: of at most `most` records, and none that waits
    /// longer than a duration of event time for the next. `name` is what they are kept by.
    ///
    /// What a list holds depends on the order in which records come. For results of a fixed span of time
    /// take a [`window`](Self::window); to make fewer and larger writes nothing is needed: sinks write what
    /// an epoch brings at once.
    ///
    /// # Time and state
    /// Holds up to `most` records per key until the watermark, or a record of the key, is `within` past the
    /// first of them. A list has the latest event time among its records. The end of all time emits what is
    /// held.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::testing::{run, timed};
    ///
    /// let lists = run(timed([(1, 0), (2, 10), (3, 20), (4, 2_000), (5, 4_000)]), |flow| {
    ///     flow.key_by(|_| ()).batch("lists", 2, Duration::from_secs(1))
    /// });
    /// assert_eq!(lists, [vec![1, 2], vec![3], vec![4], vec![5]]);
    /// ```
    pub fn batch(
        self,
        name: &str,
        most: usize,
        within: Duration,
    ) -> Flow<impl Elements<Value = Vec<S::Value>>> {
        let detail = format!("at most {most}, within {within:?}");
        let tip = self.tip.then_named("batch", name, &detail);
        let some = Error::unless(most > 0, || {
            "its lists are of at most 0 records; let them have 1 or more".to_owned()
        });
        tip.check([some, some_time("its lists wait", within)]);
        let batch = BatchLogic { most, within, values: PhantomData };
        let logic = ProcessLogic::new(self.key, Retention::after_change(within), batch);
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

/// The logic behind [`KeyedFlow::batch`].
pub(super) struct BatchLogic<T> {
    most: usize,
    within: Duration,
    values: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for BatchLogic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchLogic(at most {}, within {:?})", self.most, self.within)
    }
}

/// When the list is due, the latest time in it, and its values.
type OpenBatch<T> = (Timestamp, Timestamp, Vec<T>);

impl<K, T> Process<K, T> for BatchLogic<T>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
{
    type State = OpenBatch<T>;
    type Output = Vec<T>;

    fn on_record(&mut self, record: Record<T>, turn: &mut Turn<'_, K, OpenBatch<T>, Vec<T>>) {
        let at = record.timestamp;
        if let Some(due) = turn.state().map(|(due, ..)| *due).filter(|due| at >= *due) {
            turn.cancel_event_timer(due);
            emit(turn);
        }
        let begins = turn.state().is_none();
        let new = || (at + self.within, at, Vec::new());
        let (due, latest, values) = turn.state_mut().get_or_insert_with(new);
        *latest = at.max(*latest);
        values.push(record.value);
        let (due, full) = (*due, values.len() >= self.most);
        if full {
            turn.cancel_event_timer(due);
            emit(turn);
        } else if begins {
            turn.set_event_timer(due);
        }
    }

    fn on_event_timer(&mut self, _: Timestamp, turn: &mut Turn<'_, K, OpenBatch<T>, Vec<T>>) {
        emit(turn);
    }
}

fn emit<K, T>(turn: &mut Turn<'_, K, OpenBatch<T>, Vec<T>>) {
    if let Some((_, latest, values)) = turn.state_mut().take() {
        turn.emit_at(values, latest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{element, watermark};
    use crate::testing::{elements, laws, timed};

    const TEN: Duration = Duration::from_millis(10);

    #[test]
    fn a_list_is_emitted_when_it_is_full_and_when_its_time_is_over() {
        let input = vec![
            element('a', 5),
            element('b', 3),
            element('c', 6),
            watermark(15),
            watermark(16),
            element('d', 20),
        ];
        let found = elements(input, |flow| flow.key_by(|_| ()).batch("lists", 2, TEN));
        assert_eq!(found, ["['a', 'b']@5", "w15", "['c']@6", "w16", "['d']@20", "w+inf"]);
    }

    #[test]
    fn a_restart_changes_nothing() {
        laws::operator(timed((0..40).map(|n| (n, n * 4 - n % 5 * 4))), |flow| {
            flow.key_by(|n| n % 3).batch("lists", 3, TEN)
        });
    }
}
