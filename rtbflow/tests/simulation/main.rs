//! Whole jobs under crashes, rebalances, zombies and lost answers: what is in the place in the end is
//! what an uninterrupted run leaves there.

mod scenarios;

use rtbflow::testing::sim;
use scenarios::{Records, Windows};

/// Seeds of each scenario within the ordinary tests.
const SEEDS: u64 = 1_000;

#[test]
fn every_record_is_applied_once() {
    sim::check(&Records, SEEDS);
}

#[test]
fn windows_are_the_same_as_without_a_crash() {
    sim::check(&Windows, SEEDS);
}

#[test]
fn a_seed_is_one_schedule() {
    for seed in 0..20 {
        let story = || match sim::run(&Windows, seed) {
            Ok(story) => story,
            Err(failure) => failure.to_string(),
        };
        assert_eq!(story(), story());
    }
}
