//! Which ids are remembered, and for how long.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::barrier::Class;
use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::operators::dedup::options::Dedup;
use crate::operators::late::Late;
use crate::operators::stateful::{Logic, Outbox, Snapshot};
use crate::record::{Origin, Record};
use crate::state::{Bucket, ChunkReader, ChunkWriter, Format};
use crate::time::{Timestamp, millis};

/// Spans of time that an id's duration is cut into: ids of one are forgotten together.
const SPANS: i64 = 2;

/// The logic behind [`KeyedFlow::dedup`]: ids by generations, each of which is forgotten whole.
///
/// A generation is a bucket of the state, known by its end; an entry is an id and how far behind the
/// generation's start its event time is. Entries never change, so a log is never rewritten.
pub(super) struct DedupLogic<K, T, U, F> {
    key: F,
    dedup: Dedup,
    first: fn(T) -> U,
    repeat: Option<fn(T) -> U>,
    span_ms: i64,
    watermark: Timestamp,
    hasher: RandomState,
    /// In order of time; mostly three.
    generations: Vec<Generation<K>>,
    /// Buckets that the place still has and that are to be dropped there.
    forgotten: Vec<i64>,
    values: PhantomData<fn(T)>,
}

fn format() -> Format {
    Format::new(VERSION, "ids")
}

/// Ids that are forgotten together.
struct Generation<K> {
    start: Timestamp,
    end: Timestamp,
    ids: HashTable<(K, Timestamp)>,
    /// Those that came since the last barrier.
    fresh: Option<ChunkWriter>,
    bucket: Bucket,
    /// Whether the place has any of them.
    logged: bool,
}

impl<K, T, U, F> fmt::Debug for DedupLogic<K, T, U, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DedupLogic({} generations)", self.generations.len())
    }
}

impl<K, T, U, F> DedupLogic<K, T, U, F>
where
    K: Hash + Eq + Serialize + DeserializeOwned + 'static,
{
    pub(super) fn new(key: F, dedup: Dedup, first: fn(T) -> U, repeat: Option<fn(T) -> U>) -> Self {
        Self {
            key,
            dedup,
            first,
            repeat,
            span_ms: (millis(dedup.within) / SPANS).max(1),
            watermark: Timestamp::MIN,
            hasher: RandomState::default(),
            generations: Vec::new(),
            forgotten: Vec::new(),
            values: PhantomData,
        }
    }

    /// Whether a record of the key was kept less than the duration before or after.
    #[inline]
    fn holds(&self, hash: u64, key: &K, at: Timestamp) -> bool {
        let within = self.dedup.within;
        let (from, to) = (at - within, (at + within).max(self.watermark));
        let within_ms = millis(within).unsigned_abs();
        let same = |(id, kept): &(K, Timestamp)| {
            id == key && kept.as_millis().abs_diff(at.as_millis()) < within_ms
        };
        let newest_first = self.generations.iter().rev();
        newest_first
            .skip_while(|generation| generation.start > to)
            .take_while(|generation| generation.end > from)
            .any(|generation| generation.ids.find(hash, same).is_some())
    }

    /// The generation of a time, which is begun if need be.
    #[inline]
    fn generation(&mut self, at: Timestamp) -> Option<&mut Generation<K>> {
        let next = match self.generations.last() {
            Some(newest) if newest.start <= at && at < newest.end => self.generations.len(),
            _ => self.generations.partition_point(|generation| generation.start <= at),
        };
        let before = next.checked_sub(1).and_then(|number| self.generations.get(number));
        let number = match before {
            Some(generation) if at < generation.end => next - 1,
            _ => {
                let start = at.as_millis().div_euclid(self.span_ms).saturating_mul(self.span_ms);
                let start = Timestamp::from_millis(start);
                let end = start + Duration::from_millis(self.span_ms.unsigned_abs());
                // As many will come as in the one before: nothing is moved while it grows.
                let follows = before.filter(|before| before.end == start);
                let ids = HashTable::with_capacity(follows.map_or(0, |before| before.ids.len()));
                let (fresh, bucket) = (None, Bucket::default());
                let generation = Generation { start, end, ids, fresh, bucket, logged: false };
                self.generations.insert(next, generation);
                next
            }
        };
        self.generations.get_mut(number)
    }

    /// Remembers an id that the place has in the generation that begins there.
    fn remember_stored(&mut self, key: K, at: Timestamp, start: Timestamp) -> Result<()> {
        let (hasher, hash) = (self.hasher.clone(), self.hasher.hash_one(&key));
        let generation = self.generation(start);
        let generation = generation
            .ok_or_else(|| Error::broken("a stored id has no generation to be remembered in"))?;
        generation.logged = true;
        generation.ids.insert_unique(hash, (key, at), |(id, _)| hasher.hash_one(id));
        Ok(())
    }

    /// Remembers the id of a record that is kept.
    fn remember(&mut self, hash: u64, key: K, at: Timestamp, held_from: Timestamp) {
        let hasher = self.hasher.clone();
        let Some(generation) = self.generation(held_from) else {
            return Error::broken("an id has no generation to be remembered in").spoil_epoch();
        };
        let Generation { start, bucket, fresh, .. } = generation;
        let fresh = fresh.get_or_insert_with(|| {
            let mut fresh = bucket.writer(&format());
            fresh.put_head::<Timestamp>(start);
            fresh
        });
        // Near the ends of all time the distance stops at the most that it can be.
        fresh.put_as::<(K, i64)>(&(&key, start.as_millis().saturating_sub(at.as_millis())));
        generation.ids.insert_unique(hash, (key, at), |(id, _)| hasher.hash_one(id));
    }

    /// Drops the generations that the watermark has left behind.
    fn forget(&mut self) {
        let (watermark, within) = (self.watermark, self.dedup.within);
        let over = self.generations.partition_point(|old| old.end + within <= watermark);
        for generation in self.generations.drain(..over) {
            if generation.logged {
                self.forgotten.push(generation.end.as_millis());
            }
        }
    }

    fn on_repeat(&self, record: Record<T>, out: &mut Outbox<U>) {
        out.account(Class::Duplicate, record.origin);
        if let Some(repeat) = self.repeat {
            let origin = record.origin.map(Origin::shared);
            out.push(Record { origin, ..record }.map(repeat));
        }
    }

    fn on_late(&self, late: Late, record: &Record<T>, out: &mut Outbox<U>) {
        let (time, within, watermark) = (record.timestamp, self.dedup.within, self.watermark);
        out.late(late, record.origin, watermark.since(time + within), || {
            format!("of {time}, ids are kept for {within:?}, the watermark is {watermark}")
        });
    }
}

/// The version of the state.
const VERSION: u16 = 1;

impl<K, T, U, F> Logic for DedupLogic<K, T, U, F>
where
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    U: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
{
    type In = T;
    type Out = U;
    const VERSION: u16 = VERSION;

    #[inline]
    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<U>) {
        let key = (self.key)(&record.value);
        let (hash, at) = (self.hasher.hash_one(&key), record.timestamp);
        if self.holds(hash, &key, at) {
            return self.on_repeat(record, out);
        }
        if let Some(late) = self.dedup.late
            && at + self.dedup.within <= self.watermark
        {
            return self.on_late(late, &record, out);
        }
        self.remember(hash, key, at, at.max(self.watermark));
        out.push(record.map(self.first));
    }

    #[inline]
    fn on_watermark(&mut self, watermark: Timestamp, _out: &mut Outbox<U>) -> Option<Timestamp> {
        // The end of all time is that of one run: another may go on from here.
        if watermark < Timestamp::MAX {
            self.watermark = watermark;
            let within = self.dedup.within;
            if self.generations.first().is_some_and(|oldest| oldest.end + within <= watermark) {
                self.forget();
            }
        }
        Some(watermark)
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        for bucket in self.forgotten.drain(..) {
            snapshot.drop_bucket(bucket);
        }
        for generation in &mut self.generations {
            if let Some(fresh) = generation.fresh.take() {
                generation.logged = true;
                snapshot.append(generation.end.as_millis(), fresh);
            }
        }
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        let mut entries = ChunkReader::open(chunk, format())?;
        let Some(start) = entries.next_head::<Timestamp>()? else {
            // A chunk without an entry, which none writes, says nothing.
            return Ok(());
        };
        let span = Duration::from_millis(self.span_ms.unsigned_abs());
        let fits = start.as_millis().rem_euclid(self.span_ms) == 0
            && (start + span).as_millis() == chunk.bucket;
        if !fits {
            // The duration is another one than when this was written: its ids move into generations of
            // today's.
            self.forgotten.push(chunk.bucket);
            self.forgotten.dedup();
        }
        while let Some((key, behind_ms)) = entries.next_entry::<(K, i64)>()? {
            let at = Timestamp::from_millis(start.as_millis().saturating_sub(behind_ms));
            if fits {
                self.remember_stored(key, at, start)?;
            } else {
                self.remember(self.hasher.hash_one(&key), key, at, at.max(start));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{at, record};

    const TEN: Duration = Duration::from_millis(10);

    #[test]
    fn ids_are_forgotten_with_their_generation() {
        let mut logic: DedupLogic<u32, u32, u32, _> =
            DedupLogic::new(|id: &u32| *id, TEN.into(), |id| id, None);
        let mut out = Outbox::for_tests();
        for ms in 0..1_000 {
            logic.on_watermark(at(ms), &mut out);
            logic.on_record(record(u32::try_from(ms).unwrap(), ms), &mut out);
            let held: usize = logic.generations.iter().map(|old| old.ids.len()).sum();
            assert!(held <= 16, "{held} ids are held at {ms}");
        }
    }

    #[test]
    fn another_duration_takes_over_the_ids() {
        let written = |within_ms: u64| {
            let within = Duration::from_millis(within_ms);
            DedupLogic::<u8, u8, u8, _>::new(|id: &u8| *id, within.into(), |id| id, None)
        };
        for (before, after) in [(10, 14), (14, 10), (10, 40), (40, 10)] {
            let (mut old, mut out) = (written(before), Outbox::for_tests());
            for (id, ms) in (0..30).zip(100..) {
                old.on_record(record(id, ms), &mut out);
            }
            let chunks = Snapshot::of(|snapshot| old.snapshot(snapshot));
            let mut new = written(after);
            chunks.iter().for_each(|chunk| new.restore(chunk).unwrap());
            let again = Snapshot::of(|snapshot| new.snapshot(snapshot));
            let mut newest = written(after);
            let dropped =
                |chunk: &&Chunk| !matches!(chunk.change, crate::chunk::BucketChange::Drop);
            again.iter().filter(dropped).for_each(|chunk| newest.restore(chunk).unwrap());
            for (id, ms) in (0..30).zip(100..) {
                let hash = newest.hasher.hash_one(id);
                assert!(newest.holds(hash, &id, at(ms)), "{id}, from {before} to {after}");
            }
        }
    }
}
