//! A stretch of a table of values by key, which stands together in memory and is one bucket of its log.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::state::{Bucket, Format, Snapshot, Writer};
use crate::time::Timestamp;

/// Slots that stand together: a bucket of the state.
pub(super) struct Segment<K, V> {
    pub(super) slots: Vec<Slot<K, V>>,
    pub(super) live: usize,
    /// Slots that changed since the last barrier.
    pub(super) changed: Vec<u32>,
    /// Keys that were removed since, of those that the place knows.
    pub(super) removed: Vec<K>,
    pub(super) bucket: Bucket,
    /// Whether the place has anything of it.
    pub(super) logged: bool,
}

/// Room for an entry.
pub(super) struct Slot<K, V> {
    pub(super) entry: Option<Entry<K, V>>,
    pub(super) changed: bool,
}

/// A key and what is kept for it.
pub(super) struct Entry<K, V> {
    pub(super) key: K,
    pub(super) value: V,
    pub(super) expires: Timestamp,
    /// Under which time it stands in `due`.
    pub(super) due: Timestamp,
    /// Whether the place knows the key.
    pub(super) logged: bool,
}

impl<K, V> Default for Segment<K, V> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            live: 0,
            changed: Vec::new(),
            removed: Vec::new(),
            bucket: Bucket::default(),
            logged: false,
        }
    }
}

impl<K, V> Segment<K, V> {
    /// Notes that a slot changed; `None` if it was never used.
    pub(super) fn change(&mut self, number: u32) -> Option<()> {
        let slot = self.slots.get_mut(number as usize)?;
        if !std::mem::replace(&mut slot.changed, true) {
            self.changed.push(number);
        }
        Some(())
    }

    /// Another slot, which was never used.
    pub(super) fn unused(&mut self) -> usize {
        self.slots.push(Slot { entry: None, changed: false });
        self.slots.len() - 1
    }

    /// Puts an entry into a slot; false if there is no such slot.
    #[must_use]
    pub(super) fn put(&mut self, number: u32, entry: Entry<K, V>) -> bool {
        let slot = self.slots.get_mut(number as usize);
        let is_there = slot.map(|slot| slot.entry = Some(entry)).is_some();
        self.live += usize::from(is_there);
        is_there
    }
}

/// An entry of a chunk: a key with its value and when it expires, in milliseconds, or that it is gone.
pub(super) type Written<K, V> = (K, Option<(V, i64)>);

impl<K, V> Entry<K, V>
where
    K: Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    fn write(&mut self, entries: &mut Writer) {
        self.logged = true;
        let kept = Some((&self.value, self.expires.as_millis()));
        entries.put_as::<Written<K, V>>(&(&self.key, kept));
    }
}

impl<K, V> Segment<K, V>
where
    K: Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    pub(super) fn snapshot(&mut self, format: &Format, bucket: i64, snapshot: &mut Snapshot) {
        let change_count = self.changed.len() + self.removed.len();
        if change_count == 0 {
            return;
        }
        if self.live == 0 {
            self.bucket = Bucket::default();
            if std::mem::take(&mut self.logged) {
                snapshot.drop_bucket(bucket);
            }
        } else if self.bucket.rewrites(self.live, change_count) {
            let mut entries = self.bucket.writer(format);
            let all = self.slots.iter_mut().filter_map(|slot| slot.entry.as_mut());
            all.for_each(|entry| entry.write(&mut entries));
            snapshot.replace(bucket, entries);
            self.logged = true;
        } else {
            snapshot.append(bucket, self.write_changes(format));
            self.logged = true;
        }
        self.unchanged();
    }

    fn write_changes(&mut self, format: &Format) -> Writer {
        let mut entries = self.bucket.writer(format);
        // What was removed first: a key may have come back.
        for key in &self.removed {
            entries.put_as::<Written<K, V>>(&(key, None::<(&V, i64)>));
        }
        for number in &self.changed {
            let slot = self.slots.get_mut(*number as usize);
            // What changed and was removed since has no entry: it is among those that were removed.
            if let Some(entry) = slot.and_then(|slot| slot.entry.as_mut()) {
                entry.write(&mut entries);
            }
        }
        entries
    }

    /// What changed was handed over.
    fn unchanged(&mut self) {
        self.removed.clear();
        for number in self.changed.drain(..) {
            match self.slots.get_mut(number as usize) {
                Some(slot) => slot.changed = false,
                None => Error::broken("a slot has changed that is not there").spoil_epoch(),
            }
        }
    }
}
