//! The few records with the greatest of something.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::operators::window::aggregate::{Aggregate, Merge};
use crate::record::Record;

/// The records with the greatest rank, best first; of equals the earlier. For the least, rank by
/// [`Reverse`](std::cmp::Reverse).
///
/// Keeps no more than it emits. For the greatest value alone take [`Max`](super::Max); for the best of a
/// window's results, lay windows over those. In windows that merge, "earlier" goes by the parts' order in time first.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Late, TopN, Tumbling};
/// use rtbflow::testing::{run, values};
///
/// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
/// let found = run(values([3, 1, 2]), |flow| {
///     flow.key_by(|_| ()).window(hours).aggregate("found", TopN::new(2, |n: &i64| *n))
/// });
/// assert_eq!(found[0].value, [3, 2]);
/// ```
pub struct TopN<F> {
    count: usize,
    rank: F,
}

impl<F> TopN<F> {
    /// This many records, at least one, by the rank that this function gives them.
    #[must_use]
    pub fn new<T, R>(count: usize, rank: F) -> Self
    where
        F: Fn(&T) -> R + Send + 'static,
    {
        Self { count, rank }
    }
}

impl<F> fmt::Debug for TopN<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopN({})", self.count)
    }
}

impl<F> TopN<F> {
    fn insert<T: Clone, R: Ord>(&self, best: &mut Vec<T>, value: &T)
    where
        F: Fn(&T) -> R,
    {
        let rank = (self.rank)(value);
        let at = best.partition_point(|known| (self.rank)(known) >= rank);
        if at < self.count {
            best.truncate(self.count - 1);
            best.insert(at, value.clone());
        }
    }
}

impl<T, F, R> Aggregate<T> for TopN<F>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&T) -> R + Send + 'static,
    R: Ord,
{
    type State = Vec<T>;
    type Output = Vec<T>;

    fn empty(&self) -> Vec<T> {
        Vec::new()
    }

    fn add(&self, state: &mut Vec<T>, record: &Record<T>) {
        self.insert(state, &record.value);
    }

    fn output(&self, state: &Vec<T>) -> Vec<T> {
        state.clone()
    }

    fn validate(&self) -> Result<()> {
        Error::unless(self.count > 0, || "its top 0 records are none; take 1 or more".to_owned())
    }

    fn describe(&self) -> String {
        format!("top {}", self.count)
    }
}

impl<T, F, R> Merge<T> for TopN<F>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&T) -> R + Send + 'static,
    R: Ord,
{
    fn merge(&self, into: &mut Vec<T>, later: &Vec<T>) {
        for value in later {
            self.insert(into, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::record;

    #[test]
    fn the_greatest_come_first_and_of_equals_the_earlier() {
        let top = TopN::new(3, |(n, _): &(i64, char)| *n);
        let of = |values: &[(i64, char)]| {
            let mut state = top.empty();
            values.iter().for_each(|value| top.add(&mut state, &record(*value, 0)));
            state
        };
        assert_eq!(
            of(&[(1, 'a'), (5, 'b'), (5, 'c'), (7, 'd'), (5, 'e')]),
            [(7, 'd'), (5, 'b'), (5, 'c')]
        );
        let mut merged = of(&[(1, 'a'), (5, 'b')]);
        top.merge(&mut merged, &of(&[(5, 'c'), (7, 'd'), (5, 'e')]));
        assert_eq!(merged, [(7, 'd'), (5, 'b'), (5, 'c')]);
        let none = TopN::new(0, |n: &i64| *n);
        let mut state: Vec<i64> = none.empty();
        none.add(&mut state, &record(1, 0));
        assert!(state.is_empty());
    }
}
