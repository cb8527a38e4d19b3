//! A hash table that remembers the order in which keys came.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::bounded::entry_number;
use crate::error::Error;

/// A map from keys to values in order of insertion: what goes out of it has an order that a replay
/// repeats, whatever the seed of the hash.
///
/// Ids come from the internet, so the hash is seeded anew for each table
/// ([foldhash](https://docs.rs/foldhash), which resists hash flooding by its seed).
pub struct Table<K, V> {
    entries: Vec<(K, V)>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new(), index: HashTable::new(), hasher: RandomState::default() }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} entries)", self.entries.len())
    }
}

/// The hash of an entry that the index has.
fn hash_at<K: Hash, V>(entries: &[(K, V)], hasher: &RandomState, at: u32) -> u64 {
    let Some((key, _)) = entries.get(at as usize) else {
        Error::broken("a table's index has an entry that the table has not").spoil_epoch();
        return 0;
    };
    hasher.hash_one(key)
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where a key stands: its number in order of insertion.
    #[inline]
    pub fn position(&self, key: &K) -> Option<usize> {
        let same = |at: &u32| self.entries.get(*at as usize).is_some_and(|entry| entry.0 == *key);
        self.index.find(self.hasher.hash_one(key), same).map(|at| *at as usize)
    }

    /// The entry with this number.
    #[inline]
    #[must_use]
    pub fn at(&self, position: usize) -> Option<&(K, V)> {
        self.entries.get(position)
    }

    /// The value with this number.
    #[inline]
    pub fn at_mut(&mut self, position: usize) -> Option<&mut V> {
        self.entries.get_mut(position).map(|entry| &mut entry.1)
    }

    /// The entry with this number, its value to be changed.
    #[inline]
    pub fn at_with_key_mut(&mut self, position: usize) -> Option<(&K, &mut V)> {
        self.entries.get_mut(position).map(|(key, value)| (&*key, value))
    }

    /// Gives a key that is there a new place, behind all others, and returns its number. What it was
    /// keeps its number, and is found no more.
    pub fn renew(&mut self, position: usize, key: K, value: V) -> usize {
        let found = |at: &u32| *at as usize == position;
        match self.index.find_entry(self.hasher.hash_one(&key), found) {
            Ok(entry) => _ = entry.remove(),
            Err(_) => Error::broken("a key does not stand where its number says").spoil_epoch(),
        }
        self.insert_new(key, value)
    }

    /// Keeps only some entries, in their order; they are numbered anew.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.entries.retain(|(key, value)| keep(key, value));
        self.index.clear();
        for (position, (key, _)) in self.entries.iter().enumerate() {
            let hash = self.hasher.hash_one(key);
            let of = |at: &u32| hash_at(&self.entries, &self.hasher, *at);
            self.index.insert_unique(hash, entry_number(position), of);
        }
    }

    /// The value of a key.
    #[inline]
    pub fn find_mut(&mut self, key: &K) -> Option<&mut V> {
        self.position(key).and_then(|position| self.at_mut(position))
    }

    /// The value of a key, which is added if it is not there, and the key's number.
    #[inline]
    pub fn entry(&mut self, key: K, value: impl FnOnce() -> V) -> (usize, Option<&mut V>) {
        let hash = self.hasher.hash_one(&key);
        let same = |at: &u32| self.entries.get(*at as usize).is_some_and(|entry| entry.0 == key);
        let position = match self.index.find(hash, same) {
            Some(at) => *at as usize,
            None => self.insert_hashed(hash, key, value),
        };
        (position, self.at_mut(position))
    }

    /// Adds a key that is not there yet, and returns its number.
    pub fn insert_new(&mut self, key: K, value: V) -> usize {
        self.insert_hashed(self.hasher.hash_one(&key), key, || value)
    }

    #[inline]
    fn insert_hashed(&mut self, hash: u64, key: K, value: impl FnOnce() -> V) -> usize {
        let position = self.entries.len();
        let Self { entries, index, hasher } = self;
        entries.reserve(1);
        entries.push((key, value()));
        let of = |at: &u32| hash_at(entries, hasher, *at);
        index.insert_unique(hash, entry_number(position), of);
        position
    }

    /// All entries, in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.entries.iter()
    }

    /// All values, in order of insertion, to be changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Takes all entries, in order of insertion, and makes room for as many again.
    pub fn take(&mut self) -> std::vec::IntoIter<(K, V)> {
        self.index.clear();
        let room = Vec::with_capacity(self.entries.len());
        std::mem::replace(&mut self.entries, room).into_iter()
    }

    /// Empties the table, in order of insertion, and keeps its memory.
    pub fn drain(&mut self) -> impl Iterator<Item = (K, V)> + '_ {
        self.index.clear();
        self.entries.drain(..)
    }
}

impl<K, V> IntoIterator for Table<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_finds() {
        let mut table = Table::new();
        for n in 0..1000 {
            assert_eq!(table.position(&n), None);
            assert_eq!(table.insert_new(n, n * 2), n);
        }
        *table.find_mut(&7).unwrap() += 1;
        assert_eq!(table.at(7), Some(&(7, 15)));
        assert_eq!(
            table.drain().map(|(key, _)| key).collect::<Vec<_>>(),
            (0..1000).collect::<Vec<_>>()
        );
        assert!(table.is_empty() && table.position(&7).is_none());
    }
}
