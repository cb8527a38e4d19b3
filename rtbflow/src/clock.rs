//! The clock: the one place that reads the wall clock.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use crate::Timestamp;

/// Tells the wall-clock time. A job takes one, so that tests and simulations can move it by hand.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall-clock time now.
    fn now(&self) -> Timestamp;

    /// How much time has passed since some moment, which stays the same while the program runs: nobody sets this
    /// clock, so it measures how long something lasts where the wall clock is corrected meanwhile. By the wall
    /// clock unless overridden.
    fn steady(&self) -> Duration {
        self.now().since(Timestamp::from_millis(0))
    }
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the real clock")]
    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Timestamp::from_millis(0) + since,
            Err(before) => Timestamp::from_millis(0) - before.duration(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the real clock")]
    fn steady(&self) -> Duration {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGAN.elapsed()
    }
}
