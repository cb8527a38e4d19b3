//! Emits, for each record, what all of its key so far come to.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::process::{Process, ProcessLogic, Retention, Turn};
use crate::operators::stateful::Stateful;
use crate::record::{Origin, Record};

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements,
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Folds the records of each key into a state that starts from its default, and emits what `step`
    /// makes of each record and the state before it: running totals, numbers, differences to the one before.
    /// `name` is what the state is kept by.
    ///
    /// Records are taken as they come, which is not in order of event time. For one result a span of time
    /// take a [`window`](Self::window).
    ///
    /// # Time and state
    /// Keeps one state per key, for as long as [`Retention`] says.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::testing::{run, values};
    ///
    /// let totals = run(values([('a', 1), ('b', 5), ('a', 2)]), |flow| {
    ///     flow.key_by(|pair| pair.0).scan("totals", Duration::from_hours(1), |total: &mut i32, (key, n)| {
    ///         *total += n;
    ///         (key, *total)
    ///     })
    /// });
    /// assert_eq!(totals, [('a', 1), ('b', 5), ('a', 3)]);
    /// ```
    pub fn scan<A, U, G>(
        self,
        name: &str,
        retention: impl Into<Retention>,
        step: G,
    ) -> Flow<impl Elements<Value = U>>
    where
        A: Default + Serialize + DeserializeOwned + Send + 'static,
        U: Send + 'static,
        G: FnMut(&mut A, S::Value) -> U + Send + 'static,
    {
        let tip = self.tip.then_named("scan", name, "");
        let scan = Scan { step, types: PhantomData };
        let logic = ProcessLogic::new(self.key, retention.into(), scan);
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

/// The logic behind [`KeyedFlow::scan`].
pub(super) struct Scan<A, U, G> {
    step: G,
    types: PhantomData<fn() -> (A, U)>,
}

impl<A, U, G> fmt::Debug for Scan<A, U, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scan")
    }
}

impl<K, T, A, U, G> Process<K, T> for Scan<A, U, G>
where
    A: Default + Serialize + DeserializeOwned + Send + 'static,
    U: Send + 'static,
    G: FnMut(&mut A, T) -> U + Send + 'static,
{
    type State = A;
    type Output = U;

    fn on_record(&mut self, record: Record<T>, turn: &mut Turn<'_, K, A, U>) {
        let state = turn.state_mut().get_or_insert_default();
        let origin = record.origin.map(Origin::shared);
        let made = Record { origin, ..record }.map(|value| (self.step)(state, value));
        turn.forward(made);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::operators::process::Retention;
    use crate::testing::{laws, run, timed};

    #[test]
    fn a_state_that_was_forgotten_begins_anew() {
        let keys = timed([(0, 0), (0, 9), (1, 19), (0, 19)]);
        let counted = run(keys, |flow| {
            let within = Duration::from_millis(10);
            flow.key_by(|key| *key).scan("count", within, |count: &mut u32, key| {
                *count += 1;
                (key, *count)
            })
        });
        assert_eq!(counted, [(0, 1), (0, 2), (1, 1), (0, 1)]);
    }

    #[test]
    fn a_silence_ends_with_the_record_that_comes() {
        let ten = Duration::from_millis(10);
        let numbered = |retention: Retention| {
            run(timed([(0, 0), (0, 9), (0, 19), (0, 28)]), move |flow| {
                flow.key_by(|key| *key).scan("count", retention, |count: &mut u32, _| {
                    *count += 1;
                    *count
                })
            })
        };
        assert_eq!(numbered(Retention::after_silence(ten)), [1, 2, 1, 2]);
        assert_eq!(
            numbered(Retention::after_change(ten)),
            [1, 2, 3, 4],
            "the watermark rises behind it"
        );
        laws::operator(timed((0..30).map(|n| (n, n * n % 50))), move |flow| {
            flow.key_by(|n| n % 4).scan(
                "sums",
                Retention::after_silence(ten),
                |sum: &mut i64, n| {
                    *sum += n;
                    *sum
                },
            )
        });
    }

    #[test]
    fn a_restart_changes_nothing() {
        laws::operator(timed((0..30).map(|n| (n, n * 3))), |flow| {
            flow.key_by(|n| n % 4).scan("sums", Duration::from_millis(20), |sum: &mut i64, n| {
                *sum += n;
                *sum
            })
        });
    }
}
