//! The turns of a key: its logic has its state, and what became of that and of its timers is taken in.

use std::hash::Hash;

use crate::error::Error;
use crate::operators::Outbox;
use crate::operators::process::logic::ProcessLogic;
use crate::operators::process::timers::{Edit, TimeDomain};
use crate::operators::process::turn::{Cause, KeyEntry};
use crate::operators::process::{Process, Turn};
use crate::record::Record;
use crate::state::SlotId;
use crate::time::Timestamp;

impl<K, T, F, P> ProcessLogic<K, T, F, P>
where
    K: Hash + Eq,
    P: Process<K, T>,
{
    /// The turn of a key that something is kept of.
    pub(super) fn turn(
        &mut self,
        slot: SlotId,
        cause: Cause,
        out: &mut Outbox<P::Output>,
        act: impl FnOnce(&mut P, &mut Turn<'_, K, P::State, P::Output>),
    ) {
        let Self { process, kept, next_number, edits, watermark, .. } = self;
        let Some((key, kept)) = kept.peek_mut(slot) else {
            return Error::broken("a key has its turn of which nothing is kept").spoil_epoch();
        };
        let (watermark, changed) = (*watermark, !matches!(cause, Cause::Record(_)));
        let mut turn = Turn { key, kept, cause, watermark, out, edits, next_number, changed };
        act(process, &mut turn);
        if turn.changed {
            self.settle(slot, cause.time(watermark));
        }
        self.apply(slot, out);
    }

    /// The turn of a record's key that nothing is kept of.
    pub(super) fn first_turn(&mut self, key: K, record: Record<T>, out: &mut Outbox<P::Output>) {
        let (time, watermark) = (record.timestamp, self.watermark);
        let mut new = KeyEntry::default();
        let Self { process, next_number, edits, .. } = self;
        let (key_of, kept, cause, changed) = (&key, &mut new, Cause::Record(time), false);
        let mut turn =
            Turn { key: key_of, kept, cause, watermark, out, edits, next_number, changed };
        process.on_record(record, &mut turn);
        if new.state.is_some() || !new.timers.is_empty() {
            let slot = self.kept.insert(key, new, Timestamp::MIN);
            self.settle(slot, time);
            self.apply(slot, out);
        }
        // What is left was set and cancelled.
        self.edits.clear();
    }

    /// Takes in what became of a key at its turn, which changed it.
    pub(super) fn settle(&mut self, slot: SlotId, time: Timestamp) {
        self.kept.note_change(slot);
        let (Some((_, kept)), Some(before)) = (self.kept.get(slot), self.kept.expires(slot)) else {
            return Error::broken("a key has had its turn and is not there").spoil_epoch();
        };
        let until = self.retention.until(time.max(self.watermark));
        // A change that comes out of order does not take back what an earlier one has said.
        let until = if before < Timestamp::MAX { until.max(before) } else { until };
        let has_timers = !kept.timers.is_empty();
        // What has expired goes now, and not with the next watermark: a restart would not wait for one.
        if !has_timers && (kept.state.is_none() || until <= self.watermark) {
            self.kept.remove(slot);
        } else {
            self.kept.expire(slot, until);
        }
    }

    /// Takes in what became of its timers.
    pub(super) fn apply(&mut self, slot: SlotId, out: &mut Outbox<P::Output>) {
        for edit in self.edits.drain(..) {
            let (Edit::Set(timer) | Edit::Cancelled(timer)) = edit;
            let queue = match timer.clock {
                TimeDomain::Event => &mut self.event_timers,
                TimeDomain::Wall => &mut self.wall_timers,
            };
            match edit {
                Edit::Set(timer) => {
                    queue.set(timer, slot);
                    if timer.clock == TimeDomain::Wall {
                        out.wake_at(timer.at);
                    }
                }
                Edit::Cancelled(timer) => queue.cancel(timer),
            }
        }
    }

    /// A timer is no more, as its turn has come.
    pub(super) fn take(&mut self, slot: SlotId, number: u64) {
        match self.kept.peek_mut(slot) {
            Some((_, kept)) => kept.timers.retain(|timer| timer.number != number),
            None => Error::broken("a timer is due of a key that is gone").spoil_epoch(),
        }
    }
}
