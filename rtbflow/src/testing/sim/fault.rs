//! What goes wrong in a simulation, and the least of it that a failure takes.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Runs that are spent on finding fewer faults.
const MOST_RUNS: usize = 400;

/// What kind of thing goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// It takes its time.
    Delay,
    /// It fails, or its answer is lost.
    Error,
    /// The instance is gone.
    Crash,
    /// The instance stands still for a while, and may come back as a zombie.
    Freeze,
    /// The group takes tasks away.
    Rebalance,
    /// The instance is asked to end.
    Stop,
    /// There is one more instance.
    Instance,
    /// The log is not what it was.
    Log,
    /// The place is what it was before.
    Past,
    /// A wall clock is set.
    Clock,
}

impl FaultKind {
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Delay => "is slow",
            Self::Error => "fails",
            Self::Crash => "crashes",
            Self::Freeze => "freezes",
            Self::Rebalance => "rebalances",
            Self::Stop => "is stopped",
            Self::Instance => "takes part",
            Self::Log => "changes",
            Self::Past => "goes back",
            Self::Clock => "jumps",
        }
    }
}

/// One thing that went wrong in a simulation: what, where, and when.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) name: String,
    pub(crate) at: Duration,
}

impl Fault {
    /// What it is, in words: who it happened to, where in its work, and for the how many-eth time there.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} ms  {}", self.at.as_millis(), self.name)
    }
}

/// The kinds, those first without which a failure is the easiest to read.
const KINDS: &[FaultKind] = &[
    FaultKind::Delay,
    FaultKind::Log,
    FaultKind::Clock,
    FaultKind::Past,
    FaultKind::Rebalance,
    FaultKind::Freeze,
    FaultKind::Crash,
    FaultKind::Error,
    FaultKind::Stop,
    FaultKind::Instance,
];

/// Faults of which any may be left out.
pub(crate) type FaultNames = Arc<BTreeSet<String>>;

/// The fewest faults with which something still fails, as far as a bounded search finds them: each kind is
/// left out as a whole, then ever smaller parts of what is left.
///
/// `fails` tells what happened with these faults only: the faults that struck, if it failed.
pub(crate) fn shrink<T>(
    all: &[Fault],
    mut fails: impl FnMut(FaultNames) -> Option<(Vec<Fault>, T)>,
) -> Option<T> {
    let mut runs = 0;
    let mut best = None;
    let mut left: Vec<Fault> = all.to_vec();
    let mut attempt = |left: &mut Vec<Fault>, without: &dyn Fn(usize, &Fault) -> bool| {
        let kept = left.iter().enumerate().filter(|(number, fault)| !without(*number, fault));
        let names: BTreeSet<String> = kept.map(|(_, fault)| fault.name.clone()).collect();
        if names.len() == left.len() || runs == MOST_RUNS {
            return false;
        }
        runs += 1;
        let Some((struck, failure)) = fails(Arc::new(names)) else { return false };
        // Some that were allowed may not have come to pass.
        *left = struck;
        best = Some(failure);
        true
    };
    for kind in KINDS {
        attempt(&mut left, &|_, fault| fault.kind == *kind);
    }
    leave_out_parts(&mut left, attempt);
    best
}

/// Leaves out ever smaller parts of what is left, as long as an attempt without them fails as well.
fn leave_out_parts(
    left: &mut Vec<Fault>,
    mut attempt: impl FnMut(&mut Vec<Fault>, &dyn Fn(usize, &Fault) -> bool) -> bool,
) {
    let mut part = left.len().div_ceil(2);
    while part > 0 {
        let before = left.len();
        let mut from = 0;
        while from < left.len() {
            if !attempt(left, &|number, _| (from..from + part).contains(&number)) {
                from += part;
            }
        }
        // One fault less may make another one needless.
        let again = part == 1 && left.len() < before;
        part = if again { 1 } else { part / 2 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(number: u64) -> Fault {
        let at = Duration::from_millis(number);
        Fault { kind: FaultKind::Error, name: number.to_string(), at }
    }

    #[test]
    fn what_a_failure_takes_is_found_and_nothing_else() {
        let all: Vec<Fault> = (0..100).map(fault).collect();
        let mut runs = 0;
        let least = shrink(&all, |names| {
            runs += 1;
            let struck: Vec<Fault> =
                all.iter().filter(|fault| names.contains(&fault.name)).cloned().collect();
            let fails = ["17", "18", "77"].iter().all(|name| names.contains(*name));
            fails.then(|| (struck.clone(), struck))
        });
        let names: Vec<String> = least.unwrap().into_iter().map(|fault| fault.name).collect();
        assert_eq!(names, ["17", "18", "77"]);
        assert!(runs < 60, "{runs} runs");
    }

    #[test]
    fn a_failure_that_takes_all_is_left_as_it_is() {
        let all: Vec<Fault> = (0..5).map(fault).collect();
        assert!(shrink(&all, |_| None::<(Vec<Fault>, ())>).is_none());
    }
}
