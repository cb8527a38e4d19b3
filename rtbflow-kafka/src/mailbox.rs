//! What others ask of the reading thread: one slot for each kind of message, so that nothing piles up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};

use rtbflow::epoch::Position;
use rtbflow::{Error, Partition};

use crate::ends::{Changed, Ends};

/// The slots, and the thread that reads them.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    reader: OnceLock<Thread>,
    slots: Mutex<Slots>,
}

/// Positions to begin at, and the assignment that they are for.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) generation: u64,
    pub(crate) positions: Vec<(Partition, Position)>,
}

/// What lies in the mailbox.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// Positions for the newest assignment.
    pub(crate) begin: Option<Begin>,
    /// The newest answer about the ends.
    pub(crate) ends: Option<Ends>,
    /// The newest committed offset of each partition.
    pub(crate) committed: BTreeMap<Partition, i64>,
    /// The newest assignment whose revocation was answered.
    pub(crate) released: u64,
    /// What is not any more as it was when the source was opened.
    pub(crate) changed: Option<Changed>,
    /// A question that no broker will ever answer.
    pub(crate) refused: Option<Error>,
    /// The number of the last look at the topics that somebody wanted.
    pub(crate) looked: u64,
    /// Leave and end.
    pub(crate) close: bool,
    /// For so many rounds nothing is forwarded.
    #[cfg(test)]
    pub(crate) faults: u32,
    /// Whether fetching is to stop or to go on, until that is done.
    #[cfg(test)]
    pub(crate) fetches: Option<bool>,
}

impl Mailbox {
    /// Makes the calling thread the one that is woken.
    pub(crate) fn read_by_this_thread(&self) {
        // A mailbox has one reader, which calls this once.
        let _ = self.reader.set(thread::current());
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the reader.
    pub(crate) fn wake(&self) {
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }

    /// Changes the slots and wakes the reader.
    pub(crate) fn put(&self, change: impl FnOnce(&mut Slots)) {
        change(&mut self.slots());
        self.wake();
    }

    /// Reads or empties slots; must be quick.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Slots) -> T) -> T {
        look(&mut self.slots())
    }
}
