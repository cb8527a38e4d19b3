//! What a simulation reports: a seed, what is wrong, and which faults it takes.

use std::collections::BTreeMap;
use std::fmt;

use crate::testing::sim::fault::Fault;

/// The variable that names the one seed to run.
pub(super) const SEED: &str = "RTBFLOW_SIM_SEED";

/// A seed under which the place does not hold what it should, and what happened.
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The first seed that failed: another one where this one takes fewer faults.
    pub first_seed: u64,
    /// What is wrong.
    pub what: String,
    /// The faults that struck.
    pub faults: Vec<Fault>,
    /// How many struck before those were left out that it does not take.
    pub(super) shrunk_from: Option<usize>,
    pub(super) story: String,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, first_seed, what, faults, shrunk_from, story } = self;
        write!(f, "{story}\nseed {seed}: {what}\n")?;
        match (shrunk_from, faults.len()) {
            (None, count) => writeln!(f, "{count} faults struck:")?,
            (Some(_), 0) => writeln!(f, "it takes no fault at all")?,
            (Some(all), count) => writeln!(f, "of {all} faults, it takes {count}:")?,
        }
        for fault in faults {
            writeln!(f, "{fault}")?;
        }
        if first_seed != seed {
            writeln!(f, "seed {first_seed} was the first to fail, and takes more faults")?;
        }
        write!(f, "{SEED}={seed} runs it again")
    }
}

/// Compares two sorted lists and names what is missing and what is too much.
pub(crate) fn difference<R: fmt::Debug + Ord>(
    what: &str,
    found: Vec<R>,
    expected: Vec<R>,
) -> Result<(), String> {
    let mut counts: BTreeMap<R, i64> = BTreeMap::new();
    for row in found {
        *counts.entry(row).or_default() += 1;
    }
    for row in expected {
        *counts.entry(row).or_default() -= 1;
    }
    counts.retain(|_, count| *count != 0);
    let tell = |(row, count): (&R, &i64)| match count {
        ..0 => format!("{row:?} is missing"),
        _ => format!("{row:?} is there {count} times too often"),
    };
    match counts.len() {
        0 => Ok(()),
        rows => {
            let some: Vec<String> = counts.iter().take(5).map(tell).collect();
            Err(format!("{rows} {what}s differ: {}", some.join("; ")))
        }
    }
}
