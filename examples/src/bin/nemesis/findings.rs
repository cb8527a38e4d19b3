//! What was violated, and what each fault did.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::say;

/// What is known of a kind of fault on a topology.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) longest_silence: Duration,
    /// Which pipeline that was.
    pub(crate) silent: String,
    pub(crate) violations: u64,
    /// Why it could not be done here.
    pub(crate) left_out: Option<String>,
}

#[derive(Debug, Default)]
struct Found {
    topology: String,
    fault: String,
    tallies: BTreeMap<(String, String), Tally>,
    violations: Vec<String>,
    counters: BTreeMap<&'static str, u64>,
}

/// Shared by all who look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings(Arc<Mutex<Found>>);

/// Of more than this many violations of a kind the others are only counted.
const MOST_SHOWN: usize = 200;

impl Findings {
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what is found belongs to this topology and fault.
    pub(crate) fn enter(&self, topology: &str, fault: &str) {
        let mut found = self.lock();
        (found.topology, found.fault) = (topology.to_owned(), fault.to_owned());
    }

    fn tally(&self, change: impl FnOnce(&mut Tally)) {
        let mut found = self.lock();
        let key = (found.topology.clone(), found.fault.clone());
        change(found.tallies.entry(key).or_default());
    }

    /// Something is not as it has to be.
    pub(crate) fn violation(&self, what: &str) {
        self.tally(|tally| tally.violations += 1);
        let mut found = self.lock();
        let line = format!("{} / {}: {what}", found.topology, found.fault);
        if found.violations.len() < MOST_SHOWN {
            say(&format!("VIOLATION {line}"));
        }
        found.violations.push(line);
    }

    /// The fault was done once more.
    pub(crate) fn done(&self) {
        self.tally(|tally| tally.runs += 1);
    }

    /// It could not be done here.
    pub(crate) fn left_out(&self, why: &str) {
        say(&format!("  not done here: {why}"));
        self.tally(|tally| tally.left_out = Some(why.to_owned()));
    }

    /// A pipeline was silent for this long.
    pub(crate) fn silent(&self, who: &str, longest: Duration) {
        self.tally(|tally| {
            if longest > tally.longest_silence {
                (tally.longest_silence, tally.silent) = (longest, who.to_owned());
            }
        });
    }

    /// Counts what happened.
    pub(crate) fn count(&self, what: &'static str, more: u64) {
        *self.lock().counters.entry(what).or_default() += more;
    }

    /// Keeps the highest of a share, in percent.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive and small"
    )]
    pub(crate) fn highest(&self, what: &'static str, share: f64) {
        let mut found = self.lock();
        let highest = found.counters.entry(what).or_default();
        *highest = (*highest).max((share * 100.0) as u64);
    }

    /// How often something happened.
    pub(crate) fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counters.clone()
    }

    /// By topology and fault.
    pub(crate) fn tallies(&self) -> BTreeMap<(String, String), Tally> {
        self.lock().tallies.clone()
    }

    /// All that was violated.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }
}
