//! The log of a table of values by key: what changed, handed over and taken back.

use std::hash::{BuildHasher, Hash};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::segment::{Entry, Written};
use super::{KeyedState, SlotId};
use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::state::{ChunkReader, Format, Snapshot};
use crate::time::Timestamp;

/// More segments than any process has memory for.
const MOST_SEGMENTS: usize = 1 << 24;

impl<K, V> KeyedState<K, V>
where
    K: Hash + Eq + Serialize + DeserializeOwned + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    /// Hands over what changed since the last call.
    pub fn snapshot(&mut self, snapshot: &mut Snapshot) {
        for (bucket, segment) in (0..).zip(&mut self.segments) {
            segment.snapshot(&self.format, bucket, snapshot);
        }
    }

    /// Takes back what was handed over.
    ///
    /// # Errors
    /// If the chunk cannot be read, or is of another kind of operator.
    pub fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        if chunk.bucket == i64::MIN {
            // An operator that went by windows has finished here, and left how far it came.
            let left = ChunkReader::open(chunk, Format::of_watermark(0))?;
            return left.only_entry::<i64>().map(drop);
        }
        let mut entries = ChunkReader::open(chunk, self.format.clone())?;
        // `None` is a bucket of another kind of operator, which is refused with its first entry.
        let number = usize::try_from(chunk.bucket).ok().filter(|number| *number < MOST_SEGMENTS);
        while let Some((key, kept)) = entries.next_entry::<Written<K, V>>()? {
            let number = number.ok_or_else(|| {
                Error::config(format!(
                    "restore state of operator {:?}, bucket {}: another kind of operator stored it; go on with \
                     that; or reset the job, which removes its positions, state and results",
                    chunk.operator, chunk.bucket
                ))
            })?;
            let segment = self.segment(number);
            let segment = segment.ok_or_else(|| Error::broken("a segment was not added"))?;
            segment.logged = true;
            segment.bucket.restored(1);
            let kept = kept.map(|(value, until)| (value, Timestamp::from_millis(until)));
            self.restore_entry(number, key, kept);
        }
        Ok(())
    }

    fn restore_entry(&mut self, number: usize, key: K, kept: Option<(V, Timestamp)>) {
        // A key that was removed and added again may stand in two logs: the one says that it is gone.
        let same = |at: &SlotId| {
            at.segment as usize == number && self.entry(*at).is_some_and(|entry| entry.key == key)
        };
        if let Some(at) = self.index.find(self.hasher.hash_one(&key), same).copied() {
            self.remove(at);
            match self.segments.get_mut(number) {
                // Nothing has to be written of what was just read.
                Some(segment) => segment.removed.clear(),
                None => Error::broken("a segment is gone with one of its entries").spoil_epoch(),
            }
        }
        // The entry says that the key is gone.
        let Some((value, expires)) = kept else { return };
        let free = self.free.pop_if(|at| at.segment as usize == number);
        let at = free.unwrap_or_else(|| self.unused_of(number));
        self.put(at, Entry { key, value, expires, due: expires, logged: true });
    }
}
