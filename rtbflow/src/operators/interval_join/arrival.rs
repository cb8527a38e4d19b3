//! What becomes of a record of either side as it comes.

use std::cmp::Reverse;
use std::hash::Hash;

use super::due::{Due, out_alone, right_due};
use super::logic::{IntervalJoinLogic, LEFT, RIGHT};
use super::places::Place;
use super::side::{Held, Slot};
use super::{JoinKind, LateRecords, Narrow, Touch};
use crate::error::Error;
use crate::operators::Outbox;
use crate::record::{Origin, Record};
use crate::time::Timestamp;

impl<K, L, R, F, G, J, N> IntervalJoinLogic<K, L, R, F, G, J, N>
where
    K: Hash + Eq,
    L: Clone,
    R: Clone,
    F: Fn(&L) -> K,
    G: Fn(&R) -> K,
    J: JoinKind<L, R>,
    N: Narrow<L, R>,
{
    /// The times of the partners that a left record can have.
    #[inline]
    pub(super) fn interval_of(&self, left: &L, timestamp: i64) -> (i64, i64) {
        let (mut lower, mut upper) = self.interval;
        if let Some((from, to)) = self.narrow.interval(left) {
            (lower, upper) = (lower.max(from.first_ms()), upper.min(to.last_ms()));
        }
        (timestamp.saturating_add(lower), timestamp.saturating_add(upper))
    }

    /// Of the times, those of which records are still held that are held for this long.
    #[inline]
    pub(super) fn held(&self, hold: i64, (low, high): (i64, i64)) -> (i64, i64) {
        (low.max(self.watermark.saturating_sub(hold)), high)
    }

    /// Whether a record is late, and what becomes of it then.
    #[inline]
    pub(super) fn rejects(
        &self,
        late: LateRecords,
        timestamp: i64,
        origin: Option<Origin>,
        out: &mut Outbox<J::Out>,
    ) -> bool {
        let allowed = self.watermark.saturating_sub(self.allowed_lateness_ms);
        let late = match late {
            LateRecords::Rejected(late) if timestamp < allowed => late,
            LateRecords::Rejected(_) | LateRecords::Joined => return false,
        };
        let at = Timestamp::from_millis;
        let (time, watermark) = (at(timestamp), at(self.watermark));
        out.late(late, origin, at(allowed).since(time), || {
            format!("its time is {time}, the watermark is {watermark}")
        });
        true
    }

    /// A left record came when the watermark had passed its interval: partners that it could have had may be
    /// gone.
    #[cold]
    pub(super) fn joins_behind(
        &self,
        timestamp: i64,
        origin: Option<Origin>,
        out: &mut Outbox<J::Out>,
    ) {
        let (time, watermark) =
            (Timestamp::from_millis(timestamp), Timestamp::from_millis(self.watermark));
        out.behind(origin, watermark.since(time), || {
            format!("its time is {time}, the watermark is {watermark}")
        });
    }

    pub(super) fn on_left(
        &mut self,
        value: L,
        (time, origin): (i64, Option<Origin>),
        place: Place,
        out: &mut Outbox<J::Out>,
    ) {
        let key = (self.left_key)(&value);
        let hash = self.keys.hash(&key);
        let known = self.keys.find(hash, &key);
        let interval = self.interval_of(&value, time);
        if time < self.watermark
            && self.passed(interval.1)
            && self.late[LEFT] == LateRecords::Joined
        {
            self.joins_behind(time, origin, out);
        }
        let matched =
            self.touch == Touch::All && self.pair_left((&value, time), known, interval, out);
        let decides = self.touch != Touch::All || (J::LEFT && !matched);
        if decides && self.passed(interval.1) {
            return self.emit((value, time), known, self.held(self.hold[RIGHT], interval), out);
        }
        if time < self.held(self.hold[LEFT], (time, time)).0 {
            return;
        }
        let key = known.unwrap_or_else(|| self.keys.add(hash, key));
        let at = if decides { self.left_due(&value, time, key) } else { i64::MAX };
        let held = Held { value, timestamp: time, place, matched };
        let slot = self.left.insert(held, key, &mut self.keys, &self.places);
        if decides {
            self.due.push(Reverse(Due { at, is_right: false, slot }));
            self.decide(out);
        }
    }

    /// Emits a left record with each of its partners, the oldest first. Whether it has any.
    #[inline]
    fn pair_left(
        &mut self,
        (value, time): (&L, i64),
        key: Option<u32>,
        interval: (i64, i64),
        out: &mut Outbox<J::Out>,
    ) -> bool {
        let held = self.held(self.hold[RIGHT], interval);
        let mut partners = std::mem::take(&mut self.partners);
        partners.clear();
        partners.extend(self.partners_of(value, time, key, held).map(|(at, ..)| at));
        self.partners = partners;
        for at in self.partners.iter().rev() {
            let Some((slot, right)) = self.right.held(*at) else {
                Error::broken("a partner is not held").spoil_epoch();
                continue;
            };
            let pair = J::pair(value.clone(), right.clone());
            out.push(Record::derived(pair, Timestamp::from_millis(time.max(slot.timestamp))));
            if J::RIGHT {
                self.right.mark(*at);
            }
        }
        !self.partners.is_empty()
    }

    pub(super) fn on_right(&mut self, value: R, time: i64, place: Place, out: &mut Outbox<J::Out>) {
        let key = (self.right_key)(&value);
        let hash = self.keys.hash(&key);
        let known = self.keys.find(hash, &key);
        self.find_lefts((&value, time), known);
        let matched = self.touch == Touch::All && self.pair_right((&value, time), out);
        let due = right_due(self.touch, self.interval, time);
        if J::RIGHT && !matched && self.passed(due) {
            out_alone(J::right(value), time, out);
            return;
        }
        if time < self.held(self.hold[RIGHT], (time, time)).0 {
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

    /// Finds the left records that reach a right one, the newest first; none where each waits for its newest partner.
    #[inline]
    fn find_lefts(&mut self, (value, time): (&R, i64), key: Option<u32>) {
        let (lower, upper) = self.interval;
        let lefts = (time.saturating_sub(upper), time.saturating_sub(lower));
        let held = self.held(self.hold[LEFT], lefts);
        let mut partners = std::mem::take(&mut self.partners);
        partners.clear();
        if self.touch != Touch::Last {
            let reaches = |slot: &Slot<L>| {
                slot.value.as_ref().is_some_and(|left| {
                    let (low, high) = self.interval_of(left, slot.timestamp);
                    let apart = time.abs_diff(slot.timestamp);
                    low <= time && time <= high && self.narrow.lives(left, value, apart)
                })
            };
            let all = self.left.between(&self.keys, key, held);
            partners.extend(all.filter(|(_, slot)| reaches(slot)).map(|(at, _)| at));
        }
        self.partners = partners;
    }

    /// Emits a right record with each of the left ones that were found, the oldest first. Whether there are any.
    #[inline]
    fn pair_right(&mut self, (value, time): (&R, i64), out: &mut Outbox<J::Out>) -> bool {
        for at in self.partners.iter().rev() {
            let Some((slot, left)) = self.left.held(*at) else {
                Error::broken("a partner is not held").spoil_epoch();
                continue;
            };
            let pair = J::pair(left.clone(), value.clone());
            out.push(Record::derived(pair, Timestamp::from_millis(time.max(slot.timestamp))));
            if J::LEFT {
                self.left.mark(*at);
            }
        }
        !self.partners.is_empty()
    }
}
