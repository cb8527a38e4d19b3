//! What a run of a job amounted to.

use std::sync::{Arc, Mutex, PoisonError};

use crate::barrier::Tally;
use crate::epoch::Epoch;

/// An account of every record of a run. Each record ends in exactly one class, and
/// [`records_in`](Self::records_in) is their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    /// Records that were read but not committed when the run ended.
    pub pending: u64,
    /// Rows, keys or events written.
    pub records_out: u64,
    /// Epochs committed.
    pub commits: u64,
    /// How often the job started its source again after a transient error.
    pub restarts: u64,
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

/// The running account of a job, which the committer keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account(Arc<Mutex<Report>>);

impl Account {
    /// Adds a committed epoch.
    ///
    /// # Errors
    /// If the epoch accounts for more records than it read; then an operator counted one twice. The text
    /// says so.
    pub(crate) fn committed(&self, epoch: &Epoch) -> Result<(), String> {
        let Tally { filtered, late, duplicates, dead_lettered } = epoch.tally;
        let other = epoch.tally.total() + epoch.skipped;
        let Some(decoded) = epoch.records_in.checked_sub(other) else {
            return Err(format!(
                "account for {} records of task {}: the operators account for {other}",
                epoch.records_in, epoch.task
            ));
        };
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        report.decoded += decoded;
        report.filtered += filtered;
        report.late += late;
        report.duplicates += duplicates;
        report.dead_lettered += dead_lettered;
        report.skipped += epoch.skipped;
        report.records_out += epoch.staged.iter().map(|staged| staged.rows as u64).sum::<u64>();
        report.commits += 1;
        Ok(())
    }

    pub(crate) fn pending(&self, records: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pending += records;
    }

    pub(crate) fn restarted(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).restarts += 1;
    }

    pub(crate) fn report(&self) -> Report {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
