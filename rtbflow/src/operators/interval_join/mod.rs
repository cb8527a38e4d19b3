//! Joins records of two kinds that are near one another in event time.
//!
//! ```text
//!                         left.t
//!                           │
//!   ────────┬───────────────┼──────────────┬───────▶ event time
//!     left.t + lower                 left.t + upper
//!           └──── a right record here ─────┘  is a partner
//! ```
//!
//! Every pair is emitted as soon as both records are there; or for each left record only the pair with its
//! newest or its oldest partner, once the watermark says that no better one can come.
//!
//! ```compile_fail,E0277
//! use std::time::Duration;
//! use rtbflow::operators::interval_join::{Bound, IntervalJoin};
//! use rtbflow::testing::{run, values};
//!
//! let day = Duration::from_hours(24);
//! // What becomes of late records has to be said: `.late(Late::Drop)` is missing.
//! run(values([1, 2]), |flow| {
//!     let (left, right) = flow.tee();
//!     left.key_by(|n| *n)
//!         .connect(right.key_by(|n| *n))
//!         .interval_join("pairs", IntervalJoin::between(Bound::before(day), Bound::same()))
//! });
//! ```

mod arrival;
mod bounds;
mod buckets;
mod deciding;
mod decision;
mod due;
mod keys;
mod kind;
mod logic;
mod pages;
mod places;
mod side;
mod side_log;

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use bounds::{Bound, Narrow, Ttl, Widest};
pub use kind::{EitherOrBoth, FullOuter, Inner, JoinKind, LeftOuter};
pub(super) use logic::IntervalJoinLogic;
pub(super) use logic::Rules;

use crate::either::Either;
use crate::error::Error;
use crate::flow::{Elements, Flow};
use crate::operators::Connected;
use crate::operators::late::{Late, Undecided};
use crate::operators::stateful::Stateful;

/// Which records of an interval are joined, and what becomes of the others.
///
/// Begins with [`between`](Self::between); what becomes of late records has to be said, by
/// [`late`](Self::late) or [`late_joins`](Self::late_joins).
///
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::interval_join::{Bound, IntervalJoin};
/// use rtbflow::operators::window::Late;
///
/// // The newest click of the day before a conversion; conversions without one too.
/// let day = Duration::from_hours(24);
/// let attribution = IntervalJoin::between(Bound::before(day), Bound::same())
///     .left_outer()
///     .last_touch()
///     .late(Late::DeadLetter);
/// # drop(attribution);
/// ```
#[derive(Clone, Copy)]
#[must_use]
pub struct IntervalJoin<J = Inner, D = Undecided, N = Widest> {
    lower: Bound,
    upper: Bound,
    touch: Touch,
    narrow: N,
    late: D,
    kind: PhantomData<J>,
}

/// Which partners a left record is joined with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    All,
    Last,
    First,
}

/// What becomes of late records has been said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateDecision(pub(super) LateRecords);

/// What becomes of late records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LateRecords {
    Rejected(Late),
    Joined,
}

/// Says what becomes of late records.
#[diagnostic::on_unimplemented(
    message = "the join does not say what happens to late records",
    label = "decide here",
    note = "add `.late(Late::DeadLetter)` to send them to the dead-letter topic, `.late(Late::Drop)` to drop and count them, or, in an interval join, `.late_joins()` to join them with what is still held"
)]
pub trait Decision: Send + 'static {
    /// What was decided.
    fn decision(&self) -> LateDecision;
}

impl Decision for LateDecision {
    fn decision(&self) -> LateDecision {
        *self
    }
}

impl<J, D, N> fmt::Debug for IntervalJoin<J, D, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntervalJoin({} to {}, {:?})", self.lower, self.upper, self.touch)
    }
}

impl IntervalJoin {
    /// Joins a left record with the right records from `left.t + lower` to `left.t + upper`; both ends
    /// belong to it, if they are not [exclusive](Bound::exclusive).
    ///
    /// Emits each pair, and nothing of records without a partner.
    pub fn between(lower: Bound, upper: Bound) -> Self {
        let (touch, kind) = (Touch::All, PhantomData);
        Self { lower, upper, touch, narrow: Widest, late: Undecided, kind }
    }
}

impl<J, N> IntervalJoin<J, Undecided, N> {
    /// Says what becomes of a record that comes behind the watermark: partners that it could have had may be
    /// gone.
    pub fn late(self, late: Late) -> IntervalJoin<J, LateDecision, N> {
        self.decided(LateRecords::Rejected(late))
    }

    /// A record that comes behind the watermark joins what is still held, and nothing is dropped: a left
    /// record whose interval the watermark has passed is decided at once, and a right record joins the left
    /// ones that are not decided.
    ///
    /// Records are held for the whole length of the interval for it: a left record whose interval the
    /// watermark has not passed misses nothing, however late it is.
    pub fn late_joins(self) -> IntervalJoin<J, LateDecision, N> {
        self.decided(LateRecords::Joined)
    }

    fn decided(self, late: LateRecords) -> IntervalJoin<J, LateDecision, N> {
        let Self { lower, upper, touch, narrow, kind, .. } = self;
        IntervalJoin { lower, upper, touch, narrow, late: LateDecision(late), kind }
    }
}

impl<D, N> IntervalJoin<Inner, D, N> {
    /// Also emits the left records that have no partner, once the watermark says that none can come.
    pub fn left_outer(self) -> IntervalJoin<LeftOuter, D, N> {
        self.of_kind()
    }

    /// Also emits the records of either side that have no partner, once the watermark says that none can
    /// come.
    pub fn full_outer(self) -> IntervalJoin<FullOuter, D, N> {
        self.of_kind()
    }

    fn of_kind<J>(self) -> IntervalJoin<J, D, N> {
        let Self { lower, upper, touch, narrow, late, .. } = self;
        IntervalJoin { lower, upper, touch, narrow, late, kind: PhantomData }
    }
}

impl<J, D, N> IntervalJoin<J, D, N> {
    /// Joins a left record with its newest partner only, once the watermark has passed its interval. Of the
    /// same time the partner of the higher partition wins, then of the higher offset. A right record may win
    /// several left ones.
    pub fn last_touch(self) -> Self {
        Self { touch: Touch::Last, ..self }
    }

    /// Joins a left record with its oldest partner only, once the watermark has passed that partner's time.
    /// Of the same time the partner of the lower partition wins, then of the lower offset. A right record may
    /// win several left ones.
    pub fn first_touch(self) -> Self {
        Self { touch: Touch::First, ..self }
    }

    /// Gives each pair a time to live: two records are partners only if their times are no further apart than
    /// it says. A pair that does not live is none: the records go on to look for other partners, and a record
    /// that finds none has none. Records are held, and decided to have no partner, by the interval of the
    /// join, which no pair outlives.
    ///
    /// What depends on the left record alone is said by [`narrowed`](IntervalJoin::narrowed), before this, and
    /// takes less work.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::Either::{self, Left, Right};
    /// use rtbflow::operators::interval_join::{Bound, IntervalJoin};
    /// use rtbflow::operators::window::Late;
    /// use rtbflow::testing::{run, timed};
    ///
    /// // A click is paid for as long as its own campaign says: a number, and the hours.
    /// let hour_ms = 3_600_000;
    /// let input: [(Either<u32, (u32, u64)>, i64); 3] =
    ///     [(Right((1, 24)), 0), (Right((2, 1)), hour_ms), (Left(7), 3 * hour_ms)];
    /// let join = IntervalJoin::between(Bound::before(Duration::from_hours(24)), Bound::same())
    ///     .ttl(|_order: &u32, click: &(u32, u64)| Duration::from_hours(click.1))
    ///     .last_touch()
    ///     .late(Late::Drop);
    /// let paid = run(timed(input), |flow| {
    ///     flow.key_by_either(|_| (), |_| ())
    ///         .interval_join("paid", join)
    ///         .map(|(_, click)| click.0)
    /// });
    /// assert_eq!(paid, [1]);
    /// ```
    pub fn ttl<L, R, F>(self, ttl: F) -> IntervalJoin<J, D, Ttl<N, F>>
    where
        F: Fn(&L, &R) -> Duration + Send + 'static,
    {
        let Self { lower, upper, touch, narrow, late, kind } = self;
        IntervalJoin { lower, upper, touch, narrow: Ttl { narrow, ttl }, late, kind }
    }

    fn describe(&self) -> String {
        let touch = match self.touch {
            Touch::All => "",
            Touch::Last => ", last touch",
            Touch::First => ", first touch",
        };
        format!("{} to {}{touch}", self.lower, self.upper)
    }
}

impl<J, D> IntervalJoin<J, D> {
    /// Gives each left record an interval of its own, which is cut to the one of the join.
    pub fn narrowed<L, F>(self, interval: F) -> IntervalJoin<J, D, F>
    where
        F: Fn(&L) -> (Bound, Bound) + Send + 'static,
    {
        let Self { lower, upper, touch, late, kind, .. } = self;
        IntervalJoin { lower, upper, touch, narrow: interval, late, kind }
    }
}

impl<S, L, R, K, F, G> Connected<S, F, G>
where
    S: Elements<Value = Either<L, R>>,
    L: Clone + Serialize + DeserializeOwned + Send + 'static,
    R: Clone + Serialize + DeserializeOwned + Send + 'static,
    K: Hash + Eq + Send + 'static,
    F: Fn(&L) -> K + Send + 'static,
    G: Fn(&R) -> K + Send + 'static,
{
    /// Joins each left record with right records of the same key that are near it in event time. `name` is
    /// what its state is kept by.
    ///
    /// For pairs within the same window take [`window_join`](Self::window_join); for the state of a table as
    /// of the record's time, [`join_table`](Self::join_table).
    ///
    /// # Time and state
    /// A record is late if it comes behind the watermark. A pair has the later time of its two, a record
    /// without a partner its own. Where results wait for the watermark, the one that is passed on is
    /// lower, by enough that none of them is late behind it: for `left_outer` and `last_touch` by the upper
    /// bound, for `full_outer` also by the lower.
    ///
    /// A left record is held until the watermark has passed its upper bound, a right one until it has passed
    /// the last left record that reaches it, and with `last_touch` and `first_touch` the bound of that one; for
    /// [`late_joins`](IntervalJoin::late_joins) at least for the length of the interval. A record that is held
    /// takes 52 bytes beside its value, and 16 more while it waits to be decided; a key, however many records it
    /// has, 16 beside itself and an entry in a hash table. State is dropped, in memory and in the log, by
    /// spans of 1/256 of the time for which it is held, 100 ms at least. The pairs of one record are committed in
    /// one epoch, however many they are; what a watermark decides may be spread over several.
    ///
    /// # Errors
    /// The pipeline is refused if the upper bound is below the lower.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::Either::{self, Left, Right};
    /// use rtbflow::operators::interval_join::{Bound, IntervalJoin};
    /// use rtbflow::testing::{run, timed};
    ///
    /// // Conversions: a device, and the hours for which a click counts. Clicks: a device, and a number.
    /// let hour_ms = 3_600_000;
    /// let input: [(Either<(String, u64), (String, u32)>, i64); 4] = [
    ///     (Right(("phone".into(), 1)), hour_ms),
    ///     (Right(("phone".into(), 2)), 2 * hour_ms),
    ///     (Left(("phone".into(), 24)), 9 * hour_ms),
    ///     (Left(("phone".into(), 6)), 9 * hour_ms),
    /// ];
    /// let (day, hours) = (Duration::from_hours(24), Duration::from_hours);
    /// let attribution = IntervalJoin::between(Bound::before(day), Bound::same())
    ///     .narrowed(move |conversion: &(String, u64)| (Bound::before(hours(conversion.1)), Bound::same()))
    ///     .left_outer()
    ///     .last_touch()
    ///     .late_joins();
    /// let attributed = run(timed(input), |flow| {
    ///     flow.key_by_either(|conversion| conversion.0.clone(), |click| click.0.clone())
    ///         .interval_join("attribution", attribution)
    ///         .map(|(conversion, click)| (conversion.1, click.map(|click| click.1)))
    /// });
    /// assert_eq!(attributed, [(24, Some(2)), (6, None)]);
    /// ```
    pub fn interval_join<J, D, N>(
        self,
        name: &str,
        join: IntervalJoin<J, D, N>,
    ) -> Flow<impl Elements<Value = J::Out>>
    where
        J: JoinKind<L, R>,
        D: Decision,
        N: Narrow<L, R>,
    {
        let detail = format!("{}{}", join.describe(), J::SIDES);
        let tip = self.tip.then_named("interval_join", name, &detail);
        let begins_first = join.lower.first_ms() <= join.upper.last_ms();
        tip.check([Error::unless(begins_first, || {
            format!("its interval from {} to {} ends before it begins", join.lower, join.upper)
        })]);
        let IntervalJoin { lower, upper, touch, narrow, late, .. } = join;
        let LateDecision(late) = late.decision();
        let (bounds, late) = ((lower, upper), [late; 2]);
        let (allowed_lateness_ms, supersedes) = (0, false);
        let rules = Rules { bounds, touch, narrow, late, allowed_lateness_ms, supersedes };
        let logic =
            IntervalJoinLogic::<K, L, R, F, G, J, N>::new((self.left_key, self.right_key), rules);
        let held_back_ms = logic.held_back_ms;
        let stream = Stateful::new(self.stream, name, logic, &tip);
        Flow { stream, tip: tip.held_back(held_back_ms) }
    }
}
