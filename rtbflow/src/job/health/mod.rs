//! Whether a job is alive and can do its work, for whoever watches it from outside.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// How long the job's own loop may be silent before the job counts as stuck. It is longer than any single
/// wait of the loop, which all have deadlines.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);
/// How long one attempt to commit may take before the job counts as not ready.
const LONGEST_COMMIT: Duration = Duration::from_secs(5);

/// After this long without a commit the place is asked whether it is there, again and again.
const QUIET: Duration = Duration::from_secs(3);

/// Whether a job is alive and can do its work: see [`Job::health`](crate::job::Job::health). A clone is
/// another handle on the same job.
///
/// The two questions are those of an orchestrator's probes. One that answers an unhealthy
/// [`live`](Self::live) by a restart, and an unhealthy [`ready`](Self::ready) by waiting and by an alarm,
/// does the right thing: no restart brings back a server that is away.
///
/// # Examples
/// ```
/// use rtbflow::Job;
///
/// let job = Job::new("doubles")?;
/// let health = job.health();
/// assert!(health.live().is_ok());
/// assert!(health.ready().is_err_and(|why| why.reason().contains("not started")));
/// # Ok::<(), rtbflow::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

/// Why a job is not alive or not ready, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unhealthy(String);

impl Unhealthy {
    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    tasks: Tasks,
    /// Tasks of them whose state is still being restored.
    restoring: usize,
    /// When the attempts to commit began that are under way.
    attempts: Vec<Instant>,
    /// Since when commits fail, and how they did last.
    failing: Option<(Instant, String)>,
    /// Why the place did not answer when it was asked last, while there was nothing to commit.
    unreached: Option<String>,
    /// When the last commit was, or the job began.
    committed: Option<Instant>,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    New,
    /// It does this before it runs, and failed so when it tried last.
    Starting(&'static str, Option<String>),
    /// It runs, and its loop turned last at this time.
    Running(Instant),
    /// It has ended, in order or with an error.
    Ended(Option<String>),
}

/// What the source has assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tasks {
    /// Nothing was heard yet, or everything was revoked and no new assignment has come.
    #[default]
    Awaited,
    /// The positions of the first assignment are being claimed.
    Claiming,
    /// This instance has these many; with none it stands by for the others.
    Held(usize),
}

impl Phase {
    /// Whether the job runs.
    fn runs(&self) -> Result<(), Unhealthy> {
        match self {
            Self::New => Err(unhealthy(format_args!("the job has not started"))),
            Self::Starting(doing, None) => Err(unhealthy(format_args!("starting: {doing}"))),
            Self::Starting(doing, Some(error)) => {
                Err(unhealthy(format_args!("starting: {doing}: {error}")))
            }
            Self::Ended(error) => Err(ended(error.as_deref())),
            Self::Running(_) => Ok(()),
        }
    }
}

impl State {
    /// Whether it has a task whose state is there, or stands by.
    fn can_commit(&self) -> Result<(), Unhealthy> {
        match self.tasks {
            Tasks::Awaited => Err(unhealthy(format_args!(
                "no task is assigned yet: the source has not said what this instance has to read"
            ))),
            Tasks::Claiming => Err(unhealthy(format_args!(
                "the positions of the assigned tasks are being claimed"
            ))),
            Tasks::Held(tasks) if tasks > 0 && self.restoring >= tasks => {
                Err(unhealthy(format_args!("the state of {tasks} tasks is being restored")))
            }
            Tasks::Held(_) => Ok(()),
        }
    }
}

/// Held while the state of a task is restored.
#[derive(Debug)]
pub(crate) struct Restoring(Health);

impl Drop for Restoring {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // Each of these has added one.
        state.restoring -= 1;
    }
}

/// Held while an attempt to commit is under way.
#[derive(Debug)]
pub(crate) struct Attempt(Health, Instant);

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // One that began before the last start of the job is not counted any more.
        if let Some(at) = state.attempts.iter().position(|began| *began == self.1) {
            state.attempts.swap_remove(at);
        }
    }
}

impl Health {
    /// Whether the job does not need to be restarted: it has not ended, and its own loop turns. A server
    /// that is away makes no job unhealthy in this sense, since it goes on by itself.
    ///
    /// # Errors
    /// With the reason if it does.
    pub fn live(&self) -> Result<(), Unhealthy> {
        match &self.lock().phase {
            Phase::New | Phase::Starting(..) => Ok(()),
            Phase::Running(turned) => match turned.elapsed() {
                silent if silent > LONGEST_SILENCE => Err(unhealthy(format_args!(
                    "the job's loop has not turned for {} s: it is stuck, restart it",
                    silent.as_secs()
                ))),
                _ => Ok(()),
            },
            Phase::Ended(error) => Err(ended(error.as_deref())),
        }
    }

    /// Whether the job can commit: its place was reached, the source has assigned what this instance has to
    /// do, the state of at least one task is restored, and neither does the last attempt to commit stand
    /// as failed nor has one been under way for more than 5 s.
    ///
    /// An instance that was assigned no task, since there are more instances than tasks, is ready: it stands
    /// by. While there is nothing to commit, the place is [asked](crate::epoch::Anchor::probe) whether it is there.
    ///
    /// # Errors
    /// With the reason if it cannot commit now.
    pub fn ready(&self) -> Result<(), Unhealthy> {
        let state = self.lock();
        state.phase.runs()?;
        if let Some((since, error)) = &state.failing {
            let seconds = since.elapsed().as_secs();
            return Err(unhealthy(format_args!("commits have failed for {seconds} s: {error}")));
        }
        if let Some(error) = &state.unreached {
            return Err(unhealthy(format_args!("the place does not answer: {error}")));
        }
        if let Some(taken) = state.attempts.iter().min().map(Instant::elapsed)
            && taken > LONGEST_COMMIT
        {
            return Err(unhealthy(format_args!(
                "a commit has been under way for {} s without an answer",
                taken.as_secs()
            )));
        }
        state.can_commit()
    }

    /// How long ago the last commit was; before the first, how long ago the job began. `None` before that.
    #[must_use]
    pub fn commit_age(&self) -> Option<Duration> {
        self.lock().committed.map(|at| at.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job does this before it runs.
    pub(crate) fn starting(&self, doing: &'static str) {
        let mut state = self.lock();
        state.phase = Phase::Starting(doing, None);
        (state.tasks, state.failing) = (Tasks::Awaited, None);
        state.attempts.clear();
        state.unreached = None;
        state.committed.get_or_insert_with(Instant::now);
    }

    /// What it does before it runs has failed, and is tried again.
    pub(crate) fn not_started(&self, error: &Error) {
        // A job that has ended meanwhile says why that was.
        if let Phase::Starting(_, last) = &mut self.lock().phase {
            *last = Some(error.report());
        }
    }

    /// The job's loop turns.
    pub(crate) fn turned(&self, tasks: Tasks) {
        let mut state = self.lock();
        state.phase = Phase::Running(Instant::now());
        state.tasks = tasks;
    }

    /// The state of a task is being restored until the answer is dropped.
    pub(crate) fn restoring(&self) -> Restoring {
        self.lock().restoring += 1;
        Restoring(self.clone())
    }

    /// Whether nothing says at the moment whether the place is there.
    pub(crate) fn is_quiet(&self) -> bool {
        let state = self.lock();
        let quiet = state.committed.is_some_and(|at| at.elapsed() >= QUIET);
        let runs = matches!(state.phase, Phase::Running(_));
        runs && quiet && state.attempts.is_empty() && state.failing.is_none()
    }

    /// The place was asked whether it is there, and did or did not answer.
    pub(crate) fn probed(&self, error: Option<&Error>) {
        self.lock().unreached = error.map(Error::report);
    }

    /// An attempt to commit is under way until the answer is dropped.
    pub(crate) fn commits(&self) -> Attempt {
        let began = Instant::now();
        self.lock().attempts.push(began);
        Attempt(self.clone(), began)
    }

    /// An attempt to commit has failed, and is made again.
    pub(crate) fn not_committed(&self, error: &Error) {
        let mut state = self.lock();
        let since = state.failing.take().map_or_else(Instant::now, |(since, _)| since);
        state.failing = Some((since, error.report()));
    }

    /// An attempt to commit has failed, and is made again, while others are committed.
    pub(crate) fn one_not_committed(&self, error: &Error) {
        if self.commit_age().is_none_or(|age| age >= LONGEST_COMMIT) {
            self.not_committed(error);
        }
    }

    /// An attempt to commit has succeeded.
    pub(crate) fn committed(&self) {
        let mut state = self.lock();
        (state.failing, state.unreached) = (None, None);
        state.committed = Some(Instant::now());
    }

    /// The job has ended.
    pub(crate) fn ended(&self, error: Option<&Error>) {
        self.lock().phase = Phase::Ended(error.map(Error::report));
    }
}

fn unhealthy(reason: fmt::Arguments<'_>) -> Unhealthy {
    Unhealthy(reason.to_string().replace(['\n', '\r'], " "))
}

fn ended(error: Option<&str>) -> Unhealthy {
    match error {
        Some(error) => unhealthy(format_args!("the job has ended with an error: {error}")),
        None => unhealthy(format_args!("the job has ended")),
    }
}

#[cfg(test)]
mod tests;
