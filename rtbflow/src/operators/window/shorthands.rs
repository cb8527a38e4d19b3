//! The aggregates that are used most, as methods of a flow in windows.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::flow::{Elements, Flow};
use crate::operators::Logic;
use crate::operators::window::aggregate::{Count, Fold, Reduce};
use crate::operators::window::assign::Apply;
use crate::operators::window::flow::WindowedFlow;
use crate::operators::window::numbers::{Number, Sum};
use crate::operators::window::top_n::TopN;

impl<S, K, F, W> WindowedFlow<S, F, W>
where
    S: Elements,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Counts the records of each key and window: [`aggregate`](Self::aggregate) with [`Count`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::window::{Late, Tumbling};
    /// use rtbflow::testing::{run, values};
    ///
    /// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
    /// let counts = run(values([1, 2, 3]), |flow| flow.key_by(|n| n % 2).window(hours).count("counts"));
    /// assert_eq!(counts.iter().map(|w| (w.key, w.value)).collect::<Vec<_>>(), [(1, 2), (0, 1)]);
    /// ```
    pub fn count(self, name: &str) -> Flow<impl Elements<Value = <W::Logic as Logic>::Out>>
    where
        W: Apply<K, S::Value, F, Count>,
    {
        self.aggregate(name, Count)
    }

    /// Sums a number of the records of each key and window: [`aggregate`](Self::aggregate) with [`Sum`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::window::{Late, Tumbling};
    /// use rtbflow::testing::{run, values};
    ///
    /// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
    /// let sums = run(values([1_i64, 2, 3]), |flow| {
    ///     flow.key_by(|n| n % 2).window(hours).sum("sums", |n| *n)
    /// });
    /// assert_eq!(sums.iter().map(|w| (w.key, w.value)).collect::<Vec<_>>(), [(1, 4), (0, 2)]);
    /// ```
    pub fn sum<N, G>(
        self,
        name: &str,
        number: G,
    ) -> Flow<impl Elements<Value = <W::Logic as Logic>::Out>>
    where
        G: Fn(&S::Value) -> N + Send + 'static,
        N: Number,
        W: Apply<K, S::Value, F, Sum<G>>,
    {
        self.aggregate(name, Sum::of(number))
    }

    /// Merges the records of each key and window into one: [`aggregate`](Self::aggregate) with [`Reduce`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::window::{Late, Tumbling};
    /// use rtbflow::testing::{run, values};
    ///
    /// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
    /// let products = run(values([2, 3, 4]), |flow| {
    ///     flow.key_by(|_| ()).window(hours).reduce("products", |product: &mut i64, n: &i64| *product *= n)
    /// });
    /// assert_eq!(products.iter().map(|w| w.value).collect::<Vec<_>>(), [Some(24)]);
    /// ```
    pub fn reduce<G>(
        self,
        name: &str,
        merge: G,
    ) -> Flow<impl Elements<Value = <W::Logic as Logic>::Out>>
    where
        G: Fn(&mut S::Value, &S::Value) + Send + 'static,
        W: Apply<K, S::Value, F, Reduce<G>>,
    {
        self.aggregate(name, Reduce::new(merge))
    }

    /// Folds the records of each key and window into a state: [`aggregate`](Self::aggregate) with [`Fold`].
    /// Sliding windows and sessions also need its [`merging`](Fold::merging).
    ///
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::window::{Late, Tumbling};
    /// use rtbflow::testing::{run, values};
    ///
    /// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
    /// let lists = run(values([2, 3, 4]), |flow| {
    ///     flow.key_by(|_| ()).window(hours).fold("lists", |list: &mut Vec<i32>, n: &i32| list.push(*n))
    /// });
    /// assert_eq!(lists.iter().map(|w| w.value.clone()).collect::<Vec<_>>(), [[2, 3, 4]]);
    /// ```
    pub fn fold<A, G>(
        self,
        name: &str,
        add: G,
    ) -> Flow<impl Elements<Value = <W::Logic as Logic>::Out>>
    where
        A: Default + Clone + Serialize + DeserializeOwned + Send + 'static,
        G: Fn(&mut A, &S::Value) + Send + 'static,
        W: Apply<K, S::Value, F, Fold<A, G>>,
    {
        self.aggregate(name, Fold::new(add))
    }

    /// Emits the records of greatest rank of each key and window: [`aggregate`](Self::aggregate) with
    /// [`TopN`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::window::{Late, Tumbling};
    /// use rtbflow::testing::{run, values};
    ///
    /// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
    /// let best = run(values([2, 9, 4]), |flow| {
    ///     flow.key_by(|_| ()).window(hours).top_n("best", 2, |n: &i32| *n)
    /// });
    /// assert_eq!(best.iter().map(|w| w.value.clone()).collect::<Vec<_>>(), [[9, 4]]);
    /// ```
    pub fn top_n<R, G>(
        self,
        name: &str,
        count: usize,
        rank: G,
    ) -> Flow<impl Elements<Value = <W::Logic as Logic>::Out>>
    where
        G: Fn(&S::Value) -> R + Send + 'static,
        R: Ord,
        W: Apply<K, S::Value, F, TopN<G>>,
    {
        self.aggregate(name, TopN::new(count, rank))
    }
}
