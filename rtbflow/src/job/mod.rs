//! A job: a source, a pipeline and an anchor, and everything that keeps them going.
//!
//! ```text
//!   source ──events──▶ job ──▶ task loop 0 ─┐
//!                       │  ──▶ task loop 1 ─┼─epochs─▶ committer ─▶ anchor
//!                       │  ──▶ task loop … ─┘
//! ```
//!
//! The source says which tasks this instance has; the job claims their positions, and a task loop
//! brings the state back and runs. On a revocation the tasks finish their epochs and commit before the
//! partitions are given back. After a transient error of the source everything starts again from the
//! place, with a growing pause.

mod backoff;
mod batch_limit;
mod claiming;
mod committer;
mod cutting;
mod drawing;
mod health;
mod instances;
mod intake;
mod lookout;
mod measures;
mod notes;
mod pace;
pub(crate) mod refusing;
mod renaming;
mod report;
mod run;
mod running;
mod settings;
mod setup;
mod share;
mod signals;
mod state_size;
mod submission;
mod task;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use health::{Health, Unhealthy};
pub use intake::Intake;
pub use report::{Account, Report};

use setup::Setup;

use crate::clock::Clock;
use crate::epoch::{Anchor, DeadLetters, Writer};
use crate::flow::{End, Flow};
#[cfg(doc)]
use crate::position::JobName;
use crate::source::{Batch, Source};

/// A job: what is read, what becomes of it, and where it goes.
///
/// # Examples
/// ```
/// use rtbflow::epoch::Memory;
/// use rtbflow::job::Job;
/// use rtbflow::source::MemorySource;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let place = Memory::new();
/// let out = place.collected::<i32>();
/// let report = Job::new("doubles")
///     .source(MemorySource::new("numbers", vec![vec![1, 2], vec![3]]))
///     .anchor(place.clone())
///     .pipeline({
///         let out = out.clone();
///         move |numbers| numbers.map(|n| n * 2).to(out.sink())
///     })
///     .run()
///     .await?;
/// let mut doubles = out.values();
/// doubles.sort();
/// assert_eq!(doubles, [2, 4, 6]);
/// assert_eq!((report.records_in(), report.decoded), (3, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a job does nothing until it is run"]
pub struct Job<S = (), A = (), P = ()> {
    source: S,
    anchor: A,
    pipeline: P,
    setup: Setup,
}

impl<S, A, P> fmt::Debug for Job<S, A, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup { name, settings, .. } = &self.setup;
        f.debug_struct("Job").field("name", name).field("settings", settings).finish()
    }
}

impl Job {
    /// A job of this name, under which positions and state are kept: see [`JobName`].
    ///
    /// Nothing that is set of a job is refused at once. What cannot be used, be it the name, a setting, an
    /// operator's or a sink's, is reported when the job is [run](Self::run), before anything is connected or
    /// read: all of it, in one error.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self { source: (), anchor: (), pipeline: (), setup: Setup::new(name.as_ref()) }
    }
}

impl<A, P> Job<(), A, P> {
    /// What is read.
    pub fn source<S: Source>(self, source: S) -> Job<S, A, P> {
        let Self { source: (), anchor, pipeline, setup } = self;
        Job { source, anchor, pipeline, setup }
    }
}

impl<S, P> Job<S, (), P> {
    /// The place of results, state and positions.
    pub fn anchor<A: Anchor>(self, anchor: A) -> Job<S, A, P> {
        let Self { source, anchor: (), pipeline, setup } = self;
        Job { source, anchor, pipeline, setup }
    }
}

impl<S, A> Job<S, A, ()> {
    /// What becomes of the records. The closure is called once for each task that this instance gets, and
    /// must build the same operators each time.
    pub fn pipeline<P>(self, pipeline: P) -> Job<S, A, P>
    where
        S: Source<Batch: Batch>,
        P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
    {
        let Self { source, anchor, pipeline: (), setup } = self;
        Job { source, anchor, pipeline, setup }
    }
}

impl<S, A, P> Job<S, A, P> {
    /// The job's account, to be looked at while it runs, or after it ended with an error.
    #[must_use]
    pub fn account(&self) -> Account {
        self.setup.account.clone()
    }

    /// Whether the job is alive and ready, to be asked from anywhere while it runs, such as by the probes of
    /// an orchestrator.
    #[must_use]
    pub fn health(&self) -> Health {
        self.setup.health.clone()
    }

    /// The longest time from a record's arrival to its commit, as far as the place can follow. With
    /// little traffic it commits sooner. Default 100 ms.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.setup.settings.commit_interval = interval;
        self
    }

    /// The most rows of an epoch, as far as it can be cut.
    #[cfg(feature = "testing")]
    pub(crate) fn most_rows(mut self, most: usize) -> Self {
        self.setup.settings.most_rows = most;
        self
    }

    /// How long a record waits for others to be committed with. Default 5 ms.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.setup.settings.linger = linger;
        self
    }

    /// How long a partition must be proved to stand at its end before its event time goes on with the
    /// wall clock, so that the last windows close. Default 10 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.setup.settings.idle_timeout = timeout;
        self
    }

    /// How far a record's event time may be ahead of the wall clock; one further ahead becomes a dead
    /// letter, since it would drag the watermark along and make all others late. Default: one hour; `None` is no
    /// bound, for a pipeline that does not look at time. Without meaning in a run
    /// [`until_end`](Self::until_end), whose results depend on the records alone; of a source that [ends by
    /// itself](crate::source::Source::is_bounded) only if it is set.
    pub fn max_ahead(mut self, most: impl Into<Option<Duration>>) -> Self {
        self.setup.settings.max_ahead = Some(most.into());
        self
    }

    /// Reads what is there when the job starts, then closes all windows as if time had ended, commits
    /// and returns. Default: goes on.
    pub fn until_end(mut self, until_end: bool) -> Self {
        self.setup.settings.until_end = until_end;
        self
    }

    /// How long the servers may be away when the job starts. Later it waits for as long as it takes.
    /// Default 30 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.setup.settings.connect_timeout = timeout;
        self
    }

    /// How long the last commits may take when the job is stopped. Default 5 s.
    pub fn stop_deadline(mut self, deadline: Duration) -> Self {
        self.setup.settings.stop_deadline = deadline;
        self
    }

    /// The largest share of the input, from 0 to 1, that may be late: records of class
    /// [`late`](Report::late) and those used though behind the watermark. Default: any.
    ///
    /// A job that reads [`until_end`](Self::until_end) is judged when it has read and committed everything;
    /// one that goes on once a minute by its last ten minutes, unless fewer than 100 records were committed in
    /// them, and by its whole run when it is stopped. A job with more ends with a permanent error that has the
    /// figures; what was committed stays.
    pub fn max_late(mut self, share: impl Into<Option<f64>>) -> Self {
        self.setup.settings.most.late = share.into();
        self
    }

    /// The largest share of the input, from 0 to 1, that may be dead letters for another reason than being
    /// late. Judged as [`max_late`](Self::max_late). Default: any.
    pub fn max_bad(mut self, share: impl Into<Option<f64>>) -> Self {
        self.setup.settings.most.bad = share.into();
        self
    }

    /// The names of the job's instances, the same list in all processes. Each process takes a name that nobody has, and
    /// runs under it; the source gives it what the group had assigned to that name. A process that finds none
    /// stands by: it has looked at what it needs, reads nothing, and takes the name of an instance whose
    /// heartbeat stops, after [`failover_after`](Self::failover_after). So there are as many instances at work as names,
    /// and the processes beyond them are spare.
    ///
    /// The heartbeats are in the place, and are judged by the monotonic clock of who waits for them. Should an instance
    /// be taken for gone that was only slow, it is fenced, drops what it has not committed, and stands by in turn:
    /// nothing is lost or doubled. It takes none again for some seconds, and longer each time.
    ///
    /// Without names, which is the default, each process is a member of the group, and of one that was killed the group
    /// learns by its session time-out. A place that does not say where partitions stand
    /// ([`Anchor::probe`]), such as Kafka, cannot have names.
    ///
    /// # Errors
    /// [`run`](Self::run) ends with a configuration error if a name is given twice, or is not one of up to 249 ASCII
    /// letters, digits, `.`, `_` and `-`, or if the source has a name for this instance of its own.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let job = rtbflow::Job::new("clicks")
    ///     .instances(["clicks-a", "clicks-b"])
    ///     .failover_after(Duration::from_secs(1));
    /// assert!(format!("{job:?}").contains("clicks"));
    /// ```
    pub fn instances<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(|name| Arc::from(name.as_ref()));
        self.setup.instances.names = names.collect();
        self
    }

    /// For how long an instance's heartbeat must be missing until another process takes its name, 200 ms at least.
    /// Heartbeats are a quarter of it apart. Where they were seen to take longer, since the place is slow, twice that
    /// is waited, up to eight times this. Without meaning unless there are [names](Self::instances). Default
    /// 600 ms.
    pub fn failover_after(mut self, silence: Duration) -> Self {
        self.setup.instances.silence = silence;
        self
    }

    /// The operator that is now called `new` was called `old`: what is kept under the old name becomes its
    /// state, and is kept under the new one from the first epoch that changes it, or soon after. May be said
    /// for as long as instances of the old program are about, and left out when nothing is kept under the old
    /// name any more. An instance of the old program cannot take the state back.
    ///
    /// # Errors
    /// [`run`](Self::run) ends with a configuration error if the pipeline has no operator `new`, or still has
    /// one called `old`.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> rtbflow::Result<()> {
    /// let job = rtbflow::Job::new("clicks").renamed("windows", "clicks-per-ad").removed("repeats");
    /// assert!(format!("{job:?}").contains("clicks"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn renamed(mut self, old: &str, new: &str) -> Self {
        self.setup.renames.add(old, Some(new));
        self
    }

    /// The operator called `old` is gone for good, and so is what is kept of it: results that would have come
    /// of that never come. If they should, run the program that has the operator to its end first
    /// ([`until_end`](Self::until_end)), which closes what is open.
    ///
    /// # Errors
    /// [`run`](Self::run) ends with a configuration error if the pipeline still has an operator called `old`.
    pub fn removed(mut self, old: &str) -> Self {
        self.setup.renames.add(old, None);
        self
    }

    /// The clock; the system's by default.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.setup.clock = Arc::new(clock);
        self
    }

    /// Writes what sinks stage for another place than the anchor's, before each commit.
    pub fn writer(mut self, writer: impl Writer) -> Self {
        self.setup.writers.push(Arc::new(writer));
        self
    }

    /// Sends records that cannot be used to a dead-letter topic. Without it they are skipped and
    /// counted.
    pub fn dead_letters(mut self, to: impl DeadLetters) -> Self {
        self.setup.dead_letters = Some(Arc::new(to));
        self
    }

    /// Ends the job with an error that names the first record that cannot be used; nothing beyond it
    /// is committed.
    pub fn fail_on_bad_records(mut self) -> Self {
        self.setup.fails_on_bad_records = true;
        self
    }
}
