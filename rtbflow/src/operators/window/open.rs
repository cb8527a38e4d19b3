//! A window that is open: its keys in order of arrival, and what changed since the last barrier.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::operators::Snapshot;
use crate::operators::window::aggregate::Aggregate;
use crate::operators::window::early::EarlyResults;
use crate::operators::window::span::Window;
use crate::record::Record;
use crate::state::{Bucket, ChunkReader, Format};
use crate::table::Table;
use crate::time::Timestamp;

/// A window that has not ended for good.
pub(crate) struct Open<K, S> {
    pub(crate) window: Window,
    /// Whether the watermark has passed its end.
    pub(crate) passed: bool,
    /// If it is kept and still to be emitted: how many of its entries were, the first ones.
    pub(crate) unput: Option<usize>,
    pub(crate) keys: Table<K, Slot<S>>,
    /// Entries before `fresh` that changed since the last barrier, by their number.
    pub(crate) changed: Vec<usize>,
    /// Entries from this number on are new since the last barrier.
    pub(crate) fresh: usize,
    /// Entries with something that was not emitted early.
    pub(crate) unseen: Vec<usize>,
    pub(crate) bucket: Bucket,
    /// Whether the place has anything of it.
    pub(crate) logged: bool,
}

/// What a key has in it.
pub(crate) struct Slot<S> {
    pub(crate) state: S,
    /// How many records were not emitted early.
    pub(crate) unseen_count: u32,
    pub(crate) changed: bool,
}

impl<K: Hash + Eq, S> Open<K, S> {
    /// Adds a record of a key; returns the key's number.
    #[inline]
    pub(crate) fn add<T, A>(&mut self, key: K, record: &Record<T>, aggregate: &A) -> usize
    where
        A: Aggregate<T, State = S>,
    {
        let empty = || Slot { state: aggregate.empty(), unseen_count: 0, changed: true };
        let (position, slot) = self.keys.entry(key, empty);
        let Some(slot) = slot else {
            Error::broken("a key was not added to its window").spoil_epoch();
            return position;
        };
        aggregate.add(&mut slot.state, record);
        if !slot.changed {
            slot.changed = true;
            self.changed.push(position);
        }
        position
    }
}

impl<K, S> Open<K, S> {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            passed: false,
            unput: None,
            keys: Table::default(),
            changed: Vec::new(),
            fresh: 0,
            unseen: Vec::new(),
            bucket: Bucket::default(),
            logged: false,
        }
    }
}

impl<K: Hash + Eq, S> Open<K, S> {
    fn change_count(&self) -> usize {
        self.changed.len() + self.keys.len() - self.fresh
    }

    /// What changed was handed over.
    fn unchanged(&mut self) {
        let fresh = std::mem::replace(&mut self.fresh, self.keys.len());
        for position in self.changed.drain(..).chain(fresh..self.keys.len()) {
            match self.keys.at_mut(position) {
                Some(slot) => slot.changed = false,
                None => Error::broken("a key has changed that is not in its window").spoil_epoch(),
            }
        }
    }
}

impl<K, S> Open<K, S>
where
    K: Hash + Eq + Serialize + DeserializeOwned + 'static,
    S: Serialize + DeserializeOwned + 'static,
{
    /// Writes what changed since the last barrier.
    pub(crate) fn write(&mut self, format: &Format, snapshot: &mut Snapshot) {
        let change_count = self.change_count();
        if change_count == 0 {
            return;
        }
        let bucket = self.window.end.as_millis();
        let rewrites = self.bucket.rewrites(self.keys.len(), change_count);
        let mut entries = self.bucket.writer(format);
        entries.put_head::<Timestamp>(&self.window.start);
        self.logged = true;
        let mut put = |(key, slot): &(K, Slot<S>)| {
            entries.put_as::<(K, S, u32)>(&(key, &slot.state, slot.unseen_count));
        };
        if rewrites {
            self.keys.iter().for_each(&mut put);
            snapshot.replace(bucket, entries);
        } else {
            for position in self.changed.iter().copied().chain(self.fresh..self.keys.len()) {
                match self.keys.at(position) {
                    Some(entry) => put(entry),
                    None => Error::broken("a change is of no key of its window").spoil_epoch(),
                }
            }
            snapshot.append(bucket, entries);
        }
        self.unchanged();
    }

    /// Reads what was written, behind the window's start.
    pub(crate) fn read(&mut self, entries: &mut ChunkReader<'_>) -> Result<()> {
        self.logged = true;
        while let Some((key, state, unseen_count)) = entries.next_entry::<(K, S, u32)>()? {
            self.bucket.restored(1);
            let slot = Slot { state, unseen_count, changed: false };
            match self.keys.find_mut(&key) {
                Some(known) => *known = slot,
                None => _ = self.keys.insert_new(key, slot),
            }
        }
        self.fresh = self.keys.len();
        Ok(())
    }

    /// All of it is emitted early once more.
    pub(crate) fn all_unseen(&mut self, early: &EarlyResults) {
        self.unseen = (0..self.keys.len()).collect();
        self.keys.values_mut().for_each(|slot| early.restored(&mut slot.unseen_count));
    }
}
