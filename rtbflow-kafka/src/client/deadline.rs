//! Deadlines on the real, monotonic clock: what waits for a broker cannot wait in virtual time.

use std::time::{Duration, Instant};

/// A point in real time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(Instant);

impl Moment {
    /// This one.
    pub(crate) fn now() -> Self {
        Self(Deadline::now())
    }

    /// How long after an earlier one it is.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// One that comes later.
    #[cfg(test)]
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.checked_add(duration).unwrap_or(self.0))
    }
}

/// A point in real time by which something has to have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "brokers answer in real time only")]
    fn now() -> Instant {
        Instant::now()
    }

    /// This much time from now, 20 days at most: librdkafka counts 24, and who waits for longer waits for ever.
    pub(crate) fn after(duration: Duration) -> Self {
        const LONGEST: Duration = Duration::from_secs(20 * 24 * 3600);
        let now = Self::now();
        // No clock is that near to its end.
        Self(now.checked_add(duration.min(LONGEST)).unwrap_or(now))
    }

    /// What is left of the time.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Self::now())
    }

    /// Whether it is over.
    pub(crate) fn is_over(self) -> bool {
        self.left().is_zero()
    }
}
