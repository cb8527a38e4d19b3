//! The records of one side of a join that are held: by key, newest first, and by time, for the log.

use std::hash::Hash;

use super::buckets::Buckets;
use super::keys::{Keys, NONE};
use super::pages::Pages;
use super::places::{Places, RecordPlace};
use crate::error::Error;

/// A record that is held.
#[derive(Debug)]
pub(super) struct Slot<T> {
    /// `None` if the slot is free.
    pub(super) value: Option<T>,
    pub(super) timestamp: i64,
    pub(super) offset: i64,
    key: u32,
    /// The next newer and the next older record of its key; the next free slot if this one is free.
    newer: u32,
    older: u32,
    /// Its number in its bucket.
    pub(super) number: u32,
    pub(super) partition: u16,
    /// Whether it has a partner.
    pub(super) matched: bool,
}

impl<T> Slot<T> {
    /// The number of its key.
    #[inline]
    pub(super) fn key(&self) -> u32 {
        self.key
    }

    #[inline]
    pub(super) fn place(&self) -> RecordPlace {
        RecordPlace { partition: self.partition, offset: self.offset }
    }
}

/// A record that is to be held.
pub(super) struct Held<T> {
    pub(super) value: T,
    pub(super) timestamp: i64,
    pub(super) place: RecordPlace,
    pub(super) matched: bool,
}

/// The records of one side.
pub(super) struct Side<T> {
    pub(super) slots: Pages<Slot<T>>,
    /// The first free slot.
    free: u32,
    pub(super) buckets: Buckets,
    /// 0 for the left side, 1 for the right.
    side: usize,
}

impl<T> Side<T> {
    /// An empty side, whose records are held for this long after their time.
    pub(super) fn new(side: usize, hold_ms: i64) -> Self {
        Self { slots: Pages::default(), free: NONE, buckets: Buckets::new(side, hold_ms), side }
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Slot<T>> {
        self.slots.get(slot).filter(|slot| slot.value.is_some())
    }

    /// The record that is held there, and its value.
    #[inline]
    pub(super) fn held(&self, slot: u32) -> Option<(&Slot<T>, &T)> {
        let slot = self.slots.get(slot)?;
        Some((slot, slot.value.as_ref()?))
    }

    /// The next older record of the same key.
    pub(super) fn older(&self, slot: u32) -> Option<&Slot<T>> {
        self.slots.get(slot).and_then(|slot| self.slots.get(slot.older))
    }

    /// The records of a key between two times, both included, newest first.
    #[inline]
    pub(super) fn between<K: Hash + Eq>(
        &self,
        keys: &Keys<K>,
        key: Option<u32>,
        (low, high): (i64, i64),
    ) -> impl Iterator<Item = (u32, &Slot<T>)> {
        let mut next = key.map_or(NONE, |key| keys.newest(key, self.side));
        let all = std::iter::from_fn(move || {
            let at = next;
            let slot = self.slots.get(at)?;
            next = slot.older;
            Some((at, slot))
        });
        all.skip_while(move |(_, slot)| slot.timestamp > high)
            .take_while(move |(_, slot)| slot.timestamp >= low)
    }

    /// Takes a record in.
    pub(super) fn insert<K: Hash + Eq>(
        &mut self,
        held: Held<T>,
        key: u32,
        keys: &mut Keys<K>,
        places: &Places,
    ) -> u32 {
        let timestamp = held.timestamp;
        let slot = self.put(held, key);
        let number = self.buckets.add(timestamp, slot);
        self.set_number(slot, number);
        self.link(slot, keys, places);
        slot
    }

    /// Puts a record into a free slot, outside of every order.
    pub(super) fn put(&mut self, held: Held<T>, key: u32) -> u32 {
        let Held { value, timestamp, place: RecordPlace { partition, offset }, matched } = held;
        let (value, number, newer, older) = (Some(value), NONE, NONE, NONE);
        let new = Slot { value, timestamp, offset, key, newer, older, number, partition, matched };
        let at = self.free;
        match self.slots.get_mut(at) {
            Some(free) => {
                self.free = free.newer;
                *free = new;
                at
            }
            None => self.slots.push(new),
        }
    }

    pub(super) fn set_number(&mut self, slot: u32, number: u32) {
        match self.slots.get_mut(slot) {
            Some(slot) => slot.number = number,
            None => Error::broken("a record is in no slot").spoil_epoch(),
        }
    }

    /// Puts a record where it belongs among those of its key; of the same time and place the last is the
    /// newest.
    #[inline]
    pub(super) fn link<K: Hash + Eq>(&mut self, slot: u32, keys: &mut Keys<K>, places: &Places) {
        let Some(new) = self.slots.get(slot) else {
            return Error::broken("a record that came is in no slot").spoil_epoch();
        };
        let key = new.key;
        let (mut newer, mut older) = (NONE, keys.newest(key, self.side));
        while let Some(other) = self.slots.get(older) {
            let order = other.timestamp.cmp(&new.timestamp);
            if order.then_with(|| places.order(other.place(), new.place())).is_le() {
                break;
            }
            (newer, older) = (older, other.older);
        }
        self.join(slot, older, key, keys);
        self.join(newer, slot, key, keys);
    }

    /// Makes two records of a key follow one another; nothing is newer than its newest.
    #[inline]
    fn join<K: Hash + Eq>(&mut self, newer: u32, older: u32, key: u32, keys: &mut Keys<K>) {
        // Slots stay once they are made: `NONE` alone is the number of none.
        if let Some(slot) = self.slots.get_mut(older) {
            slot.newer = newer;
        }
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = older,
            None => keys.set_newest(key, self.side, older),
        }
    }

    /// Drops a record.
    pub(super) fn remove<K: Hash + Eq>(&mut self, slot: u32, keys: &mut Keys<K>) -> Option<T> {
        let removed = self.get(slot)?;
        let (timestamp, number) = (removed.timestamp, removed.number);
        self.buckets.remove(timestamp, number);
        self.unlink(slot, keys)
    }

    /// Drops the records of a key that are older than its newest one up to this time.
    pub(super) fn supersede<K: Hash + Eq>(&mut self, key: u32, until: i64, keys: &mut Keys<K>) {
        let newest = self.between(keys, Some(key), (i64::MIN, until)).next();
        // All of them are later.
        let Some((newest, _)) = newest else { return };
        while let Some(older) = self.slots.get(newest).map(|slot| slot.older)
            && self.remove(older, keys).is_some()
        {}
    }

    fn unlink<K: Hash + Eq>(&mut self, at: u32, keys: &mut Keys<K>) -> Option<T> {
        let free = self.free;
        // `NONE` is what a bucket has of a record that is gone.
        let slot = self.slots.get_mut(at)?;
        let value = slot.value.take()?;
        let (newer, older, key) = (slot.newer, slot.older, slot.key);
        slot.newer = free;
        self.free = at;
        self.join(newer, older, key, keys);
        Some(value)
    }

    /// Notes that a record has a partner.
    #[inline]
    pub(super) fn mark(&mut self, slot: u32) {
        let Some(slot) = self.slots.get_mut(slot) else {
            return Error::broken("a partner is in no slot").spoil_epoch();
        };
        if !std::mem::replace(&mut slot.matched, true) {
            self.buckets.mark(slot.timestamp, slot.number);
        }
    }

    /// Drops the buckets that are over, and says whether there was one.
    #[inline]
    pub(super) fn expire<K: Hash + Eq>(
        &mut self,
        keys: &mut Keys<K>,
        passed: impl Fn(i64) -> bool,
    ) -> bool {
        let mut any = false;
        while let Some(bucket) = self.buckets.pop_over(&passed) {
            any = true;
            for slot in bucket.slots {
                self.unlink(slot, keys);
            }
        }
        any
    }

    /// All records, bucket by bucket.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> {
        let slots = self.buckets.open.iter().flat_map(|bucket| &bucket.slots);
        slots.copied().filter(|slot| *slot != NONE)
    }

    /// What the log knows a record by, if it has it: its bucket, and its number there.
    pub(super) fn logged(&self, slot: u32) -> Option<(i64, u32)> {
        let slot = self.get(slot)?;
        self.buckets.logged(slot.timestamp, slot.number).map(|bucket| (bucket, slot.number))
    }

    /// Drops a record that was brought back.
    pub(super) fn forget<K: Hash + Eq>(&mut self, bucket: i64, number: u32, keys: &mut Keys<K>) {
        // What was decided may be over since, with its bucket.
        if let Some(slot) = self.buckets.take(bucket, number) {
            self.unlink(slot, keys);
        }
    }

    /// Puts the records that were brought back into the buckets that they belong to now. Whether some were in
    /// others.
    pub(super) fn settle(&mut self) -> bool {
        let slots = &self.slots;
        let foreign = self.buckets.take_foreign(|slot| slots.get(slot).map(|slot| slot.timestamp));
        let any = !foreign.is_empty();
        for slot in foreign.into_iter().flat_map(|bucket| bucket.slots) {
            // What is gone is in no bucket.
            if let Some(timestamp) = self.get(slot).map(|slot| slot.timestamp) {
                let number = self.buckets.add(timestamp, slot);
                self.set_number(slot, number);
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stays_small() {
        assert!(size_of::<Slot<u64>>() <= 56, "{}", size_of::<Slot<u64>>());
    }
}
