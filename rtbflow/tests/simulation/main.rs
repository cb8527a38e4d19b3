//! Whole jobs under crashes, rebalances, zombies and lost answers: what is in the place in the end is
//! what an uninterrupted run leaves there.

#![expect(
    clippy::unwrap_used,
    reason = "the numbers and names of these scenarios are small and legal"
)]

mod faults;
mod scenarios;

use faults::{Broken, Fault};
use rtbflow::testing::sim;
use scenarios::{Records, Windows};

/// Seeds of each scenario within the ordinary tests.
const SEEDS: u64 = 1_000;
/// Seeds within which a deliberate bug must be found.
const SEEDS_TO_FIND: u64 = 300;

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

/// Expects that a deliberate bug is found, with these words.
fn finds(fault: Fault, words: &str) {
    let failure = sim::find(&Broken(fault), SEEDS_TO_FIND);
    let what = failure.as_ref().map(|failure| (failure.seed, failure.what.as_str()));
    assert!(what.is_some_and(|(_, what)| what.contains(words)), "{fault:?}: {what:?}");
}

#[test]
fn finds_an_acknowledgement_before_the_commit() {
    finds(Fault::AcknowledgesFirst, "was said to be committed");
}

#[test]
fn finds_a_forgotten_chunk() {
    finds(Fault::ForgetsAChunk, "rows differ");
}

#[test]
fn finds_an_epoch_that_is_applied_twice() {
    finds(Fault::CommitsTwice, "too often");
}

#[test]
fn finds_an_ignored_fence() {
    finds(Fault::IgnoresTheFence, "differ");
}

#[test]
fn finds_a_claim_that_fences_nobody() {
    finds(Fault::FencesNobody, "was said to be committed");
}

#[test]
fn finds_a_dropped_record() {
    finds(Fault::DropsTheLastRecord, "accounted for");
}

#[test]
fn finds_a_start_one_record_too_late() {
    finds(Fault::BeginsLate, "differ");
}

#[test]
fn a_start_one_record_too_early_does_no_harm() {
    sim::check(&Broken(Fault::BeginsEarly), SEEDS_TO_FIND);
}

#[test]
fn without_a_fault_nothing_is_found() {
    sim::check(&Broken(Fault::None), SEEDS_TO_FIND);
}
