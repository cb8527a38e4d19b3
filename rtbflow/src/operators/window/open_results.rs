//! What an open window emits: early, when the watermark passes it, and once more as late records correct it.

use std::hash::Hash;

use serde::Serialize;

use crate::error::Error;
use crate::operators::Outbox;
use crate::operators::window::aggregate::Aggregate;
use crate::operators::window::assign::{Panes, Windows};
use crate::operators::window::early::EarlyResults;
use crate::operators::window::open::Open;
use crate::operators::window::results::{Out, emit, output, result};
use crate::state::Bucket;

impl<K, S> Open<K, S>
where
    K: Hash + Eq + Clone + Serialize + Send + 'static,
{
    /// Emits the result of the entry with this number.
    pub(super) fn emit<T, W, A>(
        &self,
        position: usize,
        aggregate: &A,
        out: &mut Outbox<Out<K, T, W, A>>,
    ) where
        T: Send + 'static,
        W: Windows,
        A: Aggregate<T, State = S>,
    {
        let Some((key, slot)) = self.keys.at(position) else {
            return Error::broken("a key that a record was added to is not there").spoil_epoch();
        };
        emit::<K, T, W, A>((key, self.window), (aggregate, &slot.state), out);
    }

    /// A record of the entry with this number was added, of which something may be emitted early.
    #[inline]
    pub(super) fn early_after<T, W, A>(
        &mut self,
        position: usize,
        (early, panes): (&EarlyResults, Panes),
        aggregate: &A,
        out: &mut Outbox<Out<K, T, W, A>>,
    ) where
        T: Send + 'static,
        W: Windows,
        A: Aggregate<T, State = S>,
    {
        if early.never() {
            return;
        }
        let Some((key, slot)) = self.keys.at_with_key_mut(position) else {
            return Error::broken("a key that a record was added to is not there").spoil_epoch();
        };
        if early.count(&mut slot.unseen_count) {
            slot.unseen_count = 0;
            emit::<K, T, W, A>((key, self.window), (aggregate, &slot.state), out);
            if panes == Panes::Discarding {
                slot.state = aggregate.empty();
            }
        } else if early.by_clock() && slot.unseen_count == 1 {
            self.unseen.push(position);
        }
    }

    /// Emits of what changed since it was emitted early this much, and returns whether that was all.
    pub(super) fn emit_unseen<T, W, A>(
        &mut self,
        room: usize,
        aggregate: &A,
        out: &mut Outbox<Out<K, T, W, A>>,
    ) -> bool
    where
        T: Send + 'static,
        W: Windows,
        A: Aggregate<T, State = S>,
    {
        let count = room.min(self.unseen.len());
        for position in self.unseen.drain(..count) {
            let Some((key, slot)) = self.keys.at_with_key_mut(position) else {
                Error::broken("a key that is to be emitted early is not there").spoil_epoch();
                continue;
            };
            slot.unseen_count = 0;
            emit::<K, T, W, A>((key, self.window), (aggregate, &slot.state), out);
        }
        self.unseen.is_empty()
    }

    /// Emits all that came since it was emitted early, which leaves the window empty; returns the bucket that
    /// the place has to drop then.
    pub(super) fn emit_and_empty<T, W, A>(
        &mut self,
        aggregate: &A,
        out: &mut Outbox<Out<K, T, W, A>>,
    ) -> Option<i64>
    where
        T: Send + 'static,
        W: Windows,
        A: Aggregate<T, State = S>,
    {
        for (key, slot) in self.keys.drain() {
            if let Some(value) = output((&key, self.window), (aggregate, &slot.state), out) {
                out.push(result::<K, T, W, A>(key, self.window, value));
            }
        }
        self.changed.clear();
        self.unseen.clear();
        self.fresh = 0;
        std::mem::take(&mut self.logged).then(|| {
            self.bucket = Bucket::default();
            self.window.end.as_millis()
        })
    }

    /// Emits, from the entry with this number on, as much as there is room for.
    pub(super) fn emit_from<T, W, A>(
        &mut self,
        mut at: usize,
        mut room: usize,
        (early, aggregate): (&EarlyResults, &A),
        out: &mut Outbox<Out<K, T, W, A>>,
    ) where
        T: Send + 'static,
        W: Windows,
        A: Aggregate<T, State = S>,
    {
        while let Some((key, slot)) = self.keys.at(at).filter(|_| room > 0) {
            at += 1;
            if early.ends_with(slot.unseen_count) {
                emit::<K, T, W, A>((key, self.window), (aggregate, &slot.state), out);
                room -= 1;
            }
        }
        self.unput = (at < self.keys.len()).then_some(at);
    }
}
