//! A table of values by key that expire one by one, and its log.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::state::segment::{Entry, Segment, Slot, Written};
use crate::state::{ChunkReader, Format, Snapshot};
use crate::time::Timestamp;

/// Slots of a segment.
const SEGMENT: usize = 1024;
/// More segments than any process has memory for.
const MOST_SEGMENTS: usize = 1 << 24;

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
    /// Numbers are bounded by memory long before they end.
    fn new(segment: usize, slot: usize) -> Self {
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self { segment: number(segment), slot: number(slot) }
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
        segment.change(at.slot);
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
        if let Some(segment) = self.segments.get_mut(at.segment as usize) {
            segment.change(at.slot);
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

    /// Sets when an entry expires; [`Timestamp::MAX`] is never.
    pub fn expire(&mut self, at: SlotId, expires: Timestamp) {
        let Some(entry) = self.entry_mut(at) else { return };
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
        let entry = self.entry(at)?;
        if entry.expires <= now && over(&entry.value) {
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
        if self.filling == self.segments.len() {
            self.segments.push(Segment::default());
        }
        self.unused_of(self.filling)
    }

    fn unused_of(&mut self, number: usize) -> SlotId {
        let Some(segment) = self.segments.get_mut(number) else { return SlotId::new(number, 0) };
        segment.slots.push(Slot { entry: None, changed: false });
        SlotId::new(number, segment.slots.len() - 1)
    }

    fn put(&mut self, at: SlotId, entry: Entry<K, V>) {
        let hash = self.hasher.hash_one(&entry.key);
        if entry.due < Timestamp::MAX {
            self.due.insert((entry.due, at));
        }
        let Some(segment) = self.segments.get_mut(at.segment as usize) else { return };
        let Some(slot) = segment.slots.get_mut(at.slot as usize) else { return };
        slot.entry = Some(entry);
        segment.live += 1;
        let Self { index, segments, hasher, .. } = self;
        let of = |at: &SlotId| {
            let segment = segments.get(at.segment as usize);
            let slot = segment.and_then(|segment| segment.slots.get(at.slot as usize));
            let entry = slot.and_then(|slot| slot.entry.as_ref());
            entry.map_or(0, |entry| hasher.hash_one(&entry.key))
        };
        index.insert_unique(hash, at, of);
    }

    /// Removes an entry.
    pub fn remove(&mut self, at: SlotId) -> Option<V> {
        let entry = self.entry(at)?;
        let (hash, due) = (self.hasher.hash_one(&entry.key), entry.due);
        if let Ok(found) = self.index.find_entry(hash, |found| *found == at) {
            found.remove();
        }
        self.due.remove(&(due, at));
        self.free.push(at);
        let segment = self.segments.get_mut(at.segment as usize)?;
        let entry = segment.slots.get_mut(at.slot as usize)?.entry.take()?;
        segment.live -= 1;
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
            let Some(entry) = self.entry_mut(at) else { continue };
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
        let number = usize::try_from(chunk.bucket).ok().filter(|number| *number < MOST_SEGMENTS);
        while let Some((key, kept)) = entries.next_entry::<Written<K, V>>()? {
            let number = number.ok_or_else(|| {
                Error::config(format!(
                    "restore state of operator {:?}, bucket {}: another kind of operator stored it; go on with \
                     that; or reset the job, which removes its positions, state and results",
                    chunk.operator, chunk.bucket
                ))
            })?;
            if self.segments.len() <= number {
                self.segments.resize_with(number + 1, Segment::default);
            }
            if let Some(segment) = self.segments.get_mut(number) {
                segment.logged = true;
                segment.bucket.restored(1);
            }
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
            if let Some(segment) = self.segments.get_mut(number) {
                segment.removed.clear();
            }
        }
        let Some((value, expires)) = kept else { return };
        let free = self.free.pop_if(|at| at.segment as usize == number);
        let at = free.unwrap_or_else(|| self.unused_of(number));
        self.put(at, Entry { key, value, expires, due: expires, logged: true });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::chunk::BucketChange;
    use crate::state::ChunkWriter;
    use crate::testing::builders::at;

    type State = KeyedState<u16, i64>;

    /// What a place keeps.
    #[derive(Default)]
    struct Log(BTreeMap<i64, Vec<Chunk>>);

    impl Log {
        fn take(&mut self, state: &mut State) {
            for chunk in Snapshot::of(|snapshot| state.snapshot(snapshot)) {
                match &chunk.change {
                    BucketChange::Append(_) => self.0.entry(chunk.bucket).or_default().push(chunk),
                    BucketChange::Replace(_) => drop(self.0.insert(chunk.bucket, vec![chunk])),
                    BucketChange::Drop => drop(self.0.remove(&chunk.bucket)),
                }
            }
        }

        fn restored(&self) -> State {
            let mut state = State::new(1);
            for chunk in self.0.values().flatten() {
                state.restore(chunk).unwrap();
            }
            state
        }

        fn entries(&self) -> usize {
            let count = |chunk: &Chunk| {
                let mut entries = ChunkReader::open(chunk, 1).unwrap();
                let next = || entries.next_entry::<Written<u16, i64>>().unwrap();
                std::iter::from_fn(next).count()
            };
            self.0.values().flatten().map(count).sum()
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u16, i64),
        Remove(u16),
        Forget(i64),
        Barrier,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = 0..1_100_u16;
        prop_oneof![
            6 => (key.clone(), prop_oneof![0..60_i64, Just(i64::MAX)]).prop_map(|(key, until)| Step::Put(key, until)),
            2 => key.prop_map(Step::Remove),
            1 => (0..60_i64).prop_map(Step::Forget),
            1 => Just(Step::Barrier),
            1 => Just(Step::Restart),
        ]
    }

    fn take(state: &mut State, model: &mut BTreeMap<u16, (i64, i64)>, step: &Step, number: i64) {
        match *step {
            Step::Put(key, until) => {
                model.insert(key, (number, until));
                match state.find(&key) {
                    Some(slot) => {
                        *state.get_mut(slot).unwrap().1 = number;
                        state.expire(slot, at(until));
                    }
                    None => drop(state.insert(key, number, at(until))),
                }
            }
            Step::Remove(key) => {
                let known = model.remove(&key).map(|(value, _)| value);
                assert_eq!(state.find(&key).and_then(|slot| state.remove(slot)), known);
            }
            Step::Forget(now) => {
                model.retain(|_, (_, until)| *until > now);
                state.forget(at(now));
            }
            Step::Barrier | Step::Restart => {}
        }
    }

    fn same(state: &State, model: &BTreeMap<u16, (i64, i64)>) {
        assert_eq!(state.len(), model.len());
        for (key, (value, _)) in model {
            let found = state.find(key).and_then(|slot| state.get(slot));
            assert_eq!(found, Some((key, value)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn is_a_map_through_changes_barriers_and_restarts(
            steps in proptest::collection::vec(step(), 0..150), crowded: bool
        ) {
            let (mut state, mut model, mut log) = (State::new(1), BTreeMap::new(), Log::default());
            // More than one segment, in some cases.
            for key in 0..if crowded { 1_090 } else { 0 } {
                take(&mut state, &mut model, &Step::Put(key, i64::MAX), -1);
            }
            for (number, step) in (0..).zip(&steps) {
                take(&mut state, &mut model, step, number);
                if matches!(step, Step::Barrier | Step::Restart) {
                    log.take(&mut state);
                    same(&log.restored(), &model);
                }
                if matches!(step, Step::Restart) {
                    state = log.restored();
                }
                assert_eq!(state.len(), model.len());
            }
            same(&state, &model);
        }
    }

    #[test]
    fn what_came_and_went_within_an_epoch_leaves_nothing() {
        let (mut state, mut log) = (State::new(1), Log::default());
        let slot = state.insert(1, 1, Timestamp::MAX);
        state.remove(slot);
        log.take(&mut state);
        assert!(log.0.is_empty());
    }

    #[test]
    fn the_log_stays_within_twice_what_is_alive() {
        let (mut state, mut log) = (State::new(1), Log::default());
        for key in 0..3_000 {
            state.insert(key, 0, at(i64::from(key)));
        }
        for now in 0..300 {
            state.forget(at(now * 10));
            log.take(&mut state);
            let (live, logged) = (state.len(), log.entries());
            assert!(logged <= 3 * 64 + 2 * live, "{logged} entries for {live}");
        }
        state.forget(at(3_000));
        log.take(&mut state);
        assert!(log.0.is_empty() && state.due.is_empty(), "nothing is left of the last one");
    }

    #[test]
    fn a_chunk_of_another_kind_of_operator_is_refused() {
        let mut entries = ChunkWriter::new(1);
        entries.put(&(1_u16, Some((1_i64, 1_i64))));
        let change = BucketChange::Append(entries.finish().unwrap());
        let chunk = Chunk { operator: "windows".into(), bucket: 1_700_000_000_000, change };
        let error = State::new(1).restore(&chunk).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("another kind"), "{error}");
    }
}
