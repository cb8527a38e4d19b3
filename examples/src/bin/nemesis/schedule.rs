//! Which faults come in which order: round by round, each of the topology's once in a round.

use rtbflow_examples::generator::Dice;

use crate::faults::Fault;

/// Faults without an end.
#[derive(Debug)]
pub(crate) struct Schedule {
    dice: Dice,
    faults: Vec<Fault>,
    round: Vec<Fault>,
}

impl Schedule {
    /// The same seed and the same faults give the same order.
    pub(crate) fn new(seed: u64, faults: Vec<Fault>) -> Self {
        Self { dice: Dice::new(seed), faults, round: Vec::new() }
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.round.is_empty() {
            self.round.clone_from(&self.faults);
        }
        if self.round.is_empty() {
            return None;
        }
        let at = self.dice.index(self.round.len());
        Some(self.round.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_order_and_each_round_has_all() {
        let names = ["instances killed", "rebalance storm", "broker killed", "Redis BUSY"];
        let faults: Vec<_> = names.into_iter().filter_map(Fault::named).collect();
        assert_eq!(faults.len(), 4);
        let of = |seed| Schedule::new(seed, faults.clone()).take(12).collect::<Vec<_>>();
        assert_eq!(of(3), of(3));
        assert!((0..9).any(|seed| of(seed) != of(3)));
        for round in of(3).chunks(4) {
            assert!(faults.iter().all(|fault| round.contains(fault)), "{round:?}");
        }
        assert_eq!(Schedule::new(1, Vec::new()).next(), None);
    }
}
