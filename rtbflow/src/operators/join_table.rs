//! Joins records with the version of a table that held at their time.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::either::Either;
use crate::flow::{Elements, Flow};
use crate::operators::Connected;
use crate::operators::interval_join::{
    Bound, Decision, Inner, IntervalJoinLogic, JoinKind, LateDecision, LateRecords, LeftOuter,
    Rules, Touch, Widest,
};
use crate::operators::late::{Late, Undecided};
use crate::operators::stateful::Stateful;
use crate::time::{millis, some_time};

/// How long the versions of a table are kept, and what becomes of records that are late for it.
///
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::TableJoin;
/// use rtbflow::operators::window::Late;
///
/// let week = Duration::from_hours(7 * 24);
/// let prices = TableJoin::kept_for(week).left_outer().late(Late::DeadLetter);
/// # drop(prices);
/// ```
#[must_use]
pub struct TableJoin<J = Inner, D = Undecided> {
    kept_for: Duration,
    allowed_lateness: Duration,
    late: D,
    kind: PhantomData<J>,
}

impl<J, D: Copy> Clone for TableJoin<J, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<J, D: Copy> Copy for TableJoin<J, D> {}

impl<J, D> fmt::Debug for TableJoin<J, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableJoin(kept for {:?})", self.kept_for)
    }
}

impl TableJoin {
    /// Each version is kept for this much event time after its own, or until a newer one stands for it. Take
    /// what the topic's retention is.
    ///
    /// Emits nothing of a record that finds no version.
    pub fn kept_for(duration: Duration) -> Self {
        let allowed_lateness = Duration::ZERO;
        Self { kept_for: duration, allowed_lateness, late: Undecided, kind: PhantomData }
    }
}

impl<D> TableJoin<Inner, D> {
    /// Also emits the records that find no version.
    pub fn left_outer(self) -> TableJoin<LeftOuter, D> {
        let Self { kept_for, allowed_lateness, late, .. } = self;
        TableJoin { kept_for, allowed_lateness, late, kind: PhantomData }
    }
}

impl<J, D> TableJoin<J, D> {
    /// How far behind the watermark a record still finds the version of its time. Default: not at all.
    pub fn allowed_lateness(self, allowed_lateness: Duration) -> Self {
        Self { allowed_lateness, ..self }
    }
}

impl<J> TableJoin<J, Undecided> {
    /// Says what becomes of records that come later. Versions are never late.
    pub fn late(self, late: Late) -> TableJoin<J, LateDecision> {
        let Self { kept_for, allowed_lateness, .. } = self;
        let late = LateDecision(LateRecords::Rejected(late));
        TableJoin { kept_for, allowed_lateness, late, kind: PhantomData }
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
    /// Joins each left record with the version of a table that held at its time: the newest right record of
    /// the same key that is not newer. `name` is what its state is kept by.
    ///
    /// The left key is a foreign key: any function of the record, such as the product that a sale names, and
    /// several records may name the same version. Both have to be in one task for that. A flow's records meet
    /// the versions of their own [co-group](crate::source) of partitions, so either the stream is keyed by
    /// the table's key as well, or both topics have one partition; a stream that is keyed by something else has
    /// to be written again by the table's key, or [`lookup`](crate::KeyedFlow::lookup) asks where the table is.
    ///
    /// To look up what something outside holds *now*, take [`lookup`](crate::KeyedFlow::lookup); a table alone
    /// is [`latest_by`](crate::KeyedFlow::latest_by).
    ///
    /// # Time and state
    /// A record waits until the watermark has passed its time, so that a version which comes out of order
    /// counts; one behind the watermark, within the allowed lateness, is decided at once. Results have the
    /// record's time. A version is kept until a newer one stands for it for all records that are not late, at
    /// most for the time given. A version that is late holds for the records after it. Of the same time the
    /// version of the higher partition wins, then of the higher offset.
    ///
    /// # Errors
    /// None.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::Either::{self, Left, Right};
    /// use rtbflow::operators::TableJoin;
    /// use rtbflow::operators::window::Late;
    /// use rtbflow::testing::{run, timed};
    ///
    /// // Sales: a product and a number. Prices: a product and its price from then on.
    /// let input: [(Either<(char, i64), (char, i64)>, i64); 5] = [
    ///     (Right(('a', 100)), 1_000),
    ///     (Left(('a', 2)), 2_000),
    ///     (Right(('a', 150)), 3_000),
    ///     (Left(('a', 1)), 4_000),
    ///     (Left(('b', 1)), 5_000),
    /// ];
    /// let prices = TableJoin::kept_for(Duration::from_hours(24)).left_outer().late(Late::Drop);
    /// let turnover = run(timed(input), |flow| {
    ///     flow.key_by_either(|sale| sale.0, |price| price.0)
    ///         .join_table("prices", prices)
    ///         .map(|(sale, price)| price.map(|price| sale.1 * price.1))
    /// });
    /// assert_eq!(turnover, [Some(200), Some(150), None]);
    /// ```
    ///
    /// A foreign key, and a version that comes out of order:
    /// ```
    /// # use std::time::Duration;
    /// # use rtbflow::Either::{self, Left, Right};
    /// # use rtbflow::operators::TableJoin;
    /// # use rtbflow::operators::window::Late;
    /// # use rtbflow::testing::builders::{element, watermark};
    /// # use rtbflow::testing::run;
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Click { id: u32, advertiser: u32 }
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Advertiser { id: u32, name: String }
    ///
    /// let click = |id, advertiser| Left(Click { id, advertiser });
    /// let named = |name: &str| Right(Advertiser { id: 7, name: name.to_owned() });
    /// let input = vec![
    ///     element(named("Old"), 0),
    ///     element(click(1, 7), 1_000),
    ///     element(click(2, 7), 3_000),
    ///     element(named("New"), 2_000),
    ///     watermark(4_000),
    /// ];
    /// let day = TableJoin::kept_for(Duration::from_hours(24)).late(Late::Drop);
    /// let names = run(input, |flow| {
    ///     flow.key_by_either(|click: &Click| click.advertiser, |advertiser: &Advertiser| advertiser.id)
    ///         .join_table("advertisers", day)
    ///         .map(|(click, advertiser)| (click.id, advertiser.name))
    /// });
    /// assert_eq!(names, [(1, "Old".to_owned()), (2, "New".to_owned())]);
    /// ```
    ///
    /// What becomes of late records has to be said:
    /// ```compile_fail,E0277
    /// # use std::time::Duration;
    /// # use rtbflow::Either::{self, Left, Right};
    /// # use rtbflow::operators::TableJoin;
    /// # use rtbflow::testing::{run, timed};
    /// # let input: [(Either<char, char>, i64); 1] = [(Left('a'), 1_000)];
    /// run(timed(input), |flow| {
    ///     flow.key_by_either(|sale| *sale, |price| *price)
    ///         .join_table("prices", TableJoin::kept_for(Duration::from_hours(24)))
    /// });
    /// ```
    pub fn join_table<J, D>(
        self,
        name: &str,
        table: TableJoin<J, D>,
    ) -> Flow<impl Elements<Value = J::Out>>
    where
        J: JoinKind<L, R>,
        D: Decision,
    {
        let TableJoin { kept_for, allowed_lateness, late, .. } = table;
        let detail = format!("kept for {kept_for:?}{}", J::SIDES);
        let tip = self.tip.then_named("join_table", name, &detail);
        tip.check([some_time("it keeps versions", kept_for)]);
        let LateDecision(late) = late.decision();
        let rules = Rules {
            bounds: (Bound::before(kept_for), Bound::same()),
            touch: Touch::Last,
            narrow: Widest,
            late: [late, LateRecords::Joined],
            allowed_lateness_ms: millis(allowed_lateness),
            supersedes: true,
        };
        let logic = IntervalJoinLogic::<K, L, R, F, G, J, Widest>::new(
            (self.left_key, self.right_key),
            rules,
        );
        let held_back_ms = logic.held_back_ms;
        let stream = Stateful::new(self.stream, name, logic, &tip);
        Flow { stream, tip: tip.held_back(held_back_ms) }
    }
}
