//! Clocks for tests: one that is moved by hand, and one that follows tokio's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::time::Timestamp;

/// A clock that stands still until it is moved. Clones show the same time.
///
/// ```
/// use std::time::Duration;
/// use rtbflow::Clock;
/// use rtbflow::testing::ManualClock;
/// use rtbflow::testing::builders::at;
///
/// let clock = ManualClock::new(at(1_000));
/// let of_the_job = clock.clone();
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(of_the_job.now(), at(6_000));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows this time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.as_millis())))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Sets it, forwards or backwards, as wall clocks are.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A wall clock that began at a fixed time and goes on as tokio's time does, which a test can pause:
/// then a whole job runs in virtual time.
///
/// ```
/// use std::time::Duration;
/// use rtbflow::Clock;
/// use rtbflow::testing::TokioClock;
/// use rtbflow::testing::builders::at;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let clock = TokioClock::new(at(1_000));
/// tokio::time::sleep(Duration::from_secs(3_600)).await;
/// assert_eq!(clock.now(), at(3_601_000));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start: Timestamp,
    began: Instant,
}

impl TokioClock {
    /// A clock that shows this time now.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { start, began: Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.start + self.began.elapsed()
    }
}
