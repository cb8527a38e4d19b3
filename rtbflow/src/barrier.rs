//! The border between two epochs, and what is gathered as it passes.
//!
//! A [`Barrier`] is a handle on the epoch being built. As it passes, each stateful operator puts in
//! its chunks and each sink its rows; an end of the chain completes it by [`Barrier::complete`]. The
//! epoch is complete when every clone has been completed. A clone that is merely dropped
//! spoils the epoch: it can then not be committed by mistake.
//!
//! The first barriers of a task go the other way: they carry the chunks read back from the place, and
//! each operator takes its own ([`Barrier::restored`]).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broken::spoiler;
use crate::chunk::Chunk;
use crate::error::{BadRecord, Error};
use crate::record::Origin;
use crate::refused_result::RefusedResult;
pub use crate::samples::Samples;
use crate::staged::Staged;
use crate::time::Timestamp;

/// How a record of the source ended, where it was not used for a result.
///
/// Every record that decodes counts as *decoded* (used) until an operator says otherwise, and an
/// operator may say so only of a record that is still
/// [accountable](crate::record::Record::is_accountable), so that each ends in exactly one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Of no interest to the pipeline: dropped by a filter.
    Filtered,
    /// It came after its window had closed for good, or after a newer version of itself.
    Late,
    /// A repeat of one that was seen.
    Duplicate,
    /// Sent to the dead-letter topic for another reason than being late.
    DeadLettered,
}

/// Numbers of records by [`Class`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Dropped by a filter.
    pub filtered: u64,
    /// Late, whether dropped or sent to the dead-letter topic.
    pub late: u64,
    /// Repeats.
    pub duplicates: u64,
    /// Sent to the dead-letter topic, other than late ones.
    pub dead_lettered: u64,
}

impl Tally {
    /// No records.
    pub const NONE: Self = Self { filtered: 0, late: 0, duplicates: 0, dead_lettered: 0 };

    /// Counts `count` records of a class.
    pub fn add(&mut self, class: Class, count: u64) {
        match class {
            Class::Filtered => self.filtered += count,
            Class::Late => self.late += count,
            Class::Duplicate => self.duplicates += count,
            Class::DeadLettered => self.dead_lettered += count,
        }
    }

    /// Adds another tally to this one.
    pub fn merge(&mut self, other: Self) {
        self.filtered += other.filtered;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.dead_lettered += other.dead_lettered;
    }

    /// What was counted since it stood so.
    fn since(self, earlier: Self) -> Self {
        Self {
            filtered: self.filtered - earlier.filtered,
            late: self.late - earlier.late,
            duplicates: self.duplicates - earlier.duplicates,
            dead_lettered: self.dead_lettered - earlier.dead_lettered,
        }
    }

    /// All records counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.filtered + self.late + self.duplicates + self.dead_lettered
    }
}

/// What one operator has counted of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Results that it has emitted, if it keeps state.
    pub(crate) results: u64,
    /// How records ended there.
    pub(crate) tally: Tally,
    /// Results that it could not have, or that its place never takes.
    pub(crate) results_refused: u64,
    /// Records that it used though they came behind the watermark.
    pub(crate) behind: u64,
}

impl Counts {
    const NONE: Self = Self { results: 0, tally: Tally::NONE, results_refused: 0, behind: 0 };

    /// What was counted since they stood so.
    fn since(self, earlier: Self) -> Self {
        Self {
            results: self.results - earlier.results,
            tally: self.tally.since(earlier.tally),
            results_refused: self.results_refused - earlier.results_refused,
            behind: self.behind - earlier.behind,
        }
    }
}

/// A record that is to be written to the dead-letter topic: where it was read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reject {
    /// Where it was read.
    pub origin: Origin,
    /// Why it is not used.
    pub reason: BadRecord,
}

impl Reject {
    /// A record that was read there, and why it is not used.
    #[must_use]
    pub fn new(origin: Origin, reason: BadRecord) -> Self {
        Self { origin, reason }
    }
}

/// What an epoch gathers from the operators and sinks of one task.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Gathered {
    /// Changes of the operators' state, in the order in which they must be applied.
    pub chunks: Vec<Chunk>,
    /// What the sinks have staged.
    pub staged: Vec<Staged>,
    /// Records for the dead-letter topic.
    pub rejects: Vec<Reject>,
    /// Results that their sinks refused, each with its reason.
    pub refused: Vec<(RefusedResult, BadRecord)>,
    /// How the records ended that were not used for a result.
    pub tally: Tally,
    /// What is noted of late and bad records, for whoever looks into it.
    pub samples: Samples,
    /// Records that were used though they came behind the watermark.
    pub behind: u64,
    /// Results that operators with state have emitted.
    pub(crate) results: u64,
    /// What of all this each operator has counted, as the topology calls it.
    pub(crate) operators: Vec<(Arc<str>, Counts)>,
}

impl Gathered {
    fn counts(&self) -> Counts {
        let (results, results_refused) = (self.results, self.refused.len() as u64);
        Counts { results, tally: self.tally, results_refused, behind: self.behind }
    }

    /// Takes records for the dead-letter topic, each with the class it is accounted for in.
    pub fn reject(&mut self, rejects: impl IntoIterator<Item = (Reject, Class)>) {
        for (reject, class) in rejects {
            self.tally.add(class, u64::from(reject.origin.is_accountable()));
            let reason = reject.reason.reason();
            match class {
                Class::Late => self.samples.late(reject.origin, None, || reason.to_owned()),
                Class::Filtered | Class::Duplicate | Class::DeadLettered => {
                    self.samples.bad(reject.origin, reason);
                }
            }
            self.rejects.push(reject);
        }
    }
}

/// The border between two epochs: see the [module](self).
pub struct Barrier {
    shared: Arc<Mutex<Shared>>,
    wall_clock: Timestamp,
    kind: Kind,
    completed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Epoch,
    Restoring,
    LastRestoring,
}

struct Shared {
    gathered: Gathered,
    restored: HashMap<Arc<str>, Vec<Chunk>>,
    open: usize,
    dropped: bool,
    failure: Option<Error>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Barrier {
    fn with(
        restored: HashMap<Arc<str>, Vec<Chunk>>,
        now: Timestamp,
        kind: Kind,
    ) -> (Self, Gathering) {
        let shared = Arc::new(Mutex::new(Shared {
            gathered: Gathered::default(),
            restored,
            open: 1,
            dropped: false,
            failure: None,
        }));
        let barrier = Self { shared: Arc::clone(&shared), wall_clock: now, kind, completed: false };
        (barrier, Gathering { shared })
    }

    /// A barrier that ends an epoch, and the place where it is gathered.
    #[must_use]
    pub fn new(wall_clock: Timestamp) -> (Self, Gathering) {
        Self::with(HashMap::new(), wall_clock, Kind::Epoch)
    }

    /// A barrier that brings back chunks of state, before the first record; `last` if no other follows.
    #[must_use]
    pub fn restoring(wall_clock: Timestamp, chunks: Vec<Chunk>, last: bool) -> (Self, Gathering) {
        let mut restored: HashMap<Arc<str>, Vec<Chunk>> = HashMap::new();
        for chunk in chunks {
            restored.entry(Arc::clone(&chunk.operator)).or_default().push(chunk);
        }
        let kind = if last { Kind::LastRestoring } else { Kind::Restoring };
        Self::with(restored, wall_clock, kind)
    }

    /// The reading of the wall clock when the barrier set out. Operators know no other clock.
    #[must_use]
    pub fn wall_clock(&self) -> Timestamp {
        self.wall_clock
    }

    /// For a barrier that brings back state: the chunks of the operator of this name, which it thereby
    /// takes; none for a barrier that ends an epoch.
    #[must_use]
    pub fn restored(&self, operator: &str) -> Option<Vec<Chunk>> {
        self.is_restoring()
            .then(|| lock(&self.shared).restored.remove(operator).unwrap_or_default())
    }

    /// Whether this barrier brings back state rather than ending an epoch.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        self.kind != Kind::Epoch
    }

    /// Whether this barrier brings back the last of the state: records follow.
    #[must_use]
    pub fn is_last_restoring(&self) -> bool {
        self.kind == Kind::LastRestoring
    }

    /// Puts something into the epoch.
    pub fn gather(&self, put: impl FnOnce(&mut Gathered)) {
        put(&mut lock(&self.shared).gathered);
    }

    /// As [`gather`](Self::gather), and keeps what this operator has counted of it.
    pub(crate) fn gather_of(&self, operator: &Arc<str>, put: impl FnOnce(&mut Gathered)) {
        self.gather(|gathered| {
            let before = gathered.counts();
            put(gathered);
            let counted = gathered.counts().since(before);
            if counted != Counts::NONE {
                gathered.operators.push((Arc::clone(operator), counted));
            }
        });
    }

    /// Spoils the epoch: it will not be committed and the task ends with this error.
    pub fn fail(&self, error: Error) {
        lock(&self.shared).failure.get_or_insert(error);
    }

    /// Completes the barrier at an end of the chain.
    pub fn complete(mut self) {
        self.completed = true;
    }
}

impl Clone for Barrier {
    fn clone(&self) -> Self {
        lock(&self.shared).open += 1;
        Self {
            shared: Arc::clone(&self.shared),
            wall_clock: self.wall_clock,
            kind: self.kind,
            completed: false,
        }
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.open -= 1;
        shared.dropped |= !self.completed;
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Barrier({:?}, {})", self.kind, self.wall_clock)
    }
}

/// Where an epoch is gathered; kept by whoever sent the barrier.
pub struct Gathering {
    shared: Arc<Mutex<Shared>>,
}

impl Gathering {
    /// What was gathered, once every clone of the barrier has been completed; until then the gathering
    /// itself.
    ///
    /// # Errors
    /// If an operator or a sink failed or [spoilt](Error::spoil_epoch) it, if a clone of the barrier was lost on its way, or if state was
    /// brought back that no operator took: then somebody renamed or removed an operator.
    pub fn finish(self) -> Result<Result<Gathered, Self>, Error> {
        let mut shared = lock(&self.shared);
        if let Some(error) = shared.failure.take().or_else(spoiler) {
            return Err(error);
        }
        if shared.dropped {
            return Err(Error::permanent(
                "pass a barrier through the pipeline: an operator or a sink dropped it",
            ));
        }
        if shared.open > 0 {
            drop(shared);
            return Ok(Err(self));
        }
        let mut unknown: Vec<&str> = shared.restored.keys().map(|name| &**name).collect();
        unknown.sort_unstable();
        if !unknown.is_empty() {
            return Err(Error::config(format!(
                "restore the state of operator {unknown:?}, which the pipeline does not have. If it was renamed, \
                 say so (`Job::renamed`). If it is gone for good, run the program that has it to its end \
                 (`until_end`), which closes what is open, and then this one; or give its state up \
                 (`Job::removed`)"
            )));
        }
        Ok(Ok(std::mem::take(&mut shared.gathered)))
    }
}

impl fmt::Debug for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering").field("open", &lock(&self.shared).open).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    #[test]
    fn an_epoch_is_complete_when_the_last_clone_is_completed() {
        let (barrier, gathering) = Barrier::new(NOW);
        let other = barrier.clone();
        barrier.gather(|epoch| epoch.tally.add(Class::Late, 2));
        barrier.complete();
        let gathering = gathering.finish().unwrap().unwrap_err();
        other.complete();
        assert_eq!(gathering.finish().unwrap().unwrap().tally.late, 2);
    }

    #[test]
    fn what_an_operator_counts_is_kept_beside_all() {
        let (barrier, gathering) = Barrier::new(NOW);
        barrier.gather(|epoch| epoch.tally.add(Class::Late, 2));
        barrier.gather_of(&"b".into(), |epoch| {
            epoch.tally.add(Class::Late, 1);
            epoch.results += 3;
        });
        barrier.gather_of(&"c".into(), |_| {});
        barrier.complete();
        let gathered = gathering.finish().unwrap().unwrap();
        assert_eq!((gathered.tally.late, gathered.results), (3, 3));
        let tally = Tally { late: 1, ..Tally::NONE };
        assert_eq!(
            gathered.operators,
            [("b".into(), Counts { results: 3, tally, ..Counts::NONE })]
        );
    }

    #[test]
    fn a_lost_barrier_spoils_the_epoch() {
        let (barrier, gathering) = Barrier::new(NOW);
        drop(barrier.clone());
        barrier.complete();
        assert!(gathering.finish().is_err());
    }

    #[test]
    fn state_that_nobody_takes_is_an_error_that_names_it() {
        let chunk = Chunk::drop_bucket("windows".into(), 7);
        let (barrier, gathering) = Barrier::restoring(NOW, vec![chunk], true);
        assert!(barrier.restored("other").is_some_and(|chunks| chunks.is_empty()));
        barrier.complete();
        let error = gathering.finish().unwrap_err();
        assert!(error.is_config() && error.to_string().contains("windows"), "{error:?}");
    }
}
