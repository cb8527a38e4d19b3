//! What the place has of the slices that windows share: each is a bucket of the state, known by its end.

use std::collections::BTreeMap;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::operators::Snapshot;
use crate::operators::window::lane::Lane;
use crate::state::{Bucket, Format};
use crate::table::Table;

/// The slices that the place has.
#[derive(Default)]
pub(crate) struct Slices {
    live: BTreeMap<i64, Slice>,
    /// Those that are over, and still to be dropped there.
    ended: Vec<i64>,
}

/// What the place has of a slice.
#[derive(Default)]
struct Slice {
    bucket: Bucket,
    key_count: usize,
}

impl Slice {
    /// Writes what changed of the slice that ends there: that of these keys, or all where it is written anew.
    fn write<K, S>(
        &mut self,
        end: i64,
        (keys, changed): (&Table<K, Lane<S>>, Vec<usize>),
        format: &Format,
        snapshot: &mut Snapshot,
    ) where
        K: Hash + Eq + Serialize + DeserializeOwned + 'static,
        S: Serialize + DeserializeOwned + 'static,
    {
        let rewrites = self.bucket.rewrites(self.key_count, changed.len());
        let mut entries = self.bucket.writer(format);
        let mut put = |(key, lane): &(K, Lane<S>)| {
            let part = lane.parts.get(lane.parts.position(end)).filter(|part| part.end == end);
            // Of a slice that is written anew not every key has a part.
            if let Some(part) = part {
                let entry = (key, lane.arrival, &part.state, part.unseen_count);
                entries.put_as::<(K, u64, S, u32)>(&entry);
            }
        };
        if rewrites {
            keys.iter().for_each(&mut put);
            return snapshot.replace(end, entries);
        }
        for at in changed {
            match keys.at(at) {
                Some(entry) => put(entry),
                None => Error::broken("a key has changed that is gone").spoil_epoch(),
            }
        }
        snapshot.append(end, entries);
    }
}

impl Slices {
    /// The slices that end there or before are over.
    pub(crate) fn end_until(&mut self, gone: i64) {
        while let Some(first) = self.live.first_entry().filter(|first| *first.key() <= gone) {
            self.ended.push(first.remove_entry().0);
        }
    }

    /// An entry of the slice that ends there was read; whether it is of a key that was not read before.
    pub(crate) fn restored(&mut self, end: i64, is_new: bool) {
        let slice = self.live.entry(end).or_default();
        slice.bucket.restored(1);
        slice.key_count += usize::from(is_new);
    }

    /// Writes what changed of each slice since the last barrier: that of the keys that stand there.
    pub(crate) fn write<K, S>(
        &mut self,
        format: &Format,
        keys: &mut Table<K, Lane<S>>,
        changed: impl Iterator<Item = usize>,
        snapshot: &mut Snapshot,
    ) where
        K: Hash + Eq + Serialize + DeserializeOwned + 'static,
        S: Serialize + DeserializeOwned + 'static,
    {
        for bucket in self.ended.drain(..) {
            snapshot.drop_bucket(bucket);
        }
        for (end, changed) in self.changed(keys, changed) {
            match self.live.get_mut(&end) {
                Some(slice) => slice.write(end, (keys, changed), format, snapshot),
                None => Error::broken("a slice has changed that is over").spoil_epoch(),
            }
        }
    }

    /// The keys that changed in each slice.
    fn changed<K: Hash + Eq, S>(
        &mut self,
        keys: &mut Table<K, Lane<S>>,
        changed: impl Iterator<Item = usize>,
    ) -> BTreeMap<i64, Vec<usize>> {
        let mut of_slices: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for at in changed {
            let Some(lane) = keys.at_mut(at) else {
                Error::broken("a key has changed that is not there").spoil_epoch();
                continue;
            };
            for part in lane.take_changed() {
                part.changed = false;
                let slice = self.live.entry(part.end).or_default();
                slice.key_count += usize::from(!std::mem::replace(&mut part.logged, true));
                of_slices.entry(part.end).or_default().push(at);
            }
        }
        of_slices
    }
}
