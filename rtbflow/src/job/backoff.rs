//! Waiting between attempts, with a log line that says for what and for how long.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// Waits longer after each failure, up to a few seconds, and says so.
#[derive(Debug)]
pub(crate) struct Backoff {
    since: Option<Instant>,
    next: Duration,
    told: Option<Instant>,
}

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
/// A log line at most this often.
const TELL_EVERY: Duration = Duration::from_secs(5);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { since: None, next: FIRST, told: None }
    }

    /// How long it has failed by now.
    pub(crate) fn failing_for(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Waits after a failure.
    pub(crate) async fn wait(&mut self, what: &str, error: &Error) {
        let now = Instant::now();
        self.since.get_or_insert(now);
        if self.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY) {
            self.told = Some(now);
            let seconds = self.failing_for().as_secs();
            tracing::warn!(error = %error.report(), failing_for_s = seconds, "{what}: trying again");
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST);
    }

    /// It succeeded.
    pub(crate) fn succeeded(&mut self, what: &str) {
        if self.since.is_some() {
            tracing::info!(failed_for_s = self.failing_for().as_secs(), "{what}: succeeded again");
        }
        *self = Self::new();
    }
}
