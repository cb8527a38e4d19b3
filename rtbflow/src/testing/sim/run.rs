//! Runs a scenario under a seed and compares it with the run in which nothing went wrong.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::testing::sim::chance::Chance;
use crate::testing::sim::failure::{Failure, SEED};
use crate::testing::sim::fault::shrink;
use crate::testing::sim::scenario::Scenario;
use crate::testing::sim::world::simulate;

/// What one can keep in mind at once.
const FEW_FAULTS: usize = 5;
/// How many more seeds that fail are reduced where the first takes more faults than that.
const MORE_FAILURES: usize = 20;
/// The variable that says how many seeds to run.
const SEEDS: &str = "RTBFLOW_SIM_SEEDS";

impl Failure {
    /// The same scenario and seed with the fewest faults that still fail, as far as some hundred runs find
    /// them.
    fn shrunk<S: Scenario>(self, scenario: &S) -> Self {
        let (seed, all) = (self.seed, self.faults.len());
        let least = shrink(&self.faults, |names| {
            let failure = run_with(scenario, seed, || Chance::only(seed, names).untold()).err()?;
            Some((failure.faults.clone(), failure))
        });
        let least = least.unwrap_or(self);
        // Once more, to hear what happens.
        let names = Arc::new(least.faults.iter().map(|fault| fault.name.clone()).collect());
        let again = run_with(scenario, seed, || Chance::only(seed, names)).err();
        Self { shrunk_from: Some(all), ..again.unwrap_or(least) }
    }
}

/// Says on stderr under which seed something panicked.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{SEED}={} runs it again", self.0);
        }
    }
}

/// Runs a scenario under this many seeds from 0 on; `RTBFLOW_SIM_SEEDS` says another number, and
/// `RTBFLOW_SIM_SEED` names a single one.
///
/// # Panics
/// If it fails under a seed: with the seed, what happened, and the fewest faults that it takes.
pub fn check<S: Scenario>(scenario: &S, seeds: u64) {
    let given = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let seeds = 0..given(SEEDS).unwrap_or(seeds);
    let seeds = given(SEED).map_or(seeds, |seed| seed..seed + 1);
    let failure = first_of(scenario, seeds);
    assert!(
        failure.is_none(),
        "{}",
        failure.map(|failure| failure.to_string()).unwrap_or_default()
    );
}

/// The first of this many seeds under which a scenario fails, with the fewest faults that it takes.
pub fn find<S: Scenario>(scenario: &S, seeds: u64) -> Option<Failure> {
    first_of(scenario, 0..seeds)
}

/// The first of these seeds under which it fails; where that takes many faults, some more of them are tried that fail
/// as well, and the one that takes the fewest is reported.
fn first_of<S: Scenario>(scenario: &S, seeds: Range<u64>) -> Option<Failure> {
    let mut failures = seeds.filter_map(|seed| run_untold(scenario, seed).err());
    let mut least = failures.next()?.shrunk(scenario);
    let first_seed = least.seed;
    for _ in 0..MORE_FAILURES {
        if least.faults.len() <= FEW_FAULTS {
            break;
        }
        let Some(other) = failures.next() else { break };
        let other = other.shrunk(scenario);
        if other.faults.len() < least.faults.len() {
            least = other;
        }
    }
    Some(Failure { first_seed, ..least })
}

/// Runs a scenario under a seed; returns what happened, which is the same each time.
///
/// # Errors
/// If the place does not hold in the end what an uninterrupted run leaves there.
///
/// # Panics
/// If no tokio runtime can be made.
pub fn run<S: Scenario>(scenario: &S, seed: u64) -> Result<String, Failure> {
    run_with(scenario, seed, || Chance::stormy(seed))
}

fn run_untold<S: Scenario>(scenario: &S, seed: u64) -> Result<String, Failure> {
    run_with(scenario, seed, || Chance::stormy(seed).untold())
}

#[expect(clippy::expect_used, reason = "a runtime without threads and files can be made")]
fn run_with<S: Scenario>(
    scenario: &S,
    seed: u64,
    chance: impl FnOnce() -> Chance,
) -> Result<String, Failure> {
    let _named = Seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a tokio runtime");
    runtime.block_on(async {
        let chance = chance();
        match simulate(scenario, seed, &chance).await {
            Ok(()) => Ok(chance.story()),
            Err(what) => {
                let (faults, story) = (chance.faults(), chance.story());
                Err(Failure { seed, first_seed: seed, what, faults, shrunk_from: None, story })
            }
        }
    })
}
