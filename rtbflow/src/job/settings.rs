//! The settings of a job beside its pipeline.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::job::share::Most;

/// Bounds and deadlines of a job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) commit_interval: Duration,
    pub(crate) linger: Duration,
    pub(crate) idle_timeout: Duration,
    /// `None` if nothing is said of it.
    pub(crate) max_ahead: Option<Option<Duration>>,
    pub(crate) until_end: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) stop_deadline: Duration,
    /// How much of the input may be late or bad.
    pub(crate) most: Most,
    pub(crate) most_records: u64,
    pub(crate) most_rows: usize,
    /// Of batches that are held, by all tasks together.
    pub(crate) most_bytes: usize,
}

/// How far a record may be ahead of the wall clock where nothing is said of it.
const MAX_AHEAD: Duration = Duration::from_hours(1);

impl Settings {
    /// How far a record may be ahead of the wall clock, for a source that ends by itself or not.
    pub(crate) fn max_ahead(&self, is_bounded: bool) -> Option<Duration> {
        let unless_said = if is_bounded { None } else { Some(MAX_AHEAD) };
        self.max_ahead.unwrap_or(unless_said).filter(|_| !self.until_end)
    }

    /// Whether they can be used.
    ///
    /// # Errors
    /// With all that is wrong.
    pub(crate) fn validate(&self) -> Result<()> {
        let Most { late, bad } = self.most;
        Error::all([("max_late", late), ("max_bad", bad)].map(|(name, share)| {
            match share.filter(|share| !(0.0..=1.0).contains(share)) {
                None => Ok(()),
                Some(share) => Err(Error::config(format!(
                    "set `{name}` to {share}: it is a share of the input; give a number from 0 to 1"
                ))),
            }
        }))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            commit_interval: Duration::from_millis(100),
            linger: Duration::from_millis(5),
            idle_timeout: Duration::from_secs(10),
            max_ahead: None,
            until_end: false,
            connect_timeout: Duration::from_secs(30),
            stop_deadline: Duration::from_secs(5),
            most: Most::default(),
            most_records: 50_000,
            most_rows: 10_000,
            most_bytes: 48 << 20,
        }
    }
}
