//! The wall clock of an instance, which somebody may set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::testing::TokioClock;
use crate::testing::sim::fault::FaultKind;
use crate::testing::sim::life::Life;
use crate::time::Timestamp;

/// By how much it is set, either way.
const JUMP_MS: i64 = 3_600_000;

/// A clock that goes on as tokio's time does, and jumps when it is set.
#[derive(Debug, Clone)]
pub(crate) struct WallClock {
    clock: TokioClock,
    ahead_ms: Arc<AtomicI64>,
}

impl WallClock {
    /// The clock of one life: in some it is set by an hour, either way, after a while.
    pub(crate) fn new(clock: TokioClock, life: &Life) -> Self {
        let ahead_ms = Arc::new(AtomicI64::new(0));
        let what = "by an hour";
        if let Some(mut draw) = life.chance.strikes_one_in(6, FaultKind::Clock, &life.name, what) {
            let by = if draw.one_in(2) { JUMP_MS } else { -JUMP_MS };
            let (ahead_ms, time) = (Arc::clone(&ahead_ms), draw.millis(5_000));
            let set = async move {
                tokio::time::sleep(time).await;
                ahead_ms.store(by, Ordering::Relaxed);
            };
            drop(tokio::spawn(set));
        }
        Self { clock, ahead_ms }
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_ms.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        if ahead < 0 { self.clock.now() - by } else { self.clock.now() + by }
    }

    fn steady(&self) -> Duration {
        // Whoever sets the wall clock does not set this one.
        self.clock.steady()
    }
}
