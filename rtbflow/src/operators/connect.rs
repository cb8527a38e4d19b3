//! Brings two keyed flows together: what joins start from.

use std::fmt;

use crate::either::Either;
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::map::Map;
use crate::operators::stateless::Stateless;
use crate::operators::union::Union;
use crate::topology::Tip;

/// Two kinds of records in one flow, each with its key: what joins start from.
#[must_use = "a flow does nothing until it ends in a sink"]
pub struct Connected<S, F, G> {
    pub(super) stream: S,
    pub(super) left_key: F,
    pub(super) right_key: G,
    pub(super) tip: Tip,
}

impl<S, F, G> fmt::Debug for Connected<S, F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connected({})", std::any::type_name::<S>())
    }
}

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Brings this flow together with another of the same pipeline that has the same type of key: what a
    /// join starts from. This one is the left side.
    ///
    /// Topics that are read together come as one flow of [`Either`]: for it take
    /// [`key_by_either`](crate::Flow::key_by_either).
    ///
    /// # Time and state
    /// As [`union`](crate::Flow::union).
    ///
    /// # Errors
    /// As [`union`](crate::Flow::union).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::operators::interval_join::{Bound, IntervalJoin};
    /// use rtbflow::operators::window::Late;
    /// use rtbflow::testing::{run, timed};
    ///
    /// // Views and clicks, each with the device.
    /// let ads = timed([(('v', 7), 10_000), (('c', 7), 30_000), (('c', 8), 40_000)]);
    /// let soon = IntervalJoin::between(Bound::same(), Bound::after(Duration::from_mins(1)));
    /// let clicked = run(ads, |ads| {
    ///     let (views, clicks) = ads.split_by(|ad| ad.0 == 'v');
    ///     views.key_by(|view| view.1)
    ///         .connect(clicks.key_by(|click| click.1))
    ///         .interval_join("clicked", soon.late(Late::Drop))
    /// });
    /// assert_eq!(clicked, [(('v', 7), ('c', 7))]);
    /// ```
    ///
    /// Keys of two types, here a number and a letter, do not compile:
    /// ```compile_fail,E0271
    /// # use std::time::Duration;
    /// # use rtbflow::operators::interval_join::{Bound, IntervalJoin};
    /// # use rtbflow::operators::window::Late;
    /// # use rtbflow::testing::{run, timed};
    /// # let ads = timed([(('v', 7), 10_000)]);
    /// # let soon = IntervalJoin::between(Bound::same(), Bound::after(Duration::from_mins(1)));
    /// run(ads, |ads| {
    ///     let (views, clicks) = ads.split_by(|ad| ad.0 == 'v');
    ///     views.key_by(|view| view.1)
    ///         .connect(clicks.key_by(|click| click.0))
    ///         .interval_join("clicked", soon.late(Late::Drop))
    /// });
    /// ```
    pub fn connect<S2, G>(
        self,
        other: KeyedFlow<S2, G>,
    ) -> Connected<impl Elements<Value = Either<S::Value, S2::Value>>, F, G>
    where
        S2: Elements,
        G: Fn(&S2::Value) -> K + Send + 'static,
    {
        let tip = self.tip.join("connect", &other.tip);
        let left = Stateless::new(self.stream, Map(Either::Left), &tip);
        let right = Stateless::new(other.stream, Map(Either::Right), &tip);
        let stream = Union::new(left, right);
        Connected { stream, left_key: self.key, right_key: other.key, tip }
    }
}

impl<S, L, R> Flow<S>
where
    S: Elements<Value = Either<L, R>>,
    L: Send + 'static,
    R: Send + 'static,
{
    pub(super) fn connected<F, G>(self, left_key: F, right_key: G) -> Connected<S, F, G> {
        let tip = self.tip.then("key_by_either");
        Connected { stream: self.stream, left_key, right_key, tip }
    }
}
