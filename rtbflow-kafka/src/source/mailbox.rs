//! Messages to the reading thread: one slot for each kind, so that nothing piles up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};

use rtbflow::epoch::{Position, TopicId};
use rtbflow::{Error, Partition, Timestamp, Topic};

use crate::client::offsets::Offsets;

/// An answer.
#[derive(Debug)]
pub(crate) struct EndOffsets {
    /// The wall-clock time before the request was sent.
    pub(crate) asked: Timestamp,
    /// The last stable offset of each partition, where it is known.
    pub(crate) ends: Offsets,
    /// The leader epoch of each partition.
    pub(crate) leader_epochs: BTreeMap<Partition, i32>,
    /// Where the partitions begin, if somebody wanted to know.
    pub(crate) starts: Option<StartOffsets>,
}

/// What an assignment has to know before it begins to read.
#[derive(Debug)]
pub(crate) struct StartOffsets {
    /// The assignment.
    pub(crate) generation: u64,
    /// The first offset of each partition.
    pub(crate) offsets: Offsets,
    /// The ids of the topics, where the brokers know ids.
    pub(crate) ids: BTreeMap<Topic, TopicId>,
    /// Where the log was cut below a position.
    pub(crate) cuts: Offsets,
}

/// What is not any more as it was when the source was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TopicChange {
    /// A topic has this many partitions now.
    Partitions(Topic, u32),
    /// A topic was deleted and made anew: its id, and the new one.
    Recreated(Topic, TopicId, TopicId),
}

/// The slots, and the thread that reads them.
#[derive(Debug, Default)]
pub(crate) struct ReaderMailbox {
    reader: OnceLock<Thread>,
    slots: Mutex<Slots>,
}

/// Positions to begin at, and the assignment that they are for.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) generation: u64,
    pub(crate) positions: Vec<(Partition, Position)>,
}

/// What is in the mailbox.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// Positions for the newest assignment.
    pub(crate) begin: Option<Begin>,
    /// The newest answer about the ends.
    pub(crate) ends: Option<EndOffsets>,
    /// The newest committed offset of each partition.
    pub(crate) committed: Offsets,
    /// The newest assignment whose revocation was answered.
    pub(crate) released: u64,
    /// What is not any more as it was when the source was opened.
    pub(crate) changed: Option<TopicChange>,
    /// The error of a request that no broker will ever answer.
    pub(crate) refused: Option<Error>,
    /// The number of the last check of the topics that was asked for.
    pub(crate) checked: u64,
    /// Leave and end.
    pub(crate) close: bool,
    /// For this many rounds nothing is forwarded.
    #[cfg(test)]
    pub(crate) faults: u32,
    /// Whether fetching is to stop or to go on, until that is done.
    #[cfg(test)]
    pub(crate) fetches: Option<bool>,
}

impl ReaderMailbox {
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
    pub(crate) fn update(&self, change: impl FnOnce(&mut Slots)) {
        change(&mut self.slots());
        self.wake();
    }

    /// Reads or empties slots; must be quick.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&mut Slots) -> T) -> T {
        read(&mut self.slots())
    }
}
