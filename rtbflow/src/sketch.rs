//! A sketch of many numbers from which their quantiles can be read, nearly: DDSketch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far a quantile may be off, relative to its value.
const ACCURACY: f64 = 0.01;
/// This many bins are kept; beyond, the ones nearest to zero are taken together.
const MOST_BINS: usize = 2048;

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
    pub(crate) fn add(&mut self, number: f64) {
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

    pub(crate) fn merge(&mut self, other: &Self) {
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
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let count = |bins: &BTreeMap<i32, u64>| bins.values().sum::<u64>();
        let count = count(&self.negative) + self.zero_count + count(&self.positive);
        // Of no numbers there is no quantile.
        let Some(last) = count.checked_sub(1) else { return f64::NAN };
        let rank = (quantile.clamp(0.0, 1.0) * last as f64) as u64;
        let negative = self.negative.iter().rev().map(|(bin, count)| (-middle(*bin), *count));
        let positive = self.positive.iter().map(|(bin, count)| (middle(*bin), *count));
        let (mut before, mut found) = (0, 0.0);
        for (number, count) in negative.chain([(0.0, self.zero_count)]).chain(positive) {
            if count > 0 && before <= rank {
                found = number;
            }
            before += count;
        }
        // Of more numbers than an `f64` counts, the rank may be rounded beyond the last, which it is then.
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_bounded() {
        let mut sketch = Sketch::default();
        (-1000..1000).for_each(|n| sketch.add(1.1_f64.powi(n * 3)));
        assert!(sketch.positive.len() <= MOST_BINS);
        assert_eq!(sketch.positive.values().sum::<u64>(), 2000);
    }
}
