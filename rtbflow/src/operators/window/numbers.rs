//! Sum and mean of a number in each record.

use std::ops::{AddAssign, SubAssign};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::BadRecord;
use crate::operators::window::aggregate::{Aggregate, Merge, less};
use crate::operators::window::field::of_a_field;
use crate::record::Record;

mod sealed {
    pub trait Sealed {}
}

/// A number that can be summed: 32 or 64 bits, whole or floating.
pub trait Number: sealed::Sealed + Copy + Send + 'static {
    /// What it is summed in: whole numbers without overflow.
    type Wide: Copy
        + Default
        + AddAssign
        + SubAssign
        + Serialize
        + DeserializeOwned
        + Send
        + 'static;

    /// Whether sums are exact, so that a number can be taken out of one again.
    const EXACT: bool;

    /// The number, widened.
    fn widen(self) -> Self::Wide;

    /// The sum, at the least or greatest number if it lies beyond.
    fn narrow(wide: Self::Wide) -> Self;

    /// Whether the sum lies within the type, so that it is a result.
    ///
    /// # Errors
    /// If it lies beyond.
    fn check(wide: Self::Wide) -> Result<(), BadRecord>;

    /// The sum divided by a count.
    fn mean(wide: Self::Wide, count: u64) -> f64;
}

macro_rules! whole_numbers {
    ($($number:ty),+) => {$(
        impl sealed::Sealed for $number {}
        impl Number for $number {
            type Wide = i128;
            const EXACT: bool = true;

            fn widen(self) -> i128 {
                i128::from(self)
            }
            fn narrow(wide: i128) -> Self {
                let end = if wide < 0 { Self::MIN } else { Self::MAX };
                Self::try_from(wide).unwrap_or(end)
            }
            #[inline]
            fn check(wide: i128) -> Result<(), BadRecord> {
                Self::try_from(wide).map(drop).map_err(|_| beyond(wide, stringify!($number)))
            }
            #[expect(clippy::cast_precision_loss, reason = "a mean is as exact as an f64 is")]
            fn mean(wide: i128, count: u64) -> f64 {
                wide as f64 / count as f64
            }
        }
    )+};
}
whole_numbers!(i32, u32, i64, u64);

#[cold]
fn beyond(sum: i128, number: &str) -> BadRecord {
    BadRecord::new(format!("the sum is {sum}, which is beyond {number}"))
}

impl sealed::Sealed for f64 {}
impl Number for f64 {
    type Wide = Self;
    const EXACT: bool = false;

    fn widen(self) -> Self {
        self
    }
    fn narrow(wide: Self) -> Self {
        wide
    }
    fn check(_wide: Self) -> Result<(), BadRecord> {
        Ok(())
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean is as exact as an f64 is")]
    fn mean(wide: Self, count: u64) -> Self {
        wide / count as Self
    }
}

/// Sums a number. Whole numbers do not overflow on the way. A sum that ends beyond its type is no result: a dead
/// letter has it, with the window and the key, and it is counted in
/// [`Report::results_refused`](crate::job::Report::results_refused). Keeps one number of 16 bytes, or 8 for
/// `f64`. To count records take [`Count`](super::Count).
///
/// Sums of `f64` depend on the order in which they are made, and windows that merge make them in another one
/// after a restart: the last digits may differ. For money, and whatever has to be exact, take whole numbers.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Late, Sum, Tumbling};
/// use rtbflow::testing::{run, values};
///
/// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
/// let found = run(values([3, 1, 2]), |flow| {
///     flow.key_by(|_| ()).window(hours).aggregate("found", Sum::of(|n: &i64| *n))
/// });
/// assert_eq!(found[0].value, 6);
/// ```
pub struct Sum<F>(F);
of_a_field!(Sum);

impl<T, F, N> Aggregate<T> for Sum<F>
where
    F: Fn(&T) -> N + Send + 'static,
    N: Number,
{
    type State = N::Wide;
    type Output = N;

    fn empty(&self) -> N::Wide {
        N::Wide::default()
    }

    fn add(&self, state: &mut N::Wide, record: &Record<T>) {
        *state += (self.0)(&record.value).widen();
    }

    fn output(&self, state: &N::Wide) -> N {
        N::narrow(*state)
    }

    #[inline]
    fn check(&self, state: &N::Wide) -> Result<(), BadRecord> {
        N::check(*state)
    }

    fn describe(&self) -> String {
        "sum".into()
    }
}

impl<T, F, N> Merge<T> for Sum<F>
where
    F: Fn(&T) -> N + Send + 'static,
    N: Number,
{
    const INVERTIBLE: bool = N::EXACT;

    fn merge(&self, into: &mut N::Wide, later: &N::Wide) {
        *into += *later;
    }

    fn remove(&self, from: &mut N::Wide, part: &N::Wide) {
        *from -= *part;
    }
}

/// The mean of a number; `NaN` of no records. Keeps a sum, as [`Sum`] does, and a count. For the value in
/// the middle take [`Quantiles`](super::Quantiles).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Late, Mean, Tumbling};
/// use rtbflow::testing::{run, values};
///
/// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
/// let found = run(values([3, 1, 4, 2]), |flow| {
///     flow.key_by(|_| ()).window(hours).aggregate("found", Mean::of(|n: &i64| *n))
/// });
/// assert_eq!(found[0].value, 2.5);
/// ```
pub struct Mean<F>(F);
of_a_field!(Mean);

impl<T, F, N> Aggregate<T> for Mean<F>
where
    F: Fn(&T) -> N + Send + 'static,
    N: Number,
{
    type State = (N::Wide, u64);
    type Output = f64;

    fn empty(&self) -> Self::State {
        (N::Wide::default(), 0)
    }

    fn add(&self, state: &mut Self::State, record: &Record<T>) {
        state.0 += (self.0)(&record.value).widen();
        state.1 += 1;
    }

    fn output(&self, state: &Self::State) -> f64 {
        N::mean(state.0, state.1)
    }

    fn describe(&self) -> String {
        "mean".into()
    }
}

impl<T, F, N> Merge<T> for Mean<F>
where
    F: Fn(&T) -> N + Send + 'static,
    N: Number,
{
    const INVERTIBLE: bool = N::EXACT;

    fn merge(&self, into: &mut Self::State, later: &Self::State) {
        into.0 += later.0;
        into.1 += later.1;
    }

    fn remove(&self, from: &mut Self::State, part: &Self::State) {
        from.0 -= part.0;
        from.1 = less(from.1, part.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::window::extremes::{Max, Min};
    use crate::testing::builders::record;

    fn of<A: Merge<i64>>(aggregate: &A, numbers: &[i64]) -> A::State {
        let mut state = aggregate.empty();
        for number in numbers {
            aggregate.add(&mut state, &record(*number, 0));
        }
        state
    }

    #[test]
    fn a_sum_does_not_overflow_on_its_way() {
        let sum = Sum::of(|n: &i64| *n);
        let mut state = of(&sum, &[i64::MAX, i64::MAX]);
        let beyond = sum.check(&state).unwrap_err();
        assert!(beyond.reason().contains("18446744073709551614"), "{beyond}");
        sum.merge(&mut state, &of(&sum, &[-7]));
        sum.remove(&mut state, &of(&sum, &[i64::MAX]));
        assert_eq!((sum.check(&state), sum.output(&state)), (Ok(()), i64::MAX - 7));
        let bytes = rmp_serde::to_vec(&state).unwrap();
        assert_eq!(rmp_serde::from_slice::<i128>(&bytes).unwrap(), state);
    }

    #[test]
    fn mean_min_and_max_of_parts_are_those_of_the_whole() {
        let all = (Mean::of(|n: &i64| *n), Min::of(|n: &i64| *n), Max::of(|n: &i64| *n));
        let mut state = of(&all, &[3, 9]);
        all.merge(&mut state, &of(&all, &[1]));
        assert_eq!(all.output(&state), (13.0 / 3.0, Some(1), Some(9)));
        all.merge(&mut state, &of(&all, &[]));
        assert_eq!(all.output(&state), (13.0 / 3.0, Some(1), Some(9)));
        const { assert!(!<(Mean<fn(&i64) -> i64>, Max<fn(&i64) -> i64>) as Merge<i64>>::INVERTIBLE) };
    }
}
