//! The log of one side of a join: its records, and which of them have got a partner.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::buckets::TimeBucket;
use super::keys::Keys;
use super::pages::Pages;
use super::places::Places;
use super::side::{Held, Side, Slot};
use crate::bounded::entry_number;
use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::operators::Snapshot;
use crate::state::{ChunkReader, ChunkWriter, Format};

/// What a chunk begins with: the time that those of its records count from, the partitions that they name by
/// number, and which records of the chunks before it have got a partner.
type Head<P> = (i64, Vec<(P, i32)>, Vec<u32>);
/// A record in a chunk: time, partition, offset, whether it has a partner, value.
type Entry<T> = (i64, u16, i64, bool, T);

impl<T: Serialize + DeserializeOwned + 'static> Side<T> {
    /// Hands over what changed; `renumbers` says whether records that the log has may get other numbers.
    pub(super) fn snapshot(
        &mut self,
        (format, renumbers): (&Format, bool),
        places: &Places,
        snapshot: &mut Snapshot,
    ) {
        for bucket in self.buckets.ended.drain(..) {
            snapshot.drop_bucket(bucket);
        }
        for bucket in &mut self.buckets.open {
            if bucket.slots.len() == bucket.logged_count && bucket.marks.is_empty() {
                continue;
            }
            let changed = bucket.changed();
            let rewrites = rewrites(bucket, changed, renumbers);
            bucket.close_gaps();
            if changed == 0 {
                continue;
            }
            let written = write(bucket, &mut self.slots, format, places);
            if rewrites {
                snapshot.replace(bucket.id, written);
            } else {
                snapshot.append(bucket.id, written);
            }
        }
    }
    /// Takes back a chunk.
    pub(super) fn restore<K: Hash + Eq>(
        &mut self,
        (chunk, format): (&Chunk, &Format),
        keys: &mut Keys<K>,
        places: &mut Places,
        key_of: impl Fn(&T) -> K,
    ) -> Result<()> {
        let mut entries = ChunkReader::open(chunk, format.clone())?;
        let Some((base, partitions, marks)) = entries.next_head::<Head<String>>()? else {
            // A chunk without an entry, which none writes, says nothing.
            return Ok(());
        };
        let numbers = places.numbers(&partitions);
        let opened = || Error::broken("the bucket of a chunk was not opened");
        let bucket = self.buckets.open(chunk.bucket).ok_or_else(opened)?;
        restore_marks(&marks, bucket, &mut self.slots)?;
        let mut count = marks.len();
        while let Some((since, partition, offset, matched, value)) =
            entries.next_entry::<Entry<T>>()?
        {
            let (timestamp, place) =
                (base.wrapping_add(since), places.restored(partition, offset, &numbers)?);
            let key = keys.find_or_add(key_of(&value));
            let slot = self.put(Held { value, timestamp, place, matched }, key);
            let bucket = self.buckets.open(chunk.bucket).ok_or_else(opened)?;
            let number = bucket.add(slot);
            bucket.logged_count = bucket.slots.len();
            self.set_number(slot, number);
            self.link(slot, keys, places);
            count += 1;
        }
        self.buckets.open(chunk.bucket).ok_or_else(opened)?.log.restored(count);
        Ok(())
    }
}

/// These records of the chunks before have got a partner.
fn restore_marks<T>(marks: &[u32], bucket: &TimeBucket, slots: &mut Pages<Slot<T>>) -> Result<()> {
    for number in marks {
        let slot = bucket.slots.get(*number as usize).and_then(|slot| slots.get_mut(*slot));
        slot.ok_or_else(|| Error::broken("a partner was stored of no record"))?.matched = true;
    }
    Ok(())
}

/// Whether a bucket is written anew, with the numbers that its records get now.
fn rewrites(bucket: &mut TimeBucket, changed: usize, renumbers: bool) -> bool {
    if !renumbers {
        bucket.log.restored(changed);
        return false;
    }
    let rewrites = changed > 0 && bucket.log.rewrites(bucket.live_count, changed);
    if rewrites {
        bucket.logged_count = 0;
        bucket.marks.clear();
    }
    rewrites
}

/// Writes what the log of a bucket does not have of it.
fn write<T: Serialize + DeserializeOwned + 'static>(
    bucket: &mut TimeBucket,
    slots: &mut Pages<Slot<T>>,
    format: &Format,
    places: &Places,
) -> ChunkWriter {
    let mut written = bucket.log.writer(format);
    let first = bucket.slots.iter().find_map(|slot| slots.get(*slot));
    let base = first.map_or(0, |slot| slot.timestamp);
    let head: Head<&str> = (base, places.written(), std::mem::take(&mut bucket.marks));
    written.put_head::<Head<String>>(&head);
    for (number, at) in bucket.slots.iter().enumerate().skip(bucket.logged_count) {
        let slot = slots.get_mut(*at);
        let Some(Slot {
            value: Some(value),
            number: known,
            timestamp,
            offset,
            partition,
            matched,
            ..
        }) = slot
        else {
            Error::broken("a bucket has a record that is not held").spoil_epoch();
            continue;
        };
        *known = entry_number(number);
        let since = timestamp.wrapping_sub(base);
        let entry: Entry<&T> = (since, *partition, *offset, *matched, value);
        written.put_as::<Entry<T>>(&entry);
    }
    bucket.logged_count = bucket.slots.len();
    written
}
