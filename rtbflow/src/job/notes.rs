//! What is noted of late and bad records as they are committed: log lines now, a summary later.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::barrier::{Samples, Tally};
use crate::epoch::Epoch;
use crate::position::JobName;
use crate::samples::Sample;
use crate::time::rough;

/// At most one log line about bad records in this time, and one about late ones.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What is noted of a job's late and bad records. A clone is another handle on the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    /// Of the whole run.
    whole: Samples,
    /// Since the last summary while it runs.
    fresh: Samples,
    late: Lines,
    bad: Lines,
    refused: Lines,
}

/// When a line about a kind of record was written last, and how many of them came since.
#[derive(Debug, Default)]
struct Lines {
    last: Option<Instant>,
    unsaid: u64,
}

impl Lines {
    /// This many more came. How many there are to be spoken of, if it is time for a line.
    fn more(&mut self, count: u64) -> Option<u64> {
        self.unsaid += count;
        if self.unsaid == 0 || self.last.is_some_and(|last| last.elapsed() < LINE_EVERY) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Notes {
    /// An epoch was committed, and its place found this about its records. The first bad record of a run is
    /// logged, and so are the first late one and the first refused result; then one of each kind at most every
    /// 10 s.
    pub(crate) fn committed(&self, job: &JobName, epoch: &Epoch, found: Tally) {
        let (late, bad) = (
            epoch.tally.late + found.late + epoch.behind,
            epoch.tally.dead_lettered + found.dead_lettered,
        );
        if late + bad + epoch.results_refused == 0 && epoch.samples.is_empty() {
            return;
        }
        let mut noted = self.lock();
        let Noted { whole, fresh, late: late_lines, bad: bad_lines, refused } = &mut *noted;
        whole.merge(&epoch.samples);
        fresh.merge(&epoch.samples);
        if let (Some(first), Some(count)) = (epoch.samples.first_bad(), bad_lines.more(bad.max(1)))
        {
            warn(job, first, count, "a record cannot be used");
        }
        if let Some(first) = epoch.samples.first_refused()
            && let Some(count) = refused.more(epoch.results_refused.max(1))
        {
            warn(job, first, count, "a result cannot be written");
        }
        if let Some(first) = epoch.samples.first_late()
            && let Some(count) = late_lines.more(late.max(1))
        {
            warn(job, first, count, "a record came too late");
        }
    }

    /// What was noted since the last call.
    pub(crate) fn take_fresh(&self) -> Samples {
        std::mem::take(&mut self.lock().fresh)
    }

    /// What was noted of the whole run.
    pub(crate) fn whole(&self) -> Samples {
        self.lock().whole.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warn(job: &JobName, Sample { origin, reason, by }: &Sample, count: u64, what: &str) {
    let (topic, partition, offset) = (origin.topic(), origin.partition().number, origin.offset());
    let behind = by.map(rough);
    let behind = behind.as_deref();
    tracing::warn!(%job, topic, partition, offset, behind, reason, since_last_line = count, "{what}");
}
