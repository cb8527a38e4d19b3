//! Keeps the first record of each key and tells its repeats.

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
use crate::either::Either;
use crate::error::{Error, Result};
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::late::Late;
use crate::operators::stateful::{Logic, Outbox, Snapshot, Stateful};
use crate::record::{Origin, Record};
use crate::state::{Bucket, ChunkReader, ChunkWriter, Format};
use crate::time::{Timestamp, millis, some_time};

/// How long an id is remembered, and what becomes of a record that comes later than that.
///
/// A plain [`Duration`] will do where late records pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dedup {
    within: Duration,
    late: Option<Late>,
}

impl Dedup {
    /// Records of a key are repeats when less than this much event time lies between them and the one
    /// that was kept.
    #[must_use]
    pub fn within(within: Duration) -> Self {
        Self { within, late: None }
    }

    /// What becomes of a record that is `within` or more behind the watermark. Whatever it may repeat was
    /// forgotten; unless this says otherwise it passes.
    #[must_use]
    pub fn late(mut self, late: Late) -> Self {
        self.late = Some(late);
        self
    }
}

impl From<Duration> for Dedup {
    fn from(within: Duration) -> Self {
        Self::within(within)
    }
}

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements,
    K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Keeps the first record of each key, at once, and drops its repeats: records of the same key whose
    /// event time is less than a duration before or after that of the one kept. A repeat does not
    /// lengthen the time. `name` is what the ids are kept by.
    ///
    /// *First* means by arrival: of two in one partition that with the lower offset, of two in different
    /// partitions that which is read first. For the first by event time, which is known only when the watermark has reached
    /// it, take [`earliest`](Self::earliest). To have the repeats as well, take
    /// [`dedup_either`](Self::dedup_either); for the newest of each key,
    /// [`latest_by`](Self::latest_by).
    ///
    /// # Time and state
    /// Keeps the ids themselves (no filter that may err), each with its time, until the watermark is the
    /// duration past it, at most half the duration longer: ids are forgotten by whole halves of it. So
    /// every record that is not behind the watermark is decided exactly. One that is behind it is
    /// compared with the ids still held and, if there is none, passes; see [`Dedup::late`]. The end of all
    /// time forgets nothing, so that another run can go on from there. Repeats are counted as
    /// duplicates.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::testing::{run, timed};
    ///
    /// let orders = timed([("a1", 0), ("b7", 10), ("a1", 999), ("a1", 1_000)]);
    /// let kept = run(orders, |flow| {
    ///     flow.key_by(|id: &&str| id.to_string()).dedup("orders", Duration::from_secs(1))
    /// });
    /// assert_eq!(kept, ["a1", "b7", "a1"]);
    /// ```
    pub fn dedup(
        self,
        name: &str,
        dedup: impl Into<Dedup>,
    ) -> Flow<impl Elements<Value = S::Value>> {
        self.deduped(name, dedup.into(), |value| value, None)
    }

    /// As [`dedup`](Self::dedup), but repeats go on as well, as the other kind: `Left` is the first of a
    /// key, `Right` each repeat. Repeats are counted as duplicates here, whatever becomes of them
    /// afterwards.
    ///
    /// # Time and state
    /// As [`dedup`](Self::dedup).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::Either::{Left, Right};
    /// use rtbflow::testing::{run, values};
    ///
    /// let clicks = run(values(["a", "b", "a"]), |flow| {
    ///     flow.key_by(|id: &&str| id.to_string()).dedup_either("ids", Duration::from_secs(1))
    /// });
    /// assert_eq!(clicks, [Left("a"), Left("b"), Right("a")]);
    /// ```
    pub fn dedup_either(
        self,
        name: &str,
        dedup: impl Into<Dedup>,
    ) -> Flow<impl Elements<Value = Either<S::Value, S::Value>>> {
        self.deduped(name, dedup.into(), Either::Left, Some(Either::Right))
    }

    fn deduped<U: Send + 'static>(
        self,
        name: &str,
        dedup: Dedup,
        first: fn(S::Value) -> U,
        repeat: Option<fn(S::Value) -> U>,
    ) -> Flow<impl Elements<Value = U>> {
        let tip = self.tip.then_named("dedup", name, &format!("within {:?}", dedup.within));
        tip.check([some_time("it remembers records", dedup.within)]);
        let logic = DedupLogic::new(self.key, dedup, first, repeat);
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

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
    fn new(key: F, dedup: Dedup, first: fn(T) -> U, repeat: Option<fn(T) -> U>) -> Self {
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
        let Some(start) = entries.next_head::<Timestamp>()? else { return Ok(()) };
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
            let hash = self.hasher.hash_one(&key);
            if fits {
                let hasher = self.hasher.clone();
                let Some(generation) = self.generation(start) else {
                    return Err(Error::broken("a stored id has no generation to be remembered in"));
                };
                generation.logged = true;
                generation.ids.insert_unique(hash, (key, at), |(id, _)| hasher.hash_one(id));
            } else {
                self.remember(hash, key, at, at.max(start));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::builders::{at, record};
    use crate::testing::{elements, run, timed, values};

    const TEN: Duration = Duration::from_millis(10);

    /// What is kept of records of one key at these times, in this order; the watermark is the highest.
    fn kept(times: &[i64], dedup: impl Into<Dedup>) -> Vec<i64> {
        let dedup = dedup.into();
        run(timed(times.iter().map(|ms| (*ms, *ms))), |flow| {
            flow.key_by(|_| ()).dedup("ids", dedup)
        })
    }

    #[test]
    fn less_than_the_duration_from_the_one_kept_is_a_repeat() {
        assert_eq!(kept(&[0, 9, 10, 19, 20], TEN), [0, 10, 20]);
        assert_eq!(kept(&[-10, -1, 0], TEN), [-10, 0]);
        assert_eq!(kept(&[0, 9, 18], TEN), [0, 18], "a repeat does not lengthen the time");
        assert_eq!(kept(&[5, 5, 6], Duration::from_millis(1)), [5, 6]);
        assert_eq!(
            kept(&[i64::MAX - 1, i64::MIN, i64::MAX - 1], Duration::MAX),
            [i64::MAX - 1, i64::MIN]
        );
    }

    #[test]
    fn an_earlier_record_that_comes_later_is_compared_both_ways() {
        assert_eq!(kept(&[15, 6], TEN), [15], "less than the duration before the one kept");
        assert_eq!(kept(&[15, 5], TEN), [15, 5]);
        assert_eq!(kept(&[15, 5, 24, 14], TEN), [15, 5], "both are remembered");
    }

    #[test]
    fn a_late_record_passes_once_or_is_late() {
        assert_eq!(kept(&[100, 50, 50], TEN), [100, 50]);
        assert_eq!(kept(&[100, 90, 91], Dedup::within(TEN).late(Late::Drop)), [100]);
        assert_eq!(kept(&[100, 90, 91], Dedup::within(TEN).late(Late::DeadLetter)), [100]);
        assert_eq!(kept(&[100, 90], TEN), [100, 90]);
    }

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

    #[test]
    fn repeats_are_emitted_with_their_time() {
        let flow = |flow: crate::testing::TestFlow<char>| {
            flow.key_by(|letter| *letter).dedup_either("letters", TEN)
        };
        let clicks = elements(values(['a', 'a']), flow);
        assert_eq!(clicks, ["Left('a')@0", "w0", "Right('a')@1", "w1", "w+inf"]);
    }
}
