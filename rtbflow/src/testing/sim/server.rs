//! The server behind a place, which treats all instances alike: it may need time for each row, for a while it may
//! refuse everything by right or say nothing at all, and what one session has locked others wait for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::epoch::Epoch;
use crate::error::{Error, ErrorKind, Result};
use crate::position::Task;
use crate::testing::sim::chance::Chance;
use crate::testing::sim::fault::FaultKind;

/// The name under which its faults are reported.
const SERVER: &str = "the place";
/// What it says while it refuses everything.
const NO_RIGHT: &str = "this user has no right to do that";

/// How long a call waits for an answer or a lock.
const ANSWER: Duration = Duration::from_millis(1_500);

/// The server of a place. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Server(Arc<State>);

#[derive(Debug)]
struct State {
    /// What it takes for each row, from the first to the last moment: no end of the storm makes it faster.
    a_row: Duration,
    refusal: Option<Outage>,
    silence: Option<Outage>,
    /// What sessions have locked, and until when.
    locks: Mutex<BTreeMap<Task, Instant>>,
    /// Whether it has a step for each task alone.
    apart: bool,
    chance: Chance,
}

#[derive(Debug)]
struct Outage {
    from: Instant,
    to: Instant,
    kind: ErrorKind,
}

impl Server {
    pub(crate) fn new(chance: &Chance) -> Self {
        let what = "from the first commit on, with each row";
        let slow = chance.strikes_one_in(4, FaultKind::Delay, SERVER, what);
        let a_row = slow.map_or(0, |mut slow| slow.pick([1, 10, 40, 100]));
        let what = "and takes nothing from anybody for a while";
        let refusal = chance.strikes_one_in(4, FaultKind::Error, SERVER, what).map(|mut draw| {
            let from = Instant::now() + draw.millis(6_000);
            let most = draw.pick([500, 8_000]);
            // Some ask again, some end with the error that they receive and are started again.
            let kind = draw.pick([ErrorKind::Transient, ErrorKind::Config]);
            Outage { from, to: from + draw.millis(most), kind }
        });
        let what = "and does not answer for a while";
        let silence = chance.strikes_one_in(4, FaultKind::Delay, SERVER, what).map(|mut draw| {
            let from = Instant::now() + draw.millis(6_000);
            let most = draw.pick([1_000, 40_000]);
            Outage { from, to: from + draw.millis(most), kind: ErrorKind::Transient }
        });
        let a_row = Duration::from_millis(a_row);
        let apart = chance.of(SERVER, "commits apart").one_in(3);
        let (locks, chance) = (Mutex::default(), chance.clone());
        Self(Arc::new(State { a_row, refusal, silence, locks, apart, chance }))
    }

    /// Whether the commits of different tasks are made at the same time.
    pub(crate) fn commits_apart(&self) -> bool {
        self.0.apart
    }

    /// What it needs to apply these.
    pub(crate) fn time(&self, epochs: &[Epoch]) -> Duration {
        let rows = |epoch: &Epoch| {
            epoch.staged.iter().map(|staged| staged.rows).sum::<usize>() + epoch.chunks.len()
        };
        let rows: usize = epochs.iter().map(rows).sum();
        self.0.a_row.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX))
    }

    /// A session keeps the positions of tasks locked, until then.
    pub(crate) fn lock(&self, tasks: impl IntoIterator<Item = Task>, until: Instant) {
        let mut locks = self.0.locks.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks {
            let at = locks.entry(task).or_insert(until);
            *at = until.max(*at);
        }
    }

    /// Waits until it answers and these tasks are not locked, for no longer than a call may take.
    ///
    /// # Errors
    /// If that time is up.
    pub(crate) async fn answers(&self, tasks: impl IntoIterator<Item = Task>) -> Result<()> {
        let now = Instant::now();
        let silent = self.0.silence.as_ref().filter(|silence| {
            (silence.from..silence.to).contains(&now) && !self.0.chance.is_calm()
        });
        let until = {
            let locks = self.0.locks.lock().unwrap_or_else(PoisonError::into_inner);
            let locked = tasks.into_iter().filter_map(|task| locks.get(&task).copied());
            locked.chain(silent.map(|silence| silence.to)).max()
        };
        let Some(until) = until.filter(|until| *until > now) else { return Ok(()) };
        tokio::time::sleep_until(until.min(now + ANSWER)).await;
        if until > now + ANSWER {
            return Err(Error::transient(format!("no answer in {ANSWER:?}")));
        }
        Ok(())
    }

    /// # Errors
    /// While it refuses everything.
    pub(crate) fn grants(&self, who: &str, what: &str) -> Result<()> {
        let now = Instant::now();
        match &self.0.refusal {
            Some(refusal)
                if (refusal.from..refusal.to).contains(&now) && !self.0.chance.is_calm() =>
            {
                self.0.chance.report(|| format!("{who} {what}: {NO_RIGHT}"));
                Err(Error::new(refusal.kind, format!("{what}: {NO_RIGHT}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether a life may end so: what is wrong for good has no place in a simulation, but for a right that is missing.
    pub(crate) fn may_end(life: &str, error: &Error) -> std::result::Result<(), String> {
        let is_wrong = matches!(error.kind(), ErrorKind::Config | ErrorKind::Permanent);
        if is_wrong && !error.report().contains(NO_RIGHT) {
            return Err(format!("{life} ended with {}", error.report()));
        }
        Ok(())
    }
}
