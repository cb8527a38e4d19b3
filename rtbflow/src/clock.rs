//! The clock: the one place that reads the wall clock.

use std::fmt;
use std::time::SystemTime;

use crate::Timestamp;

/// Tells the wall-clock time. A job takes one, so that tests and simulations can move it by hand.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall-clock time now.
    fn now(&self) -> Timestamp;
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
}
