//! Keeps the first record of each key and tells its repeats.

mod logic;
mod options;

pub use options::Dedup;

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::either::Either;
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::stateful::Stateful;
use crate::time::some_time;
use logic::DedupLogic;

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements,
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Keeps the first record of each key, at once, and drops its repeats: records of the same key whose
    /// event time is less than a duration before or after that of the one kept. A repeat does not
    /// lengthen the time. `name` is what the ids are kept by.
    ///
    /// *First* means by arrival: of two in one partition that with the lower offset, of two in different
    /// partitions that which is read first. For the first by event time, which is known only when the watermark has reached
    /// it, take [`earliest`](Self::earliest). To have the repeats as well, take
    /// [`dedup_either`](Self::dedup_either); for the newest of each key,
    /// [`latest_by`](Self::latest_by).
    ///
    /// # Time and state
    /// Keeps the ids themselves (no filter that may err), each with its time, until the watermark is the
    /// duration past it, at most half the duration longer: ids are forgotten by whole halves of it. So
    /// every record that is not behind the watermark is decided exactly. One that is behind it is
    /// compared with the ids still held and, if there is none, passes; see [`Dedup::late`]. The end of all
    /// time forgets nothing, so that another run can go on from there. Repeats are counted as
    /// duplicates.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::testing::{run, timed};
    ///
    /// let orders = timed([("a1", 0), ("b7", 10), ("a1", 999), ("a1", 1_000)]);
    /// let kept = run(orders, |flow| {
    ///     flow.key_by(|id: &&str| id.to_string()).dedup("orders", Duration::from_secs(1))
    /// });
    /// assert_eq!(kept, ["a1", "b7", "a1"]);
    /// ```
    pub fn dedup(
        self,
        name: &str,
        dedup: impl Into<Dedup>,
    ) -> Flow<impl Elements<Value = S::Value>> {
        self.deduped(name, dedup.into(), |value| value, None)
    }

    /// As [`dedup`](Self::dedup), but repeats go on as well, as the other kind: `Left` is the first of a
    /// key, `Right` each repeat. Repeats are counted as duplicates here, whatever becomes of them
    /// afterwards.
    ///
    /// # Time and state
    /// As [`dedup`](Self::dedup).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::Either::{Left, Right};
    /// use rtbflow::testing::{run, values};
    ///
    /// let clicks = run(values(["a", "b", "a"]), |flow| {
    ///     flow.key_by(|id: &&str| id.to_string()).dedup_either("ids", Duration::from_secs(1))
    /// });
    /// assert_eq!(clicks, [Left("a"), Left("b"), Right("a")]);
    /// ```
    pub fn dedup_either(
        self,
        name: &str,
        dedup: impl Into<Dedup>,
    ) -> Flow<impl Elements<Value = Either<S::Value, S::Value>>> {
        self.deduped(name, dedup.into(), Either::Left, Some(Either::Right))
    }

    fn deduped<U: Send + 'static>(
        self,
        name: &str,
        dedup: Dedup,
        first: fn(S::Value) -> U,
        repeat: Option<fn(S::Value) -> U>,
    ) -> Flow<impl Elements<Value = U>> {
        let tip = self.tip.then_named("dedup", name, &format!("within {:?}", dedup.within));
        tip.check([some_time("it remembers records", dedup.within)]);
        let logic = DedupLogic::new(self.key, dedup, first, repeat);
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::operators::late::Late;
    use crate::testing::{elements, run, timed, values};

    const TEN: Duration = Duration::from_millis(10);

    /// What is kept of records of one key at these times, in this order; the watermark is the highest.
    fn kept(times: &[i64], dedup: impl Into<Dedup>) -> Vec<i64> {
        let dedup = dedup.into();
        run(timed(times.iter().map(|ms| (*ms, *ms))), |flow| {
            flow.key_by(|_| ()).dedup("ids", dedup)
        })
    }

    #[test]
    fn less_than_the_duration_from_the_one_kept_is_a_repeat() {
        assert_eq!(kept(&[0, 9, 10, 19, 20], TEN), [0, 10, 20]);
        assert_eq!(kept(&[-10, -1, 0], TEN), [-10, 0]);
        assert_eq!(kept(&[0, 9, 18], TEN), [0, 18], "a repeat does not lengthen the time");
        assert_eq!(kept(&[5, 5, 6], Duration::from_millis(1)), [5, 6]);
        assert_eq!(
            kept(&[i64::MAX - 1, i64::MIN, i64::MAX - 1], Duration::MAX),
            [i64::MAX - 1, i64::MIN]
        );
    }

    #[test]
    fn an_earlier_record_that_comes_later_is_compared_both_ways() {
        assert_eq!(kept(&[15, 6], TEN), [15], "less than the duration before the one kept");
        assert_eq!(kept(&[15, 5], TEN), [15, 5]);
        assert_eq!(kept(&[15, 5, 24, 14], TEN), [15, 5], "both are remembered");
    }

    #[test]
    fn a_late_record_passes_once_or_is_late() {
        assert_eq!(kept(&[100, 50, 50], TEN), [100, 50]);
        assert_eq!(kept(&[100, 90, 91], Dedup::within(TEN).late(Late::Drop)), [100]);
        assert_eq!(kept(&[100, 90, 91], Dedup::within(TEN).late(Late::DeadLetter)), [100]);
        assert_eq!(kept(&[100, 90], TEN), [100, 90]);
    }

    #[test]
    fn repeats_are_emitted_with_their_time() {
        let flow = |flow: crate::testing::TestFlow<char>| {
            flow.key_by(|letter| *letter).dedup_either("letters", TEN)
        };
        let clicks = elements(values(['a', 'a']), flow);
        assert_eq!(clicks, ["Left('a')@0", "w0", "Right('a')@1", "w1", "w+inf"]);
    }
}
