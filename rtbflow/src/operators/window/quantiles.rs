//! Medians and other quantiles, nearly: DDSketch.

use std::fmt;

use crate::error::{Error, Result};
use crate::operators::window::aggregate::{Aggregate, Merge};
use crate::record::Record;
use crate::sketch::Sketch;

/// Quantiles of a number, such as the median or the 99th percentile: each within 1 % of the value that
/// stands there. What is emitted are the values in the order of the quantiles asked for; `NaN` of no
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

    fn validate(&self) -> Result<()> {
        let within = |quantile: &f64| (0.0..=1.0).contains(quantile);
        let wrong: Vec<_> = self.quantiles.iter().filter(|quantile| !within(quantile)).collect();
        let named = Error::unless(!self.quantiles.is_empty(), || {
            "it has no quantiles; name one or more".to_owned()
        });
        let right = Error::unless(wrong.is_empty(), || {
            format!("its quantiles {wrong:?} are not from 0 to 1; the median is 0.5")
        });
        Error::all([named, right])
    }

    fn describe(&self) -> String {
        "quantiles".into()
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
