//! The least and the greatest of something in each record.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::operators::window::aggregate::{Aggregate, Merge};
use crate::operators::window::field::of_a_field;
use crate::record::Record;

/// The least of something that has an order; `None` of no records. Keeps that one value. For whole records
/// take [`TopN`](super::TopN).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Late, Min, Tumbling};
/// use rtbflow::testing::{run, values};
///
/// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
/// let found = run(values([3, 1, 2]), |flow| {
///     flow.key_by(|_| ()).window(hours).aggregate("found", Min::of(|n: &i64| *n))
/// });
/// assert_eq!(found[0].value, Some(1));
/// ```
pub struct Min<F>(F);
of_a_field!(Min);

/// The greatest of something that has an order; `None` of no records. Keeps that one value. For whole
/// records take [`TopN`](super::TopN).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Late, Max, Tumbling};
/// use rtbflow::testing::{run, values};
///
/// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
/// let found = run(values([3, 1, 2]), |flow| {
///     flow.key_by(|_| ()).window(hours).aggregate("found", Max::of(|n: &i64| *n))
/// });
/// assert_eq!(found[0].value, Some(3));
/// ```
pub struct Max<F>(F);
of_a_field!(Max);

macro_rules! extreme {
    ($aggregate:ident, $wins:tt) => {
        impl<T, F, N> Aggregate<T> for $aggregate<F>
        where
            F: Fn(&T) -> N + Send + 'static,
            N: Ord + Clone + Serialize + DeserializeOwned + Send + 'static,
        {
            type State = Option<N>;
            type Output = Option<N>;

            fn empty(&self) -> Option<N> {
                None
            }

            fn add(&self, state: &mut Option<N>, record: &Record<T>) {
                let next = (self.0)(&record.value);
                if state.as_ref().is_none_or(|known| next $wins *known) {
                    *state = Some(next);
                }
            }

            fn output(&self, state: &Option<N>) -> Option<N> {
                state.clone()
            }

            fn describe(&self) -> String {
                stringify!($aggregate).to_lowercase()
            }
        }

        impl<T, F, N> Merge<T> for $aggregate<F>
        where
            F: Fn(&T) -> N + Send + 'static,
            N: Ord + Clone + Serialize + DeserializeOwned + Send + 'static,
        {
            fn merge(&self, into: &mut Option<N>, later: &Option<N>) {
                if let Some(next) = later
                    && into.as_ref().is_none_or(|known| next $wins known)
                {
                    *into = Some(next.clone());
                }
            }
        }
    };
}
extreme!(Min, <);
extreme!(Max, >);
