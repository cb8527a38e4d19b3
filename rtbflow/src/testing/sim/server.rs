//! The server behind a place, which treats all instances alike: it may need time for each row, and for a while
//! it may refuse everything by right.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::epoch::Epoch;
use crate::error::{Error, ErrorKind, Result};
use crate::testing::sim::chance::Chance;
use crate::testing::sim::fault::FaultKind;

/// The name under which its faults are reported.
const SERVER: &str = "the place";
/// What it says while it refuses everything.
const NO_RIGHT: &str = "this user has no right to do that";

/// The server of a place. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Server(Arc<State>);

#[derive(Debug)]
struct State {
    /// What it takes for each row, from the first to the last moment: no end of the storm makes it faster.
    a_row: Duration,
    refusal: Option<Outage>,
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
        let a_row = Duration::from_millis(a_row);
        let apart = chance.of(SERVER, "commits apart").one_in(3);
        Self(Arc::new(State { a_row, refusal, apart, chance: chance.clone() }))
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

    /// Whether an instance has ended since it had no right.
    pub(crate) fn has_refused(error: &Error) -> bool {
        error.report().contains(NO_RIGHT)
    }
}
