//! When a left or a right record is decided, and with which partner.

use std::cmp::{Ordering, Reverse};
use std::hash::Hash;

use super::due::{Due, out_alone, passed, right_due};
use super::logic::IntervalJoinLogic;
use super::side::Slot;
use super::{JoinKind, Narrow, Touch};
use crate::error::Error;
use crate::operators::Outbox;
use crate::record::Record;
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
    #[inline]
    pub(super) fn passed(&self, time: i64) -> bool {
        passed(self.watermark, time)
    }

    /// The right records of these times that are partners of a left one, newest first.
    #[inline]
    pub(super) fn partners_of(
        &self,
        left: &L,
        time: i64,
        key: Option<u32>,
        times: (i64, i64),
    ) -> impl Iterator<Item = (u32, i64, &R)> {
        self.right.between(&self.keys, key, times).filter_map(move |(at, slot)| {
            let right = slot.value.as_ref()?;
            let lives = self.narrow.lives(left, right, time.abs_diff(slot.timestamp));
            lives.then_some((at, slot.timestamp, right))
        })
    }

    /// When a left record is decided, as far as is known.
    pub(super) fn left_due(&self, left: &L, time: i64, key: u32) -> i64 {
        let interval = self.interval_of(left, time);
        if self.touch != Touch::First {
            return interval.1;
        }
        let oldest = self.partners_of(left, time, Some(key), interval).last();
        oldest.map_or(interval.1, |(_, timestamp, _)| timestamp)
    }

    /// A right record came that the left ones in `partners` may choose: those whose oldest partner it is are
    /// decided by its time.
    pub(super) fn overtake(&mut self, slot: u32, time: i64) {
        let older = self.right.older(slot);
        for at in &self.partners {
            let Some((slot, left)) = self.left.held(*at) else {
                Error::broken("a partner is not held").spoil_epoch();
                continue;
            };
            let (low, _) = self.interval_of(left, slot.timestamp);
            let is_older = |older: &Slot<R>| {
                let apart = slot.timestamp.abs_diff(older.timestamp);
                let lives = |right| self.narrow.lives(left, right, apart);
                low <= older.timestamp && older.value.as_ref().is_some_and(lives)
            };
            if !older.is_some_and(is_older) {
                self.due.push(Reverse(Due { at: time, is_right: false, slot: *at }));
            }
        }
    }

    /// Emits what is decided by the watermark.
    pub(super) fn decide(&mut self, out: &mut Outbox<J::Out>) {
        let mut deciding = self.take_due();
        for due in deciding.drain(..) {
            self.decide_one(due, out);
        }
        self.deciding.spare = deciding;
    }

    /// What is decided by the watermark, in order.
    pub(super) fn take_due(&mut self) -> Vec<Due> {
        let mut deciding = std::mem::take(&mut self.deciding.spare);
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
        deciding
    }

    pub(super) fn decide_one(&mut self, due: Due, out: &mut Outbox<J::Out>) {
        if due.is_right { self.decide_right(due, out) } else { self.decide_left(due, out) }
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
            // What is gone decides nothing, wherever it stands.
            (one, other) => one.is_some().cmp(&other.is_some()),
        }
    }

    fn decide_left(&mut self, due: Due, out: &mut Outbox<J::Out>) {
        // What stood here when this was noted may be gone, and another record in its place.
        let Some((slot, value)) = self.left.held(due.slot) else { return };
        let (time, key) = (slot.timestamp, slot.key());
        let interval = self.interval_of(value, time);
        let has_partners = self.touch == Touch::All && slot.matched;
        if has_partners || !self.passed(self.left_due(value, time, key)) {
            return;
        }
        if self.deciding.before.is_some() {
            self.deciding.gone.extend(self.left.logged(due.slot));
        }
        let Some(value) = self.left.remove(due.slot, &mut self.keys) else {
            return Error::broken("a left record is decided that is not held").spoil_epoch();
        };
        self.decided |= self.deciding.before.is_none();
        self.emit((value, time), Some(key), interval, out);
    }

    fn decide_right(&mut self, due: Due, out: &mut Outbox<J::Out>) {
        // What stood here when this was noted may be gone.
        let Some(slot) = self.right.get(due.slot) else { return };
        let time = slot.timestamp;
        if slot.matched || !self.passed(right_due(self.touch, self.interval, time)) {
            return;
        }
        if self.deciding.before.is_some() {
            self.deciding.gone.extend(self.right.logged(due.slot));
        }
        let Some(value) = self.right.remove(due.slot, &mut self.keys) else {
            return Error::broken("a right record is decided that is not held").spoil_epoch();
        };
        self.decided |= self.deciding.before.is_none();
        out_alone(J::right(value), time, out);
    }

    /// The partner of these times that a left record chooses.
    fn choose(
        &self,
        (left, time): (&L, i64),
        key: Option<u32>,
        interval: (i64, i64),
    ) -> Option<(u32, i64, R)> {
        let mut partners = self.partners_of(left, time, key, interval);
        let chosen = match self.touch {
            Touch::All => None,
            Touch::Last => partners.next(),
            Touch::First => partners.last(),
        };
        chosen.map(|(at, timestamp, right)| (at, timestamp, right.clone()))
    }

    /// Emits a left record that is decided: with the partner of these times that it chooses, or alone.
    pub(super) fn emit(
        &mut self,
        (value, time): (L, i64),
        key: Option<u32>,
        interval: (i64, i64),
        out: &mut Outbox<J::Out>,
    ) {
        match self.choose((&value, time), key, interval) {
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

    /// After the last chunk was brought back: drops what was decided, and notes when the rest will be.
    pub(super) fn settle(&mut self) {
        for (bucket, number) in self.deciding.gone.clone() {
            if bucket & 1 == 0 {
                self.left.forget(bucket, number, &mut self.keys);
            } else {
                self.right.forget(bucket, number, &mut self.keys);
            }
        }
        // Those that were written when records were held for another time are written anew.
        if self.left.settle() | self.right.settle() {
            self.deciding.forget();
        }
        self.settle_lefts();
        if J::RIGHT {
            self.settle_rights();
        }
        self.resume();
    }

    /// Notes when each left record is decided; those that were are dropped.
    fn settle_lefts(&mut self) {
        let lefts: Vec<u32> = self.left.all().collect();
        for slot in lefts {
            let Some((held, value)) = self.left.held(slot) else {
                Error::broken("a bucket has a left record that is not held").spoil_epoch();
                continue;
            };
            if self.touch != Touch::All || (J::LEFT && !held.matched) {
                let at = self.left_due(value, held.timestamp, held.key());
                if self.passed(at) {
                    self.left.remove(slot, &mut self.keys);
                } else {
                    self.due.push(Reverse(Due { at, is_right: false, slot }));
                }
            }
        }
    }

    /// Notes when each right record is decided; those that were are dropped.
    fn settle_rights(&mut self) {
        let rights: Vec<u32> = self.right.all().collect();
        for slot in rights {
            let Some(held) = self.right.get(slot) else {
                Error::broken("a bucket has a right record that is not held").spoil_epoch();
                continue;
            };
            if !held.matched {
                let at = right_due(self.touch, self.interval, held.timestamp);
                if self.passed(at) {
                    self.right.remove(slot, &mut self.keys);
                } else {
                    self.due.push(Reverse(Due { at, is_right: true, slot }));
                }
            }
        }
    }

    /// The watermark decides records; before it, another held.
    pub(super) fn begin(&mut self, before: i64) {
        self.deciding.before = Some(before);
        self.deciding.left = self.take_due().into_iter();
    }

    /// Decides some; whether there may be more.
    pub(super) fn decide_more(&mut self, out: &mut Outbox<J::Out>) -> bool {
        // Without it, no watermark decides anything at the moment.
        let Some(before) = self.deciding.before else { return false };
        let room = out.room();
        while out.len() < room {
            let Some(due) = self.deciding.left.next() else {
                self.deciding.finish();
                self.decided = true;
                self.expire();
                // The end of all time was that of the run before.
                if std::mem::take(&mut self.deciding.resumed) && self.watermark == i64::MAX {
                    self.watermark = before;
                }
                return out.len() > 0;
            };
            self.decide_one(due, out);
        }
        true
    }

    /// Drops what no record can join any more.
    #[inline]
    pub(super) fn expire(&mut self) {
        let at = self.watermark;
        self.left.expire(&mut self.keys, |time| passed(at, time));
        let ended = self.right.expire(&mut self.keys, |time| passed(at, time));
        // That a left record was decided by the time of its oldest partner is known from that partner; once
        // it is gone, from the watermark.
        self.decided |= ended && self.touch == Touch::First;
    }

    /// What was being decided before a restart is, whatever the watermark will be: it goes on there.
    pub(super) fn resume(&mut self) {
        if let Some(watermark) = self.deciding.logged {
            let before = std::mem::replace(&mut self.watermark, watermark);
            self.deciding.resumed = true;
            self.begin(before);
        }
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
