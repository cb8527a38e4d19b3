//! What a run of a job amounted to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::barrier::Tally;
use crate::epoch::Epoch;
use crate::position::Task;

/// An account of every record of a run. Each record ends in exactly one class, and
/// [`records_in`](Self::records_in) is their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Records used for a result.
    pub decoded: u64,
    /// Records of no interest to the pipeline.
    pub filtered: u64,
    /// Late records, whether dropped or sent to the dead-letter topic.
    pub late: u64,
    /// Repeats.
    pub duplicates: u64,
    /// Records sent to the dead-letter topic, other than late ones.
    pub dead_lettered: u64,
    /// Records without a value.
    pub skipped: u64,
    /// Records that were read but not committed when the run ended, or by now if it goes on.
    pub pending: u64,
    /// Rows, keys or events written.
    pub records_out: u64,
    /// Epochs committed.
    pub commits: u64,
    /// How often the job started its source again after a transient error.
    pub restarts: u64,
    /// Results that were not written because their place refuses them; each is a dead letter. They are
    /// results and no records: no part of [`records_in`](Self::records_in).
    pub results_refused: u64,
    /// Records that were used though they came behind the watermark, such as those that a join decided by
    /// what it still held. They are [`decoded`](Self::decoded) too.
    pub behind: u64,
}

impl Report {
    /// All records of the run.
    #[must_use]
    pub fn records_in(&self) -> u64 {
        self.decoded
            + self.filtered
            + self.late
            + self.duplicates
            + self.dead_lettered
            + self.skipped
            + self.pending
    }
}

/// The running account of a job: see [`Job::account`](crate::job::Job::account).
#[derive(Debug, Clone, Default)]
pub struct Account(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// What was committed.
    report: Report,
    /// The tasks whose records are pending until they are committed.
    tasks: BTreeMap<Task, Arc<Status>>,
}

impl Account {
    /// What the job amounts to by now; after its end, whatever the end was, what it amounted to.
    #[must_use]
    pub fn report(&self) -> Report {
        let held = self.lock();
        let pending = held.tasks.values().map(|status| status.pending()).sum();
        Report { pending, ..held.report }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a committed epoch, and what was found out about its records in the place.
    ///
    /// # Errors
    /// If the epoch accounts for more records than it read; then an operator or a sink counted one twice.
    /// The text says so.
    pub(crate) fn committed(&self, epoch: &Epoch, found: Tally) -> Result<(), String> {
        let mut tally = epoch.tally;
        tally.merge(found);
        let Tally { filtered, late, duplicates, dead_lettered } = tally;
        let other = tally.total() + epoch.skipped;
        let Some(decoded) = epoch.records_in.checked_sub(other) else {
            return Err(format!(
                "account for {} records of task {}: operators and sinks account for {other}",
                epoch.records_in, epoch.task
            ));
        };
        let report = &mut self.lock().report;
        report.decoded += decoded;
        report.filtered += filtered;
        report.late += late;
        report.duplicates += duplicates;
        report.dead_lettered += dead_lettered;
        report.skipped += epoch.skipped;
        report.records_out += epoch.rows_out(found);
        report.commits += 1;
        report.results_refused += epoch.results_refused;
        report.behind += epoch.behind;
        Ok(())
    }

    /// A task begins.
    pub(crate) fn begin(&self, task: Task, status: Arc<Status>) {
        self.lock().tasks.insert(task, status);
    }

    /// A task was released: what it read and did not commit is read again by whoever has it then.
    pub(crate) fn release(&self, task: Task) {
        self.lock().tasks.remove(&task);
    }

    /// The source is opened again, and what was not committed is read again.
    pub(crate) fn restarted(&self) {
        let mut held = self.lock();
        held.tasks.clear();
        held.report.restarts += 1;
    }
}

/// How far one life of a task is: it counts what it takes, the committer what is committed.
#[derive(Debug, Default)]
pub(crate) struct Status {
    taken: AtomicU64,
    committed: AtomicU64,
}

impl Status {
    pub(crate) fn took(&self, records: u64) {
        self.taken.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn committed(&self, records: u64) {
        self.committed.fetch_add(records, Ordering::Relaxed);
    }

    /// Records read and not committed.
    pub(crate) fn pending(&self) -> u64 {
        // Read one after the other while both grow: more may be committed by now than was taken a moment ago.
        self.taken.load(Ordering::Relaxed).saturating_sub(self.committed.load(Ordering::Relaxed))
    }
}
