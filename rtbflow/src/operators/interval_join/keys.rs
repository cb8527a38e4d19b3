//! The keys of which anything is held, and where the newest record of each side is.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::pages::Pages;
use crate::error::Error;

/// The number of nothing.
pub(super) const NONE: u32 = u32::MAX;

/// Parts of the index: it grows part by part, so that no record waits for all keys to be hashed anew.
const PARTS: usize = 64;

/// The keys of which anything is held. Each is kept once, whatever number of records it has.
pub(super) struct Keys<K> {
    entries: Pages<Entry<K>>,
    free: Vec<u32>,
    index: Box<[HashTable<u32>; PARTS]>,
    hasher: RandomState,
}

struct Entry<K> {
    key: Option<K>,
    /// The newest record of the left and of the right side.
    newest: [u32; 2],
}

impl<K> Default for Keys<K> {
    fn default() -> Self {
        let index = Box::new(std::array::from_fn(|_| HashTable::new()));
        Self { entries: Pages::default(), free: Vec::new(), index, hasher: RandomState::default() }
    }
}

/// The part of the index for a hash; a table uses the lowest and the highest bits itself.
#[inline]
fn part(hash: u64) -> usize {
    let [_, _, byte, ..] = hash.to_be_bytes();
    usize::from(byte) % PARTS
}

impl<K: Hash + Eq> Keys<K> {
    #[inline]
    pub(super) fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The number of a key, if anything of it is held.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<u32> {
        let same = |number: &u32| {
            self.entries.get(*number).is_some_and(|entry| entry.key.as_ref() == Some(key))
        };
        self.index.get(part(hash))?.find(hash, same).copied()
    }

    /// Puts an entry where none is; returns its number.
    #[inline]
    fn put(&mut self, entry: Entry<K>) -> u32 {
        let Some(number) = self.free.pop() else { return self.entries.push(entry) };
        match self.entries.get_mut(number) {
            Some(free) => *free = entry,
            None => Error::broken("a number is free that no key had").spoil_epoch(),
        }
        number
    }

    /// Adds a key of which nothing is held; returns its number.
    pub(super) fn add(&mut self, hash: u64, key: K) -> u32 {
        let number = self.put(Entry { key: Some(key), newest: [NONE; 2] });
        let Self { entries, index, hasher, .. } = self;
        let of = |number: &u32| {
            let key = entries.get(*number).and_then(|entry| entry.key.as_ref());
            key.map_or_else(
                || {
                    Error::broken("the index has a key that is not held").spoil_epoch();
                    0
                },
                |key| hasher.hash_one(key),
            )
        };
        match index.get_mut(part(hash)) {
            Some(part) => _ = part.insert_unique(hash, number, of),
            None => Error::broken("a hash belongs to no part of the index").spoil_epoch(),
        }
        number
    }

    /// The number of a key, which is added if nothing of it is held.
    pub(super) fn find_or_add(&mut self, key: K) -> u32 {
        let hash = self.hash(&key);
        self.find(hash, &key).unwrap_or_else(|| self.add(hash, key))
    }

    /// The newest record of a side of a key.
    #[inline]
    pub(super) fn newest(&self, number: u32, side: usize) -> u32 {
        let newest = self.entries.get(number).and_then(|entry| entry.newest.get(side));
        let Some(newest) = newest else {
            Error::broken("a number is that of no key").spoil_epoch();
            return NONE;
        };
        *newest
    }

    /// Says which is the newest record of a side of a key. A key without any is dropped.
    #[inline]
    pub(super) fn set_newest(&mut self, number: u32, side: usize, newest: u32) {
        let entry = self.entries.get_mut(number);
        match entry.and_then(|entry| entry.newest.get_mut(side)) {
            Some(of_side) => *of_side = newest,
            None => Error::broken("a number is that of no key").spoil_epoch(),
        }
        if newest == NONE {
            self.drop_if_empty(number);
        }
    }

    /// Drops a key of which nothing is held any more.
    fn drop_if_empty(&mut self, number: u32) {
        let entry = self.entries.get_mut(number).filter(|entry| entry.newest == [NONE; 2]);
        // Otherwise a record of the other side is held.
        let Some(key) = entry.and_then(|entry| entry.key.take()) else { return };
        let hash = self.hasher.hash_one(&key);
        let part = self.index.get_mut(part(hash));
        match part.map(|part| part.find_entry(hash, |at| *at == number)) {
            Some(Ok(entry)) => _ = entry.remove(),
            Some(Err(_)) | None => {
                Error::broken("a key is held that the index has not").spoil_epoch()
            }
        }
        self.free.push(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_dropped_with_its_last_record() {
        let mut keys = Keys::default();
        let all: Vec<u32> = (0..1000_u64).map(|key| keys.find_or_add(key)).collect();
        for number in &all {
            keys.set_newest(*number, 0, 7);
            keys.set_newest(*number, 1, 8);
        }
        keys.set_newest(all[3], 0, NONE);
        assert_eq!(keys.find_or_add(3), all[3]);
        keys.set_newest(all[3], 1, NONE);
        assert_eq!(keys.find(keys.hash(&3), &3), None);
        assert_eq!(keys.find_or_add(5000), all[3], "its place is taken by the next");
        assert_eq!((keys.newest(all[3], 0), keys.newest(all[4], 1)), (NONE, 8));
    }

    #[test]
    fn a_key_stays_small() {
        assert!(size_of::<Entry<u64>>() <= 24, "{}", size_of::<Entry<u64>>());
    }
}
