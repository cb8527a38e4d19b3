//! What a job measures. Handles are made once, so that measuring an epoch costs no more than adding.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::barrier::{Counts, Tally};
use crate::chunk::Chunk;
use crate::epoch::Epoch;
use crate::job::intake::Standing;
use crate::job::report::Report;
use crate::job::state_size::StateSize;
use crate::position::{JobName, Task};
use crate::record::Partition;
use crate::time::Timestamp;

/// What one life of a task measures.
pub(crate) struct TaskMeasures {
    records: Vec<Counter>,
    rows: Histogram,
    watermark: Gauge,
    in_flight: Gauge,
    state: StateMeasures,
}

/// The state of a task's operators.
struct StateMeasures {
    job: String,
    task: String,
    size: StateSize,
    gauges: BTreeMap<Arc<str>, Gauge>,
}

impl StateMeasures {
    /// Chunks were read back from the place, or go there.
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float; 2^53 is far away")]
    fn add(&mut self, chunks: &[Chunk]) {
        self.size.add(chunks);
        for (operator, bytes) in self.size.iter() {
            let gauge = self.gauges.entry(Arc::clone(operator)).or_insert_with(|| {
                let (job, task) = (self.job.clone(), self.task.clone());
                let operator = operator.to_string();
                gauge!("rtbflow_operator_state_bytes", "job" => job, "task" => task, "operator" => operator)
            });
            gauge.set(bytes as f64);
        }
    }
}

impl Drop for TaskMeasures {
    /// Another instance may have the task now: sums over instances have to be right.
    fn drop(&mut self) {
        self.in_flight.set(0.0);
        self.state.gauges.values().for_each(|gauge| gauge.set(0.0));
    }
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
            let (job, task) = (job.clone(), task.clone());
            counter!("rtbflow_records_total", "job" => job, "task" => task, "topic" => topic, "partition" => partition)
        });
        Self {
            records: records.collect(),
            rows: histogram!("rtbflow_epoch_rows", "job" => job.clone(), "task" => task.clone()),
            watermark: gauge!("rtbflow_watermark_seconds", "job" => job.clone(), "task" => task.clone()),
            in_flight: gauge!("rtbflow_epochs_in_flight", "job" => job.clone(), "task" => task.clone()),
            state: StateMeasures { job, task, size: StateSize::default(), gauges: BTreeMap::new() },
        }
    }

    /// State was read back.
    pub(crate) fn restored(&mut self, chunks: &[Chunk]) {
        self.state.add(chunks);
    }

    /// This many epochs are on their way to the place.
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float; 2^53 is far away")]
    pub(crate) fn in_flight(&self, epochs: usize) {
        self.in_flight.set(epochs as f64);
    }

    /// An epoch was built.
    #[expect(clippy::cast_precision_loss, reason = "a metric is a float; 2^53 is far away")]
    pub(crate) fn epoch(
        &mut self,
        epoch: &Epoch,
        standings: &[Standing],
        watermark: Option<Timestamp>,
    ) {
        let rows: usize = epoch.staged.iter().map(|staged| staged.rows).sum();
        self.rows.record(rows as f64);
        self.state.add(&epoch.chunks);
        for (records, standing) in self.records.iter().zip(standings) {
            records.increment(standing.taken);
        }
        if let Some(watermark) = watermark {
            self.watermark.set(watermark.as_millis() as f64 / 1000.0);
        }
    }
}

/// What an operator's count is called, and how it is found.
type OperatorCount = (&'static str, fn(&Counts) -> u64);

/// What each operator counts.
const OPERATOR_COUNTS: [OperatorCount; 7] = [
    ("rtbflow_operator_results_total", |counts| counts.results),
    ("rtbflow_operator_filtered_total", |counts| counts.tally.filtered),
    ("rtbflow_operator_late_total", |counts| counts.tally.late),
    ("rtbflow_operator_duplicates_total", |counts| counts.tally.duplicates),
    ("rtbflow_operator_dead_lettered_total", |counts| counts.tally.dead_lettered),
    ("rtbflow_operator_results_refused_total", |counts| counts.results_refused),
    ("rtbflow_operator_behind_total", |counts| counts.behind),
];

/// The counters of one operator: of what it has counted at least once, since most count little of all this.
type OperatorCounters = [Option<Counter>; OPERATOR_COUNTS.len()];

/// What the committer measures.
pub(crate) struct CommitMeasures {
    job: String,
    operators: Mutex<HashMap<Arc<str>, OperatorCounters>>,
    seconds: Histogram,
    commits: Counter,
    rows: Counter,
    dead_letters: Counter,
}

impl CommitMeasures {
    pub(crate) fn new(job: &JobName) -> Self {
        let job = job.to_string();
        Self {
            operators: Mutex::default(),
            seconds: histogram!("rtbflow_commit_seconds", "job" => job.clone()),
            commits: counter!("rtbflow_commits_total", "job" => job.clone()),
            rows: counter!("rtbflow_rows_out_total", "job" => job.clone()),
            dead_letters: counter!("rtbflow_dead_letters_total", "job" => job.clone()),
            job,
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
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        for (operator, counts) in &epoch.operators {
            let counters = operators.entry(Arc::clone(operator)).or_default();
            for (counter, (name, count)) in counters.iter_mut().zip(OPERATOR_COUNTS) {
                let count = count(counts);
                if count > 0 {
                    let (job, operator) = (&self.job, &**operator);
                    counter
                        .get_or_insert_with(|| counter!(name, "job" => job.clone(), "operator" => operator.to_owned()))
                        .increment(count);
                }
            }
        }
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
