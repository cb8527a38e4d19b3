//! Keeps the records of some of the keys.

use std::hash::Hash;

use crate::error::Error;
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::hash::stable_hash;
use crate::operators::filter::Filter;
use crate::operators::stateless::Stateless;

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements,
    K: Hash,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Keeps all records of about one in `one_in` keys, which is at least 1; the others are dropped and accounted for as *filtered*.
    ///
    /// Nothing is random: which keys are kept follows from a fixed hash of the key. It is the same after a
    /// restart, in every task and in every pipeline, so that samples of two topics can still be joined; and
    /// who samples one in a hundred keeps some of those whom one in ten keeps. To sample single records take
    /// as the key what is different in each, such as an id; to let through one now and then,
    /// [`throttle`](Self::throttle).
    ///
    /// # Time and state
    /// None. The watermark advances by the dropped records too.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// // A thousand devices, each of which is seen twice.
    /// let devices = values((0..2_000).map(|n| n % 1_000));
    /// let some = run(devices, |flow| flow.key_by(|device: &u32| *device).sample(10));
    /// assert!((160..240).contains(&some.len()));
    /// let (first, second) = some.split_at(some.len() / 2);
    /// assert_eq!(first, second);
    /// ```
    pub fn sample(self, one_in: u32) -> Flow<impl Elements<Value = S::Value>> {
        let tip = self.tip.then("sample");
        tip.check([Error::unless(one_in > 0, || {
            "it keeps one in 0 keys; 1 keeps all of them".to_owned()
        })]);
        let (key, one_in) = (self.key, u64::from(one_in));
        let kept = move |value: &S::Value| stable_hash(&key(value)).is_multiple_of(one_in);
        Flow { stream: Stateless::new(self.stream, Filter(kept), &tip), tip }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::testing::{laws, run, values};

    fn kept(one_in: u32) -> BTreeSet<u32> {
        let kept = run(values(0..10_000), |flow| flow.key_by(|n: &u32| *n).sample(one_in));
        kept.into_iter().collect()
    }

    #[test]
    fn one_key_in_n_is_kept() {
        for one_in in [2, 3, 7, 10, 64, 100] {
            let (count, expected) = (kept(one_in).len(), 10_000 / one_in as usize);
            let off = count.abs_diff(expected);
            // Four times the standard deviation of a fair choice.
            assert!(off * off < 16 * expected, "{count} of 10000, for one in {one_in}");
        }
        assert_eq!(kept(1).len(), 10_000);
    }

    #[test]
    fn a_smaller_sample_is_part_of_a_larger_one() {
        assert!(kept(100).is_subset(&kept(10)));
        assert!(kept(6).is_subset(&kept(3)));
    }

    #[test]
    fn which_are_kept_is_the_same_in_every_process_and_release() {
        let ids = (0..40).map(|n| format!("device-{n}"));
        let some = run(values(ids), |flow| flow.key_by(|id: &String| id.clone()).sample(8));
        assert_eq!(some, ["device-0", "device-1", "device-23", "device-35", "device-38"]);
    }

    #[test]
    fn keeps_the_laws() {
        laws::operator(values(0..40), |flow| flow.key_by(|n: &u32| n % 7).sample(3));
    }
}
