//! How much an instance holds of what was read, and which part of it each of its tasks may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a task may hold in any case: some batches.
const LEAST: usize = 2 << 20;
/// What it may hold where it is alone.
const MOST: usize = 32 << 20;

/// The bytes of batches that one task may hold, shared by all tasks of an instance. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct BatchLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    tasks: AtomicUsize,
}

impl BatchLimit {
    /// This much for all tasks together.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most, tasks: AtomicUsize::new(0) }))
    }

    /// This many tasks share it.
    pub(crate) fn share(&self, tasks: usize) {
        self.0.tasks.store(tasks, Ordering::Relaxed);
    }

    /// What one task may hold.
    pub(crate) fn bytes(&self) -> usize {
        (self.0.most / self.0.tasks.load(Ordering::Relaxed).max(1)).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_share_it_and_each_has_room_for_some_batches() {
        let limit = BatchLimit::new(64 << 20);
        assert_eq!(limit.bytes(), MOST, "there is no task yet");
        limit.share(8);
        assert_eq!(limit.clone().bytes(), 8 << 20);
        limit.share(1_000);
        assert_eq!(limit.bytes(), LEAST);
    }
}
