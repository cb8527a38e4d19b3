//! A table of values by key that expire one by one, and its log.

mod log;
mod segment;

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use crate::bounded::entry_number;
use crate::error::Error;
use crate::state::Format;
use crate::time::Timestamp;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use segment::{Entry, Segment};

/// Slots of a segment.
const SEGMENT: usize = 1024;

/// Values by key, each until a time of its own: the state of an operator that has no windows.
///
/// Entries stand in segments of some thousand slots and stay where they are; a segment is a bucket of
/// the state. So what is written anew when a log has outgrown its content stands together in memory,
/// and no hash needs to be the same in the next run. An entry of a chunk is a key with its value and
/// when it expires, or with nothing if it was removed.
///
/// ```
/// use rtbflow::Timestamp;
/// use rtbflow::state::KeyedState;
/// use rtbflow::testing::builders::at;
///
/// let mut state = KeyedState::new(1);
/// let ann = state.insert("ann", 1, at(50));
/// state.insert("bob", 2, Timestamp::MAX);
/// if let Some((_, count)) = state.get_mut(ann) {
///     *count += 10;
/// }
/// assert_eq!(state.find(&"ann").and_then(|slot| state.get(slot)), Some((&"ann", &11)));
/// state.forget(at(50));
/// assert_eq!((state.find(&"ann"), state.len()), (None, 1));
/// ```
pub struct KeyedState<K, V> {
    format: Format,
    hasher: RandomState,
    index: HashTable<SlotId>,
    segments: Vec<Segment<K, V>>,
    /// Slots that were used before.
    free: Vec<SlotId>,
    /// Segments before this one have no slot that was never used.
    filling: usize,
    /// When to look at an entry that expires; each is in here once.
    due: BTreeSet<(Timestamp, SlotId)>,
}

/// Where an entry stands, for as long as it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId {
    segment: u32,
    slot: u32,
}

impl SlotId {
    fn new(segment: usize, slot: usize) -> Self {
        Self { segment: entry_number(segment), slot: entry_number(slot) }
    }
}

impl<K, V> fmt::Debug for KeyedState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedState({} entries)", self.index.len())
    }
}

impl<K, V> KeyedState<K, V> {
    /// An empty table, whose chunks are of this [`Format`], or simply of this version.
    #[must_use]
    pub fn new(format: impl Into<Format>) -> Self {
        Self {
            format: format.into(),
            hasher: RandomState::default(),
            index: HashTable::new(),
            segments: Vec::new(),
            free: Vec::new(),
            filling: 0,
            due: BTreeSet::new(),
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn entry(&self, at: SlotId) -> Option<&Entry<K, V>> {
        let segment = self.segments.get(at.segment as usize)?;
        segment.slots.get(at.slot as usize)?.entry.as_ref()
    }

    fn entry_mut(&mut self, at: SlotId) -> Option<&mut Entry<K, V>> {
        let segment = self.segments.get_mut(at.segment as usize)?;
        segment.slots.get_mut(at.slot as usize)?.entry.as_mut()
    }

    /// The entry that stands there.
    #[must_use]
    pub fn get(&self, at: SlotId) -> Option<(&K, &V)> {
        self.entry(at).map(|entry| (&entry.key, &entry.value))
    }

    /// The entry that stands there, to be changed.
    pub fn get_mut(&mut self, at: SlotId) -> Option<(&K, &mut V)> {
        let segment = self.segments.get_mut(at.segment as usize)?;
        segment.change(at.slot)?;
        let entry = segment.slots.get_mut(at.slot as usize)?.entry.as_mut()?;
        Some((&entry.key, &mut entry.value))
    }

    /// As [`get_mut`](Self::get_mut), but what is changed is written only if
    /// [`note_change`](Self::note_change) says so.
    pub fn peek_mut(&mut self, at: SlotId) -> Option<(&K, &mut V)> {
        self.entry_mut(at).map(|entry| (&entry.key, &mut entry.value))
    }

    /// The entry that stands there is to be written again.
    pub fn note_change(&mut self, at: SlotId) {
        let segment = self.segments.get_mut(at.segment as usize);
        if segment.and_then(|segment| segment.change(at.slot)).is_none() {
            Error::broken("an entry changes in a slot that was never used").spoil_epoch();
        }
    }

    /// When an entry expires.
    pub(crate) fn expires(&self, at: SlotId) -> Option<Timestamp> {
        self.entry(at).map(|entry| entry.expires)
    }

    /// All entries, in the order in which they stand: another one after a restart.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &K, &V)> {
        self.segments.iter().enumerate().flat_map(|(number, segment)| {
            segment.slots.iter().enumerate().filter_map(move |(slot, held)| {
                let entry = held.entry.as_ref()?;
                Some((SlotId::new(number, slot), &entry.key, &entry.value))
            })
        })
    }

    /// Sets when the entry that stands there expires; [`Timestamp::MAX`] is never.
    pub fn expire(&mut self, at: SlotId, expires: Timestamp) {
        let Some(entry) = self.entry_mut(at) else {
            return Error::broken("an entry is to expire that is not there").spoil_epoch();
        };
        if entry.expires == expires {
            return;
        }
        entry.expires = expires;
        let before = entry.due;
        // One that expires later than it did is looked at when it would have, and then put off.
        if expires < before {
            entry.due = expires;
            self.due.remove(&(before, at));
            self.due.insert((expires, at));
        }
        self.note_change(at);
    }
}

impl<K: Hash + Eq, V> KeyedState<K, V> {
    /// Where the entry of a key stands.
    #[inline]
    pub fn find(&self, key: &K) -> Option<SlotId> {
        let same = |at: &SlotId| self.entry(*at).is_some_and(|entry| entry.key == *key);
        self.index.find(self.hasher.hash_one(key), same).copied()
    }

    /// Where the entry of a key stands, if it is there at this time: one that has expired by then is removed. For
    /// a record that ends a silence itself: the watermark, by which [`forget`](Self::forget) goes, rises behind it.
    pub fn find_at(&mut self, key: &K, now: Timestamp) -> Option<SlotId> {
        self.find_at_if(key, now, |_| true)
    }

    /// The same, but only an entry is removed of which `over` says that it may go.
    pub(crate) fn find_at_if(
        &mut self,
        key: &K,
        now: Timestamp,
        over: impl Fn(&V) -> bool,
    ) -> Option<SlotId> {
        let at = self.find(key)?;
        if self.entry(at).is_some_and(|entry| entry.expires <= now && over(&entry.value)) {
            self.remove(at);
            return None;
        }
        Some(at)
    }

    /// Adds an entry for a key that has none.
    pub fn insert(&mut self, key: K, value: V, expires: Timestamp) -> SlotId {
        let at = self.free.pop().unwrap_or_else(|| self.unused());
        self.put(at, Entry { key, value, expires, due: expires, logged: false });
        self.note_change(at);
        at
    }

    /// A slot that was never used.
    fn unused(&mut self) -> SlotId {
        let full = |segment: &Segment<K, V>| segment.slots.len() >= SEGMENT;
        while self.segments.get(self.filling).is_some_and(full) {
            self.filling += 1;
        }
        self.unused_of(self.filling)
    }

    fn unused_of(&mut self, number: usize) -> SlotId {
        // There is such a segment now; were there none, `put` would find no slot.
        SlotId::new(number, self.segment(number).map_or(0, Segment::unused))
    }

    /// The segment with this number, added if need be.
    fn segment(&mut self, number: usize) -> Option<&mut Segment<K, V>> {
        if self.segments.len() <= number {
            self.segments.resize_with(number + 1, Segment::default);
        }
        self.segments.get_mut(number)
    }

    fn put(&mut self, at: SlotId, entry: Entry<K, V>) {
        let hash = self.hasher.hash_one(&entry.key);
        if entry.due < Timestamp::MAX {
            self.due.insert((entry.due, at));
        }
        let segment = self.segments.get_mut(at.segment as usize);
        if !segment.is_some_and(|segment| segment.put(at.slot, entry)) {
            return Error::broken("an entry has no slot to stand in").spoil_epoch();
        }
        let Self { index, segments, hasher, .. } = self;
        let of = |at: &SlotId| {
            let segment = segments.get(at.segment as usize);
            let slot = segment.and_then(|segment| segment.slots.get(at.slot as usize));
            let Some(entry) = slot.and_then(|slot| slot.entry.as_ref()) else {
                Error::broken("the index of a table has an entry that is not there").spoil_epoch();
                return 0;
            };
            hasher.hash_one(&entry.key)
        };
        index.insert_unique(hash, at, of);
    }

    /// Removes an entry.
    pub fn remove(&mut self, at: SlotId) -> Option<V> {
        let segment = self.segments.get_mut(at.segment as usize)?;
        let entry = segment.slots.get_mut(at.slot as usize)?.entry.take()?;
        segment.live -= 1;
        match self.index.find_entry(self.hasher.hash_one(&entry.key), |found| *found == at) {
            Ok(found) => _ = found.remove(),
            Err(_) => Error::broken("an entry is there that the index has not").spoil_epoch(),
        }
        self.due.remove(&(entry.due, at));
        self.free.push(at);
        if entry.logged {
            segment.removed.push(entry.key);
        }
        Some(entry.value)
    }

    /// Removes what expires at this time or before.
    pub fn forget(&mut self, now: Timestamp) {
        self.forget_where(now, |_| true);
    }

    /// The same, but of these only those of which `over` says that they may go. The others stay until it is
    /// said anew when they expire.
    pub(crate) fn forget_where(&mut self, now: Timestamp, over: impl Fn(&V) -> bool) {
        while let Some((due, at)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, at));
            let Some(entry) = self.entry_mut(at) else {
                Error::broken("an entry is due to expire that is not there").spoil_epoch();
                continue;
            };
            if entry.expires <= now && over(&entry.value) {
                self.remove(at);
                continue;
            }
            entry.due = if entry.expires <= now { Timestamp::MAX } else { entry.expires };
            if entry.due < Timestamp::MAX {
                let due = entry.due;
                self.due.insert((due, at));
            }
        }
    }
}

#[cfg(test)]
mod tests;
