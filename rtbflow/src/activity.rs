//! What a task loop and its operators and sinks know of each other: how much waits for a barrier, whether one
//! is under way, and which watermark makes results due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use crate::time::Timestamp;

/// How much waits for a barrier in the operators and sinks of a task, how much may, and when a barrier is
/// wanted at the latest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiting: AtomicUsize,
    /// How much may wait before the chain stops for a barrier.
    most: AtomicUsize,
    /// Whether a barrier is under way: nothing that is before it may stop.
    open: AtomicBool,
    /// How many barriers have set out.
    sent: AtomicU64,
    /// Whether an end of the chain stopped though there may be more.
    stopped: AtomicBool,
    /// Whether an operator in the middle of its results waits for the barrier.
    awaited: AtomicBool,
    wake_ms: AtomicI64,
    due_ms: AtomicI64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
            open: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            wake_ms: AtomicI64::new(i64::MAX),
            due_ms: AtomicI64::new(i64::MAX),
        }
    }
}

impl Activity {
    /// Something more waits. Whether that is enough: the chain stops until a barrier has set out.
    pub(crate) fn add(&self, count: usize) -> bool {
        self.0.waiting.fetch_add(count, Ordering::Relaxed);
        self.is_full()
    }

    /// What waits now.
    pub(crate) fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Says how much may wait.
    pub(crate) fn limit(&self, most: usize) {
        self.0.most.store(most, Ordering::Relaxed);
    }

    /// How much may wait.
    pub(crate) fn most(&self) -> usize {
        self.0.most.load(Ordering::Relaxed)
    }

    /// Whether enough waits that the chain stops until a barrier has set out.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting() >= self.most() && !self.0.open.load(Ordering::Relaxed)
    }

    /// How much more may wait before the chain stops.
    pub(crate) fn room(&self) -> usize {
        match self.0.open.load(Ordering::Relaxed) {
            true => usize::MAX,
            // A portion may have been larger than the room for it.
            false => self.most().saturating_sub(self.waiting()),
        }
    }

    /// A barrier is wanted at this time by the wall clock.
    pub(crate) fn wake_at(&self, wall_clock: Timestamp) {
        self.0.wake_ms.fetch_min(wall_clock.as_millis(), Ordering::Relaxed);
    }

    /// When a barrier is wanted by the wall clock.
    pub(crate) fn wakes(&self) -> Timestamp {
        Timestamp::from_millis(self.0.wake_ms.load(Ordering::Relaxed))
    }

    /// A barrier sets out: it takes what waits along, and whoever wants another one at a time says so as it
    /// passes.
    pub(crate) fn send(&self) {
        self.0.waiting.store(0, Ordering::Relaxed);
        self.0.wake_ms.store(i64::MAX, Ordering::Relaxed);
        self.0.open.store(true, Ordering::Relaxed);
        self.0.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// The barrier that set out has passed the whole chain.
    pub(crate) fn passed(&self) {
        self.0.open.store(false, Ordering::Relaxed);
    }

    /// How many barriers have set out.
    #[inline]
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// An end of the chain stops though there may be more: enough waits, or a barrier has passed.
    pub(crate) fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether an end has stopped since this was last asked.
    pub(crate) fn take_stopped(&self) -> bool {
        self.0.stopped.swap(false, Ordering::Relaxed)
    }

    /// Says whether an operator in the middle of its results waits for the barrier: those before it emit nothing
    /// at it that they may emit at the next one.
    pub(crate) fn await_barrier(&self, awaited: bool) {
        self.0.awaited.store(awaited, Ordering::Relaxed);
    }

    /// Whether one waits for it.
    pub(crate) fn is_barrier_awaited(&self) -> bool {
        self.0.awaited.load(Ordering::Relaxed)
    }

    /// Results are due at this watermark: it is to come alone, and not with the record behind it, so that a
    /// barrier can pass before the last of them is emitted.
    pub(crate) fn due_at(&self, watermark: i64) {
        self.0.due_ms.fetch_min(watermark, Ordering::Relaxed);
    }

    /// Whether results may be due at this watermark.
    #[inline]
    pub(crate) fn is_due(&self, watermark: Timestamp) -> bool {
        watermark.as_millis() >= self.0.due_ms.load(Ordering::Relaxed)
    }

    /// A watermark goes out alone: whoever it reaches says anew what is due.
    pub(crate) fn alone(&self) {
        self.0.due_ms.store(i64::MAX, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_stops_when_enough_waits_until_a_barrier_sets_out() {
        let activity = Activity::default();
        assert!(!activity.add(1_000), "without a job there is no limit");
        activity.limit(3);
        activity.send();
        assert!(!activity.add(7), "what is before the barrier goes on");
        activity.passed();
        assert!(activity.is_full() && activity.room() == 0);
        activity.send();
        activity.passed();
        assert_eq!((activity.add(2), activity.room(), activity.add(1)), (false, 1, true));
    }
}
