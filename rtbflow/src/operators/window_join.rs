//! Joins records of two kinds that are in the same window.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::either::Either;
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::flat_map::FlatMap;
use crate::operators::stateless::Stateless;
use crate::operators::window::{Aggregate, Apply, Merge, Window, Windowed, Windows};
use crate::operators::{Connected, Logic};
use crate::record::Record;

/// The key of a record of either kind.
pub type EitherKey<K, L, R> = Box<dyn Fn(&Either<L, R>) -> K + Send>;

/// What comes out of a window before its pairs are made.
type Joined<K, L, R> = Windowed<K, (Vec<L>, Vec<R>)>;

impl<S, L, R, K, F, G> Connected<S, F, G>
where
    S: Elements<Value = Either<L, R>>,
    L: Clone + Serialize + DeserializeOwned + Send + 'static,
    R: Clone + Serialize + DeserializeOwned + Send + 'static,
    K: Clone + Send + 'static,
    F: Fn(&L) -> K + Send + 'static,
    G: Fn(&R) -> K + Send + 'static,
{
    /// Joins each left record with all right records of the same key and window, in windows of any kind
    /// over event time; in windows that slide, a pair comes out of each that both records are in. `name`
    /// is what its state is kept by.
    ///
    /// For partners that are near one another, whatever side of a window's border they are on, take
    /// [`interval_join`](Self::interval_join): it holds less, and emits pairs sooner.
    ///
    /// # Time and state
    /// As [`aggregate`](crate::operators::window::WindowedFlow::aggregate): pairs are emitted when the
    /// watermark reaches the window's end, with the last millisecond of it as their time; a record that comes
    /// within the allowed lateness emits all pairs of its key and window again. The records of a key and
    /// window are one value of the state, which is written anew in each epoch in which it grew: this is for
    /// windows with some dozens of records per key. Windows that slide may hold a record as often as
    /// they overlap.
    ///
    /// # Errors
    /// None.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::Either::{self, Left, Right};
    /// use rtbflow::operators::window::{Late, Tumbling};
    /// use rtbflow::testing::{run, timed};
    ///
    /// let input: [(Either<u32, char>, i64); 4] =
    ///     [(Left(1), 1_000), (Right('a'), 2_000), (Right('b'), 3_000), (Left(2), 61_000)];
    /// let minutes = Tumbling::of(Duration::from_mins(1)).late(Late::Drop);
    /// let pairs = run(timed(input), |flow| {
    ///     flow.key_by_either(|_| (), |_| ()).window_join("pairs", minutes)
    /// });
    /// let pairs: Vec<_> = pairs.into_iter().map(|pair| pair.value).collect();
    /// assert_eq!(pairs, [(1, 'a'), (1, 'b')]);
    /// ```
    pub fn window_join<W>(
        self,
        name: &str,
        windows: W,
    ) -> Flow<impl Elements<Value = Windowed<K, (L, R)>>>
    where
        W: Windows + Apply<K, Either<L, R>, EitherKey<K, L, R>, BothSides<L, R>>,
        W::Logic: Logic<Out = Joined<K, L, R>>,
    {
        let Self { stream, left_key, right_key, tip } = self;
        let key: EitherKey<K, L, R> = Box::new(move |side| match side {
            Either::Left(left) => left_key(left),
            Either::Right(right) => right_key(right),
        });
        let both = BothSides { sides: PhantomData };
        let Flow { stream, tip } =
            KeyedFlow { stream, key, tip }.window(windows).aggregate(name, both);
        let tip = tip.then("window_join");
        Flow { stream: Stateless::new(stream, FlatMap::new(Pairs::new), &tip), tip }
    }
}

/// Keeps the records of both sides of a key and window.
pub struct BothSides<L, R> {
    sides: PhantomData<fn() -> (L, R)>,
}

impl<L, R> fmt::Debug for BothSides<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BothSides")
    }
}

impl<L, R> Aggregate<Either<L, R>> for BothSides<L, R>
where
    L: Clone + Serialize + DeserializeOwned + Send + 'static,
    R: Clone + Serialize + DeserializeOwned + Send + 'static,
{
    type State = (Vec<L>, Vec<R>);
    type Output = (Vec<L>, Vec<R>);

    fn empty(&self) -> Self::State {
        (Vec::new(), Vec::new())
    }

    fn add(&self, (lefts, rights): &mut Self::State, record: &Record<Either<L, R>>) {
        match &record.value {
            Either::Left(left) => lefts.push(left.clone()),
            Either::Right(right) => rights.push(right.clone()),
        }
    }

    fn output(&self, state: &Self::State) -> Self::Output {
        state.clone()
    }

    fn describe(&self) -> String {
        "both sides".into()
    }
}

impl<L, R> Merge<Either<L, R>> for BothSides<L, R>
where
    Self: Aggregate<Either<L, R>, State = (Vec<L>, Vec<R>)>,
    L: Clone,
    R: Clone,
{
    fn merge(&self, (lefts, rights): &mut Self::State, later: &Self::State) {
        lefts.extend_from_slice(&later.0);
        rights.extend_from_slice(&later.1);
    }
}

/// The pairs of a key and window, each left record in turn with each right one.
#[derive(Debug)]
pub struct Pairs<K, L, R> {
    key: K,
    window: Window,
    sides: (Vec<L>, Vec<R>),
    /// How many pairs were made.
    made_count: usize,
}

impl<K, L, R> Pairs<K, L, R> {
    fn new(Windowed { key, window, value: sides }: Joined<K, L, R>) -> Self {
        Self { key, window, sides, made_count: 0 }
    }
}

impl<K: Clone, L: Clone, R: Clone> Iterator for Pairs<K, L, R> {
    type Item = Windowed<K, (L, R)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (lefts, rights) = &self.sides;
        let left = lefts.get(self.made_count.checked_div(rights.len())?)?.clone();
        let right = rights.get(self.made_count % rights.len())?.clone();
        self.made_count += 1;
        Some(Windowed { key: self.key.clone(), window: self.window, value: (left, right) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::Either::{self, Left, Right};
    use crate::operators::late::Late;
    use crate::operators::window::{Session, Sliding};
    use crate::testing::{laws, run, timed};

    const INPUT: [(Either<u32, char>, i64); 7] = [
        (Left(1), 0),
        (Right('a'), 3),
        (Left(2), 4),
        (Right('b'), 9),
        (Left(3), 2),
        (Right('c'), 12),
        (Right('d'), 30),
    ];

    #[test]
    fn in_windows_that_slide_each_has_its_pairs() {
        let ms = Duration::from_millis;
        let windows = Sliding::of(ms(10)).every(ms(5)).allowed_lateness(ms(5)).late(Late::Drop);
        let pairs = run(timed(INPUT), |flow| {
            let pairs = flow.key_by_either(|_| (), |_| ()).window_join("pairs", windows);
            pairs.map(|pair| (pair.window.start.as_millis(), pair.value))
        });
        let expected = [
            (-5, (1, 'a')),
            (-5, (2, 'a')),
            // The record that came late, for the window that was emitted; and then in its next.
            (-5, (1, 'a')),
            (-5, (2, 'a')),
            (-5, (3, 'a')),
            (0, (1, 'a')),
            (0, (1, 'b')),
            (0, (2, 'a')),
            (0, (2, 'b')),
            (0, (3, 'a')),
            (0, (3, 'b')),
        ];
        let sorted = |mut pairs: Vec<(i64, (u32, char))>| {
            pairs.sort_unstable();
            pairs
        };
        assert_eq!(sorted(pairs), sorted(expected.to_vec()));
        laws::operator(timed(INPUT), move |flow| {
            flow.key_by_either(|_| (), |_| ()).window_join("pairs", windows)
        });
    }

    #[test]
    fn in_sessions() {
        let windows = Session::gap(Duration::from_millis(4)).late(Late::Drop);
        laws::operator(timed(INPUT), move |flow| {
            flow.key_by_either(|_| (), |_| ()).window_join("pairs", windows)
        });
    }
}
