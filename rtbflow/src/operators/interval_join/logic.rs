//! When records are joined, when one is decided to have no partner, and what is held.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::Keys;
use super::places::{Place, Places};
use super::side::{Held, Side, Slot};
use super::{Bound, JoinKind, LateRecords, Narrow, Touch};
use crate::barrier::Class;
use crate::either::Either;
use crate::element::{Origin, Record};
use crate::error::{BadRecord, Result};
use crate::operators::window::Late;
use crate::operators::{Logic, Outbox, Snapshot};
use crate::state::{Chunk, Reader, Writer};
use crate::time::Timestamp;

/// The bucket of the watermark; records have others.
const WATERMARK: i64 = i64::MIN;
const LEFT: usize = 0;
const RIGHT: usize = 1;

/// The logic behind [`Connected::interval_join`](crate::operators::Connected::interval_join).
///
/// Each side's records are held once, linked by key in order of time. Whatever follows from the watermark is
/// not noted in the log: what was decided before a restart is what the watermark of that time had passed.
pub struct IntervalJoinLogic<K, L, R, F, G, J, N> {
    left_key: F,
    right_key: G,
    /// The interval: the first and the last millisecond that belong to it, from the left record's time.
    interval: (i64, i64),
    touch: Touch,
    narrow: N,
    late: [LateRecords; 2],
    /// A left record is late only if it is by so much behind the watermark.
    allowed_lateness_ms: i64,
    /// Whether a right record is of no use once a newer one is there for all left records that can come.
    supersedes: bool,
    /// How long after its time a record is held.
    hold: [i64; 2],
    /// How much lower the watermark is that is passed on.
    held_back_ms: i64,
    watermark: i64,
    /// Whether something was decided that the watermark in the log does not tell.
    decided: bool,
    keys: Keys<K>,
    left: Side<L>,
    right: Side<R>,
    places: Places,
    /// When records are decided. What has been overtaken stays until then.
    due: BinaryHeap<Reverse<Due>>,
    /// Kept for their memory.
    partners: Vec<u32>,
    deciding: Vec<Due>,
    kind: PhantomData<fn() -> J>,
}

/// What a join is to do.
pub(in crate::operators) struct Rules<N> {
    /// The interval.
    pub(in crate::operators) bounds: (Bound, Bound),
    /// Which partners a left record is joined with.
    pub(in crate::operators) touch: Touch,
    /// The intervals of single left records.
    pub(in crate::operators) narrow: N,
    /// What becomes of late records of the left and of the right side.
    pub(in crate::operators) late: [LateRecords; 2],
    /// A left record is late only if it is by so much behind the watermark.
    pub(in crate::operators) allowed_lateness_ms: i64,
    /// Whether the newest right record at a time stands for all that are older.
    pub(in crate::operators) supersedes: bool,
}

/// A record is decided once the watermark has passed this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: i64,
    is_right: bool,
    slot: u32,
}

impl<K, L, R, F, G, J, N> fmt::Debug for IntervalJoinLogic<K, L, R, F, G, J, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntervalJoinLogic(watermark {})", Timestamp::from_millis(self.watermark))
    }
}

/// Whether a watermark says that no record of this time comes any more.
#[inline]
fn passed(watermark: i64, time: i64) -> bool {
    time < watermark || watermark == i64::MAX
}

/// When nothing can join a right record of this time any more: once no left record comes that reaches it, and
/// none waits that may still choose it.
#[inline]
fn right_due(touch: Touch, (lower, upper): (i64, i64), timestamp: i64) -> i64 {
    let last_left = timestamp.saturating_sub(lower);
    if touch == Touch::All { last_left } else { last_left.saturating_add(upper.max(0)) }
}

impl<K, L, R, F, G, J, N> IntervalJoinLogic<K, L, R, F, G, J, N>
where
    K: Hash + Eq,
    L: Clone,
    R: Clone,
    F: Fn(&L) -> K,
    G: Fn(&R) -> K,
    J: JoinKind<L, R>,
    N: Narrow<L>,
{
    pub(in crate::operators) fn new((left_key, right_key): (F, G), rules: Rules<N>) -> Self {
        let Rules { bounds: (lower, upper), touch, narrow, late, .. } = rules;
        let Rules { allowed_lateness_ms, supersedes, .. } = rules;
        let (lower, upper) = (lower.first_ms(), upper.last_ms());
        let length = upper.saturating_sub(lower).max(0);
        let unmatched_right = right_due(touch, (lower, upper), 0);
        let mut hold = [upper, unmatched_right.saturating_add(allowed_lateness_ms)];
        if late == [LateRecords::Joined; 2] {
            hold = hold.map(|hold| hold.max(length));
        }
        let left_waits = J::LEFT || touch == Touch::Last;
        let held_back_ms = [(left_waits, upper), (J::RIGHT, unmatched_right), (true, 0)];
        let held_back_ms = held_back_ms.iter().filter(|(waits, _)| *waits).map(|(_, ms)| *ms);
        Self {
            left_key,
            right_key,
            interval: (lower, upper),
            touch,
            narrow,
            late,
            allowed_lateness_ms,
            supersedes,
            hold,
            held_back_ms: held_back_ms.max().unwrap_or(0),
            watermark: i64::MIN,
            decided: false,
            keys: Keys::default(),
            left: Side::new(LEFT, hold[LEFT]),
            right: Side::new(RIGHT, hold[RIGHT]),
            places: Places::default(),
            due: BinaryHeap::new(),
            partners: Vec::new(),
            deciding: Vec::new(),
            kind: PhantomData,
        }
    }

    #[inline]
    fn passed(&self, time: i64) -> bool {
        passed(self.watermark, time)
    }

    /// The times of the partners that a left record can have.
    #[inline]
    fn interval_of(&self, left: &L, timestamp: i64) -> (i64, i64) {
        let (mut lower, mut upper) = self.interval;
        if let Some((from, to)) = self.narrow.interval(left) {
            (lower, upper) = (lower.max(from.first_ms()), upper.min(to.last_ms()));
        }
        (timestamp.saturating_add(lower), timestamp.saturating_add(upper))
    }

    /// When a left record is decided that has this interval, as far as is known.
    fn left_due(&self, key: u32, (low, high): (i64, i64)) -> i64 {
        if self.touch != Touch::First {
            return high;
        }
        let oldest = self.right.between(&self.keys, Some(key), (low, high)).last();
        oldest.map_or(high, |(_, partner)| partner.timestamp)
    }

    /// Of the times, those of which records of a side are still held.
    #[inline]
    fn held(&self, side: usize, (low, high): (i64, i64)) -> (i64, i64) {
        let hold = self.hold.get(side).copied().unwrap_or(0);
        (low.max(self.watermark.saturating_sub(hold)), high)
    }

    /// Whether a record is late, and what becomes of it then.
    #[inline]
    fn rejects(
        &self,
        side: usize,
        timestamp: i64,
        origin: Option<Origin>,
        out: &mut Outbox<J::Out>,
    ) -> bool {
        let allowed = self.watermark.saturating_sub(self.allowed_lateness_ms);
        let Some(LateRecords::Rejected(late)) = self.late.get(side) else { return false };
        if timestamp >= allowed {
            return false;
        }
        match late {
            Late::Drop => out.account(Class::Late, origin),
            Late::DeadLetter => {
                let at = Timestamp::from_millis;
                let (time, watermark) = (at(timestamp), at(self.watermark));
                let reason = format!("late: its time is {time}, the watermark is {watermark}");
                out.dead_letter(Class::Late, origin, BadRecord::new(reason));
            }
        }
        true
    }

    fn on_left(&mut self, value: L, time: i64, place: Place, out: &mut Outbox<J::Out>) {
        let key = (self.left_key)(&value);
        let hash = self.keys.hash(&key);
        let known = self.keys.find(hash, &key);
        let interval = self.interval_of(&value, time);
        let mut matched = false;
        if self.touch == Touch::All {
            let held = self.held(RIGHT, interval);
            self.partners.clear();
            self.partners.extend(self.right.between(&self.keys, known, held).map(|(at, _)| at));
            matched = !self.partners.is_empty();
            for at in self.partners.iter().rev() {
                let Some(Slot { value: Some(right), timestamp, .. }) = self.right.get(*at) else {
                    continue;
                };
                let pair = J::pair(value.clone(), right.clone());
                out.push(Record::derived(pair, Timestamp::from_millis(time.max(*timestamp))));
                if J::RIGHT {
                    self.right.mark(*at);
                }
            }
        }
        let decides = self.touch != Touch::All || (J::LEFT && !matched);
        if decides && self.passed(interval.1) {
            return self.put_out((value, time), known, self.held(RIGHT, interval), out);
        }
        if time < self.held(LEFT, (time, time)).0 {
            return;
        }
        let key = known.unwrap_or_else(|| self.keys.add(hash, key));
        let held = Held { value, timestamp: time, place, matched };
        let slot = self.left.insert(held, key, &mut self.keys, &self.places);
        if decides {
            let at = self.left_due(key, interval);
            self.due.push(Reverse(Due { at, is_right: false, slot }));
            self.decide(out);
        }
    }

    fn on_right(&mut self, value: R, time: i64, place: Place, out: &mut Outbox<J::Out>) {
        let key = (self.right_key)(&value);
        let hash = self.keys.hash(&key);
        let known = self.keys.find(hash, &key);
        let (lower, upper) = self.interval;
        let lefts = (time.saturating_sub(upper), time.saturating_sub(lower));
        let held = self.held(LEFT, lefts);
        let mut partners = std::mem::take(&mut self.partners);
        partners.clear();
        if self.touch != Touch::Last {
            let reaches = |slot: &Slot<L>| {
                let interval =
                    slot.value.as_ref().map(|left| self.interval_of(left, slot.timestamp));
                interval.is_some_and(|(low, high)| low <= time && time <= high)
            };
            let all = self.left.between(&self.keys, known, held);
            partners.extend(all.filter(|(_, slot)| reaches(slot)).map(|(at, _)| at));
        }
        self.partners = partners;
        let mut matched = false;
        if self.touch == Touch::All {
            matched = !self.partners.is_empty();
            for at in self.partners.iter().rev() {
                let Some(Slot { value: Some(left), timestamp, .. }) = self.left.get(*at) else {
                    continue;
                };
                let pair = J::pair(left.clone(), value.clone());
                out.push(Record::derived(pair, Timestamp::from_millis(time.max(*timestamp))));
                if J::LEFT {
                    self.left.mark(*at);
                }
            }
        }
        let due = right_due(self.touch, self.interval, time);
        if J::RIGHT && !matched && self.passed(due) {
            out_alone(J::right(value), time, out);
            return;
        }
        if time < self.held(RIGHT, (time, time)).0 {
            return;
        }
        let key = known.unwrap_or_else(|| self.keys.add(hash, key));
        let held = Held { value, timestamp: time, place, matched };
        let slot = self.right.insert(held, key, &mut self.keys, &self.places);
        if self.supersedes {
            let settled = self.watermark.saturating_sub(self.allowed_lateness_ms);
            self.right.supersede(key, settled, &mut self.keys);
        }
        if J::RIGHT && !matched {
            self.due.push(Reverse(Due { at: due, is_right: true, slot }));
        }
        if self.touch == Touch::First {
            self.overtake(slot, time);
            self.decide(out);
        }
    }

    /// A right record came that the left ones in `partners` may choose: those whose oldest partner it is are
    /// decided by its time.
    fn overtake(&mut self, slot: u32, time: i64) {
        let older = self.right.older(slot).map(|slot| slot.timestamp);
        for at in &self.partners {
            let Some(Slot { value: Some(left), timestamp, .. }) = self.left.get(*at) else {
                continue;
            };
            let (low, _) = self.interval_of(left, *timestamp);
            if older.is_none_or(|older| older < low) {
                self.due.push(Reverse(Due { at: time, is_right: false, slot: *at }));
            }
        }
    }

    /// Puts out what is decided by the watermark.
    fn decide(&mut self, out: &mut Outbox<J::Out>) {
        let mut deciding = std::mem::take(&mut self.deciding);
        while let Some(Reverse(due)) = self.due.peek()
            && self.passed(due.at)
        {
            deciding.extend(self.due.pop().map(|Reverse(due)| due));
        }
        if deciding.len() > 1 {
            deciding.sort_by(|one, other| {
                let by_time = one.at.cmp(&other.at).then(one.is_right.cmp(&other.is_right));
                by_time.then_with(|| self.order(*one, *other))
            });
        }
        for due in deciding.drain(..) {
            if due.is_right { self.decide_right(due, out) } else { self.decide_left(due, out) }
        }
        self.deciding = deciding;
    }

    /// The order of two records of the same side.
    fn order(&self, one: Due, other: Due) -> Ordering {
        let time_and_place = |due: Due| {
            if due.is_right {
                self.right.get(due.slot).map(|slot| (slot.timestamp, slot.place()))
            } else {
                self.left.get(due.slot).map(|slot| (slot.timestamp, slot.place()))
            }
        };
        match (time_and_place(one), time_and_place(other)) {
            (Some(one), Some(other)) => {
                one.0.cmp(&other.0).then_with(|| self.places.order(one.1, other.1))
            }
            (one, other) => one.is_some().cmp(&other.is_some()),
        }
    }

    fn decide_left(&mut self, due: Due, out: &mut Outbox<J::Out>) {
        let Some(slot) = self.left.get(due.slot) else { return };
        let (time, key, Some(value)) = (slot.timestamp, slot.key(), &slot.value) else { return };
        let interval = self.interval_of(value, time);
        let has_partners = self.touch == Touch::All && slot.matched;
        // What stood here when this was noted may be gone, and another record in its place.
        if has_partners || !self.passed(self.left_due(key, interval)) {
            return;
        }
        if let Some(value) = self.left.remove(due.slot, &mut self.keys) {
            self.decided = true;
            self.put_out((value, time), Some(key), interval, out);
        }
    }

    fn decide_right(&mut self, due: Due, out: &mut Outbox<J::Out>) {
        let Some(slot) = self.right.get(due.slot) else { return };
        let time = slot.timestamp;
        if slot.matched || !self.passed(right_due(self.touch, self.interval, time)) {
            return;
        }
        if let Some(value) = self.right.remove(due.slot, &mut self.keys) {
            self.decided = true;
            out_alone(J::right(value), time, out);
        }
    }

    /// The partner of these times that a left record chooses.
    fn choose(&self, key: Option<u32>, interval: (i64, i64)) -> Option<(u32, i64, R)> {
        let mut partners = self.right.between(&self.keys, key, interval);
        let (at, slot) = match self.touch {
            Touch::All => None,
            Touch::Last => partners.next(),
            Touch::First => partners.last(),
        }?;
        Some((at, slot.timestamp, slot.value.clone()?))
    }

    /// Puts out a left record that is decided: with the partner of these times that it chooses, or alone.
    fn put_out(
        &mut self,
        (value, time): (L, i64),
        key: Option<u32>,
        interval: (i64, i64),
        out: &mut Outbox<J::Out>,
    ) {
        match self.choose(key, interval) {
            Some((at, timestamp, right)) => {
                let pair = J::pair(value, right);
                out.push(Record::derived(pair, Timestamp::from_millis(time.max(timestamp))));
                if J::RIGHT {
                    self.right.mark(at);
                }
            }
            None => out_alone(J::left(value), time, out),
        }
    }

    /// After the last chunk was brought back: lets go of what was decided, and notes when the rest will be.
    fn settle(&mut self) {
        self.left.settle();
        self.right.settle();
        let lefts: Vec<u32> = self.left.all().collect();
        for slot in lefts {
            let Some(held) = self.left.get(slot) else { continue };
            let waits = self.touch != Touch::All || (J::LEFT && !held.matched);
            let Some(value) = held.value.as_ref().filter(|_| waits) else { continue };
            let at = self.left_due(held.key(), self.interval_of(value, held.timestamp));
            if self.passed(at) {
                self.left.remove(slot, &mut self.keys);
            } else {
                self.due.push(Reverse(Due { at, is_right: false, slot }));
            }
        }
        let rights: Vec<u32> = if J::RIGHT { self.right.all().collect() } else { Vec::new() };
        for slot in rights {
            let Some(held) = self.right.get(slot).filter(|held| !held.matched) else { continue };
            let at = right_due(self.touch, self.interval, held.timestamp);
            if self.passed(at) {
                self.right.remove(slot, &mut self.keys);
            } else {
                self.due.push(Reverse(Due { at, is_right: true, slot }));
            }
        }
    }
}

/// Puts out a record without a partner, if its side is put out.
fn out_alone<U>(alone: Option<U>, time: i64, out: &mut Outbox<U>) {
    if let Some(alone) = alone {
        out.push(Record::derived(alone, Timestamp::from_millis(time)));
    }
}

impl<K, L, R, F, G, J, N> Logic for IntervalJoinLogic<K, L, R, F, G, J, N>
where
    K: Hash + Eq + Send + 'static,
    L: Clone + Serialize + DeserializeOwned + Send + 'static,
    R: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&L) -> K + Send + 'static,
    G: Fn(&R) -> K + Send + 'static,
    J: JoinKind<L, R>,
    N: Narrow<L>,
{
    type In = Either<L, R>;
    type Out = J::Out;
    const VERSION: u16 = 1;

    #[inline]
    fn on_record(&mut self, record: Record<Either<L, R>>, out: &mut Outbox<Self::Out>) {
        let Record { value, timestamp, origin } = record;
        let time = timestamp.as_millis();
        let side = if matches!(value, Either::Left(_)) { LEFT } else { RIGHT };
        if self.rejects(side, time, origin, out) {
            return;
        }
        let place = self.places.of(origin);
        match value {
            Either::Left(left) => self.on_left(left, time, place, out),
            Either::Right(right) => self.on_right(right, time, place, out),
        }
    }

    #[inline]
    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<Self::Out>,
    ) -> Option<Timestamp> {
        let at = watermark.as_millis();
        self.watermark = at;
        self.decide(out);
        self.left.expire(&mut self.keys, |time| passed(at, time));
        self.right.expire(&mut self.keys, |time| passed(at, time));
        if watermark == Timestamp::MAX {
            return Some(watermark);
        }
        Some(Timestamp::from_millis(at.saturating_sub(self.held_back_ms)))
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        self.left.snapshot(Self::VERSION, &self.places, snapshot);
        self.right.snapshot(Self::VERSION, &self.places, snapshot);
        // The end of all time is that of one run: nothing is held then, and another may go on from here.
        if std::mem::take(&mut self.decided) && self.watermark < i64::MAX {
            let mut entry = Writer::new(Self::VERSION);
            entry.put(&self.watermark);
            snapshot.replace(WATERMARK, entry);
        }
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        let Self { keys, places, left_key, right_key, .. } = self;
        if chunk.bucket == WATERMARK {
            let watermark = Reader::open(chunk, Self::VERSION)?.next_entry()?;
            self.watermark = watermark.unwrap_or(i64::MIN);
            return Ok(());
        }
        let chunk_and_version = (chunk, Self::VERSION);
        if chunk.bucket & 1 == 0 {
            self.left.restore(chunk_and_version, keys, places, &*left_key)
        } else {
            self.right.restore(chunk_and_version, keys, places, &*right_key)
        }
    }

    fn restored(&mut self, _out: &mut Outbox<Self::Out>) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_stays_small() {
        assert_eq!(size_of::<Due>(), 16);
    }
}
