//! Instances by name: each of a job's names is taken by one process at a time, and whoever has none stands by.
//!
//! ```text
//!   stand by ──a name is free, or silent──▶ take it ──▶ open the source under it, run, beat
//!       ▲                                                              │
//!       └─────────────── the name is another's by now ◀────────────────┘
//! ```
//!
//! A name is a partition of a job of its own, in the same place: a beat is a commit to it that carries nothing, and to
//! take it is the same commit with another owner, made from where it was seen to stand still. So two can never take it
//! at once, and a holder that was only slow learns it by its next beat. Whether a beat was missed is judged by the clock
//! of whoever waits for it, and only while the place answers: nobody's clock is compared with another's.

mod heartbeat;
mod membership;
mod silence;
mod standby;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use heartbeat::Held;
pub(crate) use membership::Membership;
pub(crate) use standby::Standby;

use crate::error::{Error, Result};
use crate::position::{JobName, Task};
use crate::record::{Partition, Topic};

/// Beats within the time after which a holder counts as gone.
const BEATS: u32 = 4;
/// What that time is at least, so that a beat has time to be committed.
const LEAST_SILENCE: Duration = Duration::from_millis(200);
/// What Kafka takes for the name of an instance.
const LONGEST_NAME: usize = 249;

/// The names of a job's instances.
#[derive(Debug, Clone)]
pub(crate) struct Instances {
    pub(crate) names: Vec<Arc<str>>,
    /// How long a holder must have been silent until another takes its name.
    pub(crate) silence: Duration,
}

impl Default for Instances {
    fn default() -> Self {
        Self { names: Vec::new(), silence: Duration::from_millis(600) }
    }
}

impl Instances {
    /// The pause between two beats, and between two looks at those of others.
    fn beat(&self) -> Duration {
        self.silence / BEATS
    }

    /// Whether they can be used.
    ///
    /// # Errors
    /// With all that is wrong.
    pub(crate) fn validate(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        let names = self.names.iter().map(|name| {
            Error::unless(seen.insert(name) && is_legal(name), || {
                format!(
                    "name an instance {name:?}: give each name once, of up to {LONGEST_NAME} ASCII letters, digits, \
                     '.', '_' and '-'"
                )
            })
        });
        let names: Vec<Result<()>> = names.collect();
        let silence = Error::unless(self.silence >= LEAST_SILENCE, || {
            format!(
                "take over an instance's name after {:?}: heartbeats are a quarter of it apart; give at least \
                 {LEAST_SILENCE:?}",
                self.silence
            )
        });
        Error::all(names.into_iter().chain([silence]))
    }
}

fn is_legal(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !matches!(name, "" | "." | "..") && name.len() <= LONGEST_NAME && name.chars().all(legal)
}

/// The task whose partitions the names are.
const TASK: Task = Task { number: 0, of: 1 };

/// The job that the names belong to. No job of a user's can have such a name.
fn job_of_names(job: &JobName) -> JobName {
    JobName::unchecked(&format!("{job}/instances"))
}

/// The partition that a name is.
fn partition(name: &str) -> Partition {
    Partition::new(Topic::new(name), 0)
}
