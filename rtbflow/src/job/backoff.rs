//! Waiting between attempts, with a log line that says for what and for how long.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result};

/// Waits longer after each failure, up to a few seconds, and says so.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    since: Option<Instant>,
    next: Duration,
    /// When the next log line is due.
    line_at: Option<Instant>,
}

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
/// The first log line comes at once, the second after this time, for whoever has just begun to look ...
const SECOND_LINE: Duration = Duration::from_secs(5);
/// ... and each further one after this time: an outage of a night is not to fill the log.
const LINE_EVERY: Duration = Duration::from_secs(60);

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { since: None, next: FIRST, line_at: None }
    }

    /// How long it has failed by now.
    pub(crate) fn failing_for(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Waits after a failure.
    pub(crate) async fn wait(&mut self, what: &str, error: &Error) {
        tokio::time::sleep(self.failed(what, error)).await;
    }

    /// It failed; returns how long to wait.
    pub(crate) fn failed(&mut self, what: &str, error: &Error) -> Duration {
        let now = Instant::now();
        self.since.get_or_insert(now);
        if self.line_at.is_none_or(|at| now >= at) {
            let pause = if self.line_at.is_none() { SECOND_LINE } else { LINE_EVERY };
            self.line_at = Some(now + pause);
            let seconds = self.failing_for().as_secs();
            tracing::warn!(error = %error.report(), failing_for_s = seconds, "{what}: trying again");
        }
        let pause = self.next;
        self.next = (self.next * 2).min(LONGEST);
        pause
    }

    /// It succeeded.
    pub(crate) fn succeeded(&mut self, what: &str) {
        if self.since.is_some() {
            tracing::info!(failed_for_s = self.failing_for().as_secs(), "{what}: succeeded again");
        }
        *self = Self::new();
    }
}

/// Tries again after transient errors, until the deadline if there is one.
pub(crate) async fn retried<T, F>(
    deadline: Option<Instant>,
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
{
    let mut backoff = Backoff::new();
    loop {
        let error = match attempt().await {
            Err(error) if error.is_transient() => error,
            answer => {
                backoff.succeeded(what);
                return answer;
            }
        };
        let Some(deadline) = deadline else {
            backoff.wait(what, &error).await;
            continue;
        };
        if timeout_at(deadline, backoff.wait(what, &error)).await.is_err() {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_of_ten_minutes_has_a_dozen_lines() {
        let (mut backoff, mut lines) = (Backoff::new(), 0);
        let error = Error::transient("commit to the place");
        while backoff.failing_for() < Duration::from_secs(600) {
            let before = backoff.line_at;
            backoff.wait("commit", &error).await;
            lines += usize::from(backoff.line_at != before);
        }
        assert!((10..=12).contains(&lines), "{lines}");
    }
}
