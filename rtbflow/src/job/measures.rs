//! What a job measures. Handles are made once, so that measuring an epoch costs no more than adding.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::barrier::Tally;
use crate::epoch::Epoch;
use crate::job::intake::Standing;
use crate::job::report::Report;
use crate::position::{JobName, Task};
use crate::record::Partition;
use crate::time::Timestamp;

/// What one life of a task measures.
pub(crate) struct TaskMeasures {
    records: Vec<Counter>,
    rows: Histogram,
    watermark: Gauge,
    in_flight: Gauge,
}

impl TaskMeasures {
    pub(crate) fn new(
        job: &JobName,
        task: Task,
        partitions: impl Iterator<Item = Partition>,
    ) -> Self {
        let (job, task) = (job.to_string(), task.number.to_string());
        let records = partitions.map(|Partition { topic, number }| {
            let (topic, partition) = (topic.name(), number.to_string());
            counter!("rtbflow_records_total", "job" => job.clone(), "topic" => topic, "partition" => partition)
        });
        Self {
            records: records.collect(),
            rows: histogram!("rtbflow_epoch_rows", "job" => job.clone()),
            watermark: gauge!("rtbflow_watermark_seconds", "job" => job.clone(), "task" => task.clone()),
            in_flight: gauge!("rtbflow_epochs_in_flight", "job" => job.clone(), "task" => task),
        }
    }

    /// This many epochs are on their way to the place.
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float; 2^53 is far away")]
    pub(crate) fn in_flight(&self, epochs: usize) {
        self.in_flight.set(epochs as f64);
    }

    /// An epoch was built.
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float; 2^53 is far away")]
    pub(crate) fn epoch(
        &self,
        epoch: &Epoch,
        standings: &[Standing],
        watermark: Option<Timestamp>,
    ) {
        let rows: usize = epoch.staged.iter().map(|staged| staged.rows).sum();
        self.rows.record(rows as f64);
        // Both are in the order of the task's partitions.
        for (records, standing) in self.records.iter().zip(standings) {
            records.increment(standing.taken);
        }
        if let Some(watermark) = watermark {
            self.watermark.set(watermark.as_millis() as f64 / 1000.0);
        }
    }
}

/// What the committer measures.
pub(crate) struct CommitMeasures {
    seconds: Histogram,
    commits: Counter,
    rows: Counter,
    dead_letters: Counter,
}

impl CommitMeasures {
    pub(crate) fn new(job: &JobName) -> Self {
        let job = job.to_string();
        Self {
            seconds: histogram!("rtbflow_commit_seconds", "job" => job.clone()),
            commits: counter!("rtbflow_commits_total", "job" => job.clone()),
            rows: counter!("rtbflow_rows_out_total", "job" => job.clone()),
            dead_letters: counter!("rtbflow_dead_letters_total", "job" => job),
        }
    }

    /// A group was committed within this time.
    pub(crate) fn group(&self, took: Duration) {
        self.seconds.record(took.as_secs_f64());
    }

    /// An epoch was committed.
    pub(crate) fn epoch(&self, epoch: &Epoch, found: Tally) {
        self.commits.increment(1);
        self.rows.increment(epoch.rows_out(found));
    }

    /// This many dead letters were delivered, or skipped.
    pub(crate) fn dead_letters(&self, letters: usize) {
        self.dead_letters.increment(letters as u64);
    }
}

/// What a class of the account is called, and how many records are in it.
type AccountClass = (&'static str, fn(&Report) -> u64);

/// The classes of the account, and what it counts besides.
const CLASSES: [AccountClass; 9] = [
    ("rtbflow_decoded_total", |report| report.decoded),
    ("rtbflow_filtered_total", |report| report.filtered),
    ("rtbflow_late_total", |report| report.late),
    ("rtbflow_duplicates_total", |report| report.duplicates),
    ("rtbflow_dead_lettered_total", |report| report.dead_lettered),
    ("rtbflow_skipped_total", |report| report.skipped),
    ("rtbflow_results_refused_total", |report| report.results_refused),
    ("rtbflow_behind_total", |report| report.behind),
    ("rtbflow_restarts_total", |report| report.restarts),
];

/// What is measured by the clock: the account and the health of a job.
pub(crate) struct JobMeasures {
    classes: [Counter; CLASSES.len()],
    pending: Gauge,
    commit_age: Gauge,
    ready: Gauge,
}

impl JobMeasures {
    pub(crate) fn new(job: &JobName) -> Self {
        let job = job.to_string();
        Self {
            classes: CLASSES.map(|(name, _)| counter!(name, "job" => job.clone())),
            pending: gauge!("rtbflow_pending", "job" => job.clone()),
            commit_age: gauge!("rtbflow_commit_age_seconds", "job" => job.clone()),
            ready: gauge!("rtbflow_ready", "job" => job),
        }
    }

    /// The account stands so.
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float; 2^53 is far away")]
    pub(crate) fn account(&self, report: &Report) {
        for (counter, (_, count)) in self.classes.iter().zip(CLASSES) {
            counter.absolute(count(report));
        }
        self.pending.set(report.pending as f64);
    }

    /// The last commit was this long ago, and the job is ready or not.
    pub(crate) fn health(&self, commit_age: Duration, ready: bool) {
        self.commit_age.set(commit_age.as_secs_f64());
        self.ready.set(if ready { 1.0 } else { 0.0 });
    }
}
