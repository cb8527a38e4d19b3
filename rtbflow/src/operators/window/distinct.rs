//! How many different things there are, nearly: HyperLogLog.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::hash::stable_hash;
use crate::operators::window::aggregate::{Aggregate, Merge};
use crate::record::Record;

/// Registers of the sketch: 2 to this power.
const PRECISION: u32 = 12;
const REGISTERS: usize = 1 << PRECISION;
/// This many registers are kept one by one; then all of them.
const MOST_SPARSE: usize = 512;

/// Counts different things, nearly: the standard error is 1.6 %, in at most four kilobytes per key and
/// window; where there are few, they take three bytes each and the count is all but exact. For an exact
/// count [`Fold`](super::Fold) into a set.
///
/// The sketch is [HyperLogLog](https://algo.inria.fr/flajolet/Publications/FlFuGaMe07.pdf) with the
/// estimator of [Ertl](https://arxiv.org/abs/1702.01284), which needs no tables of corrections. Its hash
/// is fixed, so that a restart goes on with the same registers.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::window::{Distinct, Late, Tumbling};
/// use rtbflow::testing::{run, values};
///
/// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
/// let found = run(values(["ann", "bob", "ann"]), |flow| {
///     flow.key_by(|_| ()).window(hours).aggregate("found", Distinct::of(|user: &&str| *user))
/// });
/// assert_eq!(found[0].value, 2);
/// ```
pub struct Distinct<F>(F);

impl<F> Distinct<F> {
    /// Counts what this function finds in a record.
    #[must_use]
    pub fn of<T, B>(thing: F) -> Self
    where
        F: Fn(&T) -> &B + Send + 'static,
        B: Hash + ?Sized,
    {
        Self(thing)
    }
}

impl<F> fmt::Debug for Distinct<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Distinct")
    }
}

impl<T, F, B> Aggregate<T> for Distinct<F>
where
    F: Fn(&T) -> &B + Send + 'static,
    B: Hash + ?Sized,
{
    type State = Registers;
    type Output = u64;

    fn empty(&self) -> Registers {
        Registers::default()
    }

    fn add(&self, state: &mut Registers, record: &Record<T>) {
        state.add(stable_hash((self.0)(&record.value)));
    }

    fn output(&self, state: &Registers) -> u64 {
        state.count()
    }

    fn describe(&self) -> String {
        "distinct".into()
    }
}

impl<T, F, B> Merge<T> for Distinct<F>
where
    F: Fn(&T) -> &B + Send + 'static,
    B: Hash + ?Sized,
{
    fn merge(&self, into: &mut Registers, later: &Registers) {
        into.merge(later);
    }
}

/// The registers of a HyperLogLog sketch: few by their number, many as they stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers(RegisterLayout);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Kept")] // As it is called in state that is stored.
enum RegisterLayout {
    Sparse(BTreeMap<u16, u8>),
    Dense(#[serde(with = "dense")] Vec<u8>),
}

/// Bytes, not a list of numbers.
mod dense {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the registers of a sketch")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                if bytes.len() == super::REGISTERS {
                    Ok(bytes.to_vec())
                } else {
                    Err(E::invalid_length(bytes.len(), &self))
                }
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self(RegisterLayout::Sparse(BTreeMap::new()))
    }
}

impl Registers {
    fn add(&mut self, hash: u64) {
        let [first, second, ..] = hash.to_be_bytes();
        let number = u16::from_be_bytes([first, second]) >> (16 - PRECISION);
        let rest = hash << PRECISION | 1 << (PRECISION - 1);
        let [rank, ..] = (rest.leading_zeros() + 1).to_le_bytes();
        self.raise(number, rank);
    }

    fn raise(&mut self, number: u16, rank: u8) {
        match &mut self.0 {
            RegisterLayout::Sparse(ranks) => {
                let known = ranks.entry(number).or_insert(0);
                *known = rank.max(*known);
                if ranks.len() > MOST_SPARSE {
                    let mut all = vec![0; REGISTERS];
                    ranks.iter().for_each(|(number, rank)| raise(&mut all, *number, *rank));
                    self.0 = RegisterLayout::Dense(all);
                }
            }
            RegisterLayout::Dense(all) => raise(all, number, rank),
        }
    }

    fn merge(&mut self, other: &Self) {
        match &other.0 {
            RegisterLayout::Sparse(ranks) => {
                ranks.iter().for_each(|(number, rank)| self.raise(*number, *rank))
            }
            RegisterLayout::Dense(all) => {
                for (number, rank) in (0..).zip(all) {
                    if *rank > 0 {
                        self.raise(number, *rank);
                    }
                }
            }
        }
    }

    /// How many registers have each rank.
    fn histogram(&self) -> [f64; 66] {
        let mut counts = [0.0; 66];
        let mut count = |rank: u8, many: f64| match counts.get_mut(usize::from(rank)) {
            Some(known) => *known += many,
            None => Error::broken("a register has a rank that no hash has").spoil_epoch(),
        };
        match &self.0 {
            RegisterLayout::Sparse(ranks) => {
                let mut zeros = f64::from(1_u32 << PRECISION);
                for rank in ranks.values() {
                    count(*rank, 1.0);
                    zeros -= 1.0;
                }
                count(0, zeros);
            }
            RegisterLayout::Dense(all) => all.iter().for_each(|rank| count(*rank, 1.0)),
        }
        counts
    }

    /// Algorithm 6 of Ertl's paper.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate is not negative, and far from the end of its type"
    )]
    fn count(&self) -> u64 {
        let counts = self.histogram();
        let registers = f64::from(1_u32 << PRECISION);
        // The greatest rank: all bits behind the register's number are zero.
        let most = 64 - PRECISION as usize;
        // Of ranks beyond the last there are none.
        let of = |rank: usize| counts.get(rank).copied().unwrap_or(0.0);
        let mut sum = registers * tau(1.0 - of(most + 1) / registers);
        for rank in (1..=most).rev() {
            sum = 0.5 * (sum + of(rank));
        }
        sum += registers * sigma(of(0) / registers);
        let estimate = registers * registers / (2.0 * std::f64::consts::LN_2) / sum;
        estimate.round() as u64
    }
}

/// Raises one of all registers.
#[inline]
fn raise(all: &mut [u8], number: u16, rank: u8) {
    match all.get_mut(usize::from(number)) {
        Some(known) => *known = rank.max(*known),
        None => Error::broken("a hash has a register that there is not").spoil_epoch(),
    }
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::record;

    fn of(ids: impl Iterator<Item = u64>) -> Registers {
        let distinct = Distinct::of(|id: &String| id.as_str());
        let mut state = Aggregate::<String>::empty(&distinct);
        ids.for_each(|id| distinct.add(&mut state, &record(format!("device_{id}"), 0)));
        state
    }

    #[test]
    fn the_error_stays_within_four_standard_errors() {
        for count in [0, 1, 2, 10, 100, 500, 600, 1_000, 5_000, 12_000, 40_000, 200_000_u32] {
            let found = of((0..u64::from(count)).map(|id| id * 7)).count();
            let error = (f64::from(u32::try_from(found).unwrap()) - f64::from(count)).abs();
            let allowed = (4.0 * 0.0163 * f64::from(count)).ceil();
            assert!(error <= allowed, "{found} instead of {count}");
            if count <= 10 {
                assert_eq!(found, u64::from(count));
            }
        }
    }

    #[test]
    fn the_error_has_no_bias() {
        let mut sum = 0.0;
        for set in 0..50_u64 {
            let found = of((0..3_000).map(|id| set * 1_000_000 + id)).count();
            sum += f64::from(u32::try_from(found).unwrap()) / 3_000.0 - 1.0;
        }
        assert!((sum / 50.0).abs() < 4.0 * 0.0163 / 50_f64.sqrt(), "{sum}");
    }

    #[test]
    fn merged_parts_are_the_whole_and_repeats_add_nothing() {
        for count in [100, 2_000, 20_000] {
            let mut merged = of(0..count / 2);
            merged.merge(&of(count / 3..count));
            assert_eq!(merged, of(0..count));
            let bytes = rmp_serde::to_vec(&merged).unwrap();
            assert_eq!(rmp_serde::from_slice::<Registers>(&bytes).unwrap(), merged);
            assert!(bytes.len() < REGISTERS + 20, "{}", bytes.len());
        }
    }
}
