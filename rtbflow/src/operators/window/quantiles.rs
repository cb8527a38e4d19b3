//! Medians and other quantiles, nearly: DDSketch.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::element::Record;
use crate::operators::window::{Aggregate, Merge};

/// How far a quantile may be off, relative to its value.
const ACCURACY: f64 = 0.01;
/// So many bins are kept; beyond, the ones nearest to zero are taken together.
const MOST_BINS: usize = 2048;

/// Quantiles of a number, such as the median or the 99th percentile: each within 1 % of the value that
/// stands there. What is put out are the values in the order of the quantiles asked for; `NaN` of no
/// records.
///
/// The sketch is [DDSketch](https://arxiv.org/abs/1908.10693), which merges without loss: bins whose
/// borders grow by 2 %, as many as the values need, at most 2,048 for each sign. Numbers that are not
/// finite are left out. For a sum over a count take [`Mean`](super::Mean), for exact ends
/// [`Min`](super::Min) and [`Max`](super::Max).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Late, Quantiles, Tumbling};
/// use rtbflow::testing::{run, values};
///
/// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
/// let found = run(values(1..=100), |flow| {
///     flow.key_by(|_| ()).window(hours).aggregate("found", Quantiles::new([0.5], |ms: &i32| f64::from(*ms)))
/// });
/// assert!((found[0].value[0] - 50.0).abs() <= 0.5);
/// ```
pub struct Quantiles<F> {
    quantiles: Vec<f64>,
    number: F,
}

impl<F> Quantiles<F> {
    /// These quantiles, from 0 to 1, of what a function finds in a record.
    #[must_use]
    pub fn new<T>(quantiles: impl Into<Vec<f64>>, number: F) -> Self
    where
        F: Fn(&T) -> f64 + Send + 'static,
    {
        Self { quantiles: quantiles.into(), number }
    }
}

impl<F> fmt::Debug for Quantiles<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quantiles({:?})", self.quantiles)
    }
}

impl<T, F> Aggregate<T> for Quantiles<F>
where
    F: Fn(&T) -> f64 + Send + 'static,
{
    type State = Sketch;
    type Output = Vec<f64>;

    fn empty(&self) -> Sketch {
        Sketch::default()
    }

    fn add(&self, state: &mut Sketch, record: &Record<T>) {
        state.add((self.number)(&record.value));
    }

    fn output(&self, state: &Sketch) -> Vec<f64> {
        self.quantiles.iter().map(|quantile| state.quantile(*quantile)).collect()
    }
}

impl<T, F> Merge<T> for Quantiles<F>
where
    F: Fn(&T) -> f64 + Send + 'static,
{
    fn merge(&self, into: &mut Sketch, later: &Sketch) {
        into.merge(later);
    }
}

/// How many numbers are in each bin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    /// By the logarithm of the number without its sign.
    negative: BTreeMap<i32, u64>,
    zero_count: u64,
    positive: BTreeMap<i32, u64>,
}

/// The logarithm of the factor by which a bin's upper border is above its lower.
fn width() -> f64 {
    ((1.0 + ACCURACY) / (1.0 - ACCURACY)).ln()
}

#[expect(clippy::cast_possible_truncation, reason = "logarithms of finite numbers are small")]
fn bin_of(number: f64) -> i32 {
    (number.ln() / width()).ceil() as i32
}

/// The number that is as far from both borders of a bin, relative to itself.
fn middle(bin: i32) -> f64 {
    (f64::from(bin) * width()).exp() * (1.0 - ACCURACY)
}

/// Takes the bins nearest to zero together if there are too many.
fn bound(bins: &mut BTreeMap<i32, u64>) {
    while bins.len() > MOST_BINS {
        if let Some((_, count)) = bins.pop_first()
            && let Some(mut next) = bins.first_entry()
        {
            *next.get_mut() += count;
        }
    }
}

impl Sketch {
    fn add(&mut self, number: f64) {
        let bins = match number {
            number if !number.is_finite() => return,
            number if number > 0.0 => &mut self.positive,
            number if number < 0.0 => &mut self.negative,
            _ => {
                self.zero_count += 1;
                return;
            }
        };
        *bins.entry(bin_of(number.abs())).or_insert(0) += 1;
        bound(bins);
    }

    fn merge(&mut self, other: &Self) {
        self.zero_count += other.zero_count;
        let both = [(&mut self.negative, &other.negative), (&mut self.positive, &other.positive)];
        for (bins, others) in both {
            for (bin, count) in others {
                *bins.entry(*bin).or_insert(0) += count;
            }
            bound(bins);
        }
    }

    /// The number that stands at this quantile when all are sorted.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank is not negative, and as exact as an f64 is"
    )]
    fn quantile(&self, quantile: f64) -> f64 {
        let count = |bins: &BTreeMap<i32, u64>| bins.values().sum::<u64>();
        let count = count(&self.negative) + self.zero_count + count(&self.positive);
        let Some(last) = count.checked_sub(1) else { return f64::NAN };
        let rank = (quantile.clamp(0.0, 1.0) * last as f64) as u64;
        let negative = self.negative.iter().rev().map(|(bin, count)| (-middle(*bin), *count));
        let positive = self.positive.iter().map(|(bin, count)| (middle(*bin), *count));
        let mut before = 0;
        for (number, count) in negative.chain([(0.0, self.zero_count)]).chain(positive) {
            before += count;
            if before > rank {
                return number;
            }
        }
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::builders::record;

    fn of(quantiles: &Quantiles<fn(&f64) -> f64>, numbers: &[f64]) -> Sketch {
        let mut state = quantiles.empty();
        numbers.iter().for_each(|number| quantiles.add(&mut state, &record(*number, 0)));
        state
    }

    fn asked() -> Quantiles<fn(&f64) -> f64> {
        Quantiles::new([0.0, 0.5, 0.9, 0.99, 1.0], |number: &f64| *number)
    }

    #[test]
    fn of_no_records_there_is_none_and_odd_numbers_are_left_out() {
        let sketch = of(&asked(), &[f64::NAN, f64::INFINITY]);
        assert!(asked().output(&sketch).iter().all(|number| number.is_nan()));
    }

    #[test]
    fn bins_are_bounded() {
        let numbers: Vec<f64> = (-1000..1000).map(|n| 1.1_f64.powi(n * 3)).collect();
        let sketch = of(&asked(), &numbers);
        assert_eq!(sketch.positive.len(), MOST_BINS.min(sketch.positive.len()));
        assert_eq!(sketch.positive.values().sum::<u64>(), 2000);
    }

    proptest! {
        #[test]
        fn each_is_within_one_percent_of_what_stands_there(
            mut numbers in proptest::collection::vec(
                prop_oneof![-1e9..1e9_f64, -1.0..1.0_f64, Just(0.0)], 1..400
            ),
            cut in 0..400_usize,
        ) {
            let whole = of(&asked(), &numbers);
            let (one, other) = numbers.split_at(cut.min(numbers.len()));
            let mut merged = of(&asked(), one);
            merged.merge(&of(&asked(), other));
            prop_assert_eq!(&merged, &whole);
            let bytes = rmp_serde::to_vec(&merged).unwrap();
            prop_assert_eq!(&rmp_serde::from_slice::<Sketch>(&bytes).unwrap(), &merged);
            numbers.sort_by(f64::total_cmp);
            for (quantile, found) in asked().quantiles.iter().zip(asked().output(&whole)) {
                #[expect(
                    clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss,
                    reason = "there are a few hundred"
                )]
                let exact = numbers[(quantile * (numbers.len() - 1) as f64) as usize];
                prop_assert!((found - exact).abs() <= exact.abs() * 0.010_001, "{found} instead of {exact}");
            }
        }
    }
}
