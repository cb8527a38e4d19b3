//! Whole jobs under crashes, rebalances, zombies and lost answers: what is in the place in the end is
//! what an uninterrupted run leaves there.

#![expect(
    clippy::unwrap_used,
    reason = "the numbers and names of these scenarios are small and legal"
)]

mod faults;
mod logs;
mod named;
mod places;
mod portions;
mod programs;
mod scenarios;

use faults::{Broken, Fault};
use logs::{Crowd, MadeAnew};
use named::Named;
use places::{Refused, Wrong};
use programs::{Programs, Says};
use rtbflow::testing::sim::{self, Failure, Scenario};
use scenarios::{Records, Row, Windows, co_grouped};

/// Seeds of each scenario, of which all together have ten thousand.
const SEEDS: u64 = 1_000;
/// Seeds of the one with fifty instances.
const CROWDS: u64 = 3;
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
fn what_the_place_refuses_is_a_dead_letter_and_all_else_is_applied_once() {
    sim::check(&Refused(Wrong::Nothing), SEEDS);
}

#[test]
fn programs_that_name_their_operators_differently_take_turns() {
    sim::check(&Programs(Says::Renamed), SEEDS);
}

#[test]
fn two_topics_in_one_task_are_the_same_as_without_a_crash() {
    co_grouped().check(SEEDS);
}

#[test]
fn windows_of_many_keys_close_over_several_epochs() {
    portions::windows().check(SEEDS);
}

#[test]
fn a_join_and_what_is_held_behind_it_go_on_over_several_epochs() {
    portions::joined().check(600);
}

#[test]
fn an_operator_of_ones_own_emits_over_several_epochs() {
    portions::held(false).check(800);
}

#[test]
fn a_topic_that_is_made_anew_is_read_from_its_beginning() {
    sim::check(&MadeAnew(Fault::None), SEEDS);
}

#[test]
fn values_of_any_shape_come_back_from_state_as_they_were() {
    logs::shapes().check(SEEDS);
}

#[test]
fn results_that_the_place_refuses_are_dead_letters_as_a_whole() {
    logs::refused_results().check(SEEDS);
}

#[test]
fn instances_by_name_are_taken_over_and_get_to_the_end() {
    sim::check(&Named, SEEDS);
}

#[test]
fn a_thousand_partitions_are_shared_by_fifty_instances() {
    sim::check(&Crowd, CROWDS);
}

#[test]
fn finds_a_topic_that_is_read_on_though_it_was_made_anew() {
    found(&MadeAnew(Fault::IgnoresTheTopicId), "its term is", 20);
}

#[test]
fn finds_a_position_before_the_markers() {
    finds(Fault::StandsBeforeMarkers, "was read to its end");
}

#[test]
fn finds_a_position_with_an_old_term() {
    finds(Fault::NamesAnOldTerm, "its term is");
}

#[test]
fn finds_a_reader_that_begins_before_anything_was_looked_for() {
    finds(Fault::ReadsFirst, "has not looked");
}

#[test]
fn finds_state_that_is_gone_after_a_failover() {
    finds(Fault::LosesState, "differ");
}

#[test]
fn finds_an_operator_that_forgets_what_was_still_due() {
    let failure = portions::held(true).find(SEEDS_TO_FIND).unwrap();
    assert!(failure.what.contains("is missing"), "{failure}");
}

#[test]
fn an_invariant_that_does_not_hold_is_reported_with_what_it_takes() {
    let more = |rows: &[Row]| match rows.iter().map(|(_, _, count)| count).sum::<u64>() {
        100.. => Err("more than a hundred".to_owned()),
        _ => Ok(()),
    };
    let failure = co_grouped().invariant(more).find(SEEDS_TO_FIND).unwrap();
    let report = failure.to_string();
    assert!(report.contains("the invariant is broken: more than a hundred"), "{report}");
    assert!(report.contains("it takes no fault at all"), "{report}");
    assert!(
        report.contains(&format!("RTBFLOW_SIM_SEED={} runs it again", failure.seed)),
        "{report}"
    );
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

/// A failure that takes more faults than this explains nothing.
const MOST_FAULTS: usize = 5;

/// Expects that a deliberate bug is found, with these words, within this many seeds.
#[expect(clippy::print_stdout, reason = "by how many seeds is shown to whoever asks for it")]
fn found(scenario: &impl Scenario, words: &str, most_seeds: u64) {
    let failure: Failure = sim::find(scenario, SEEDS_TO_FIND).unwrap();
    let (seeds, faults) = (failure.first_seed + 1, failure.faults.len());
    println!("found by {seeds} seeds, takes {faults} faults: {}", failure.what);
    assert!(failure.what.contains(words), "{failure}");
    assert!(faults <= MOST_FAULTS, "{failure}");
    assert!(seeds <= most_seeds, "found within {seeds} seeds: {failure}");
}

fn finds(fault: Fault, words: &str) {
    found(&Broken(fault), words, 50);
}

#[test]
fn finds_a_commit_that_has_the_same_time_whatever_it_is_asked_for() {
    found(&Refused(Wrong::HasOneDeadline), "not settled", 12);
}

#[test]
fn finds_a_record_that_is_refused_with_its_neighbour() {
    found(&Refused(Wrong::BlamesTheNeighbour), "differ", 20);
}

#[test]
fn finds_records_that_are_blamed_for_a_right_that_is_missing() {
    found(&Refused(Wrong::BlamesTheRecords), "leave out what the place refused", 50);
}

#[test]
fn finds_state_that_is_given_up_where_it_should_be_taken_along() {
    found(&Programs(Says::Removed), "rows differ", 50);
}

#[test]
fn finds_an_acknowledgement_before_the_commit() {
    finds(Fault::AcknowledgesFirst, "was said to be committed");
}

#[test]
fn finds_a_forgotten_chunk() {
    finds(Fault::ForgetsAChunk, "differ");
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
    finds(Fault::FencesNobody, "accounted for");
}

#[test]
fn finds_a_dropped_record() {
    finds(Fault::DropsTheLastRecord, "accounted for");
}

#[test]
fn finds_a_start_one_record_too_late() {
    finds(Fault::BeginsLate, "stands at");
}

#[test]
fn a_start_one_record_too_early_does_no_harm() {
    sim::check(&Broken(Fault::BeginsEarly), SEEDS_TO_FIND);
}

#[test]
fn without_a_fault_nothing_is_found() {
    sim::check(&Broken(Fault::None), SEEDS_TO_FIND);
}
