//! What sliding windows emit of a key, and what of it no window needs any more.

use std::hash::Hash;

use serde::Serialize;

use crate::error::Error;
use crate::operators::Outbox;
use crate::operators::window::aggregate::Merge;
use crate::operators::window::lane::Lane;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::results::{Out, emit};
use crate::operators::window::sliding::Sliding;
use crate::operators::window::sliding_logic::SlidingLogic;
use crate::operators::window::stacks::Stacks;

impl<K, T, F, L, A> SlidingLogic<K, T, F, L, A>
where
    K: Hash + Eq + Clone + Serialize + Send + 'static,
    T: Send + 'static,
    L: LatePolicy,
    A: Merge<T>,
{
    /// Emits a key's results again, of the windows that end between these two and are not over.
    pub(super) fn correct(
        &mut self,
        at: usize,
        (first, last): (i64, i64),
        watermark: i64,
        out: &mut Outbox<Out<K, T, Sliding<L>, A>>,
    ) {
        let Some((key, lane)) = self.keys.at(at) else {
            return Error::broken("a key whose results change is not there").spoil_epoch();
        };
        let mut stacks = Stacks::default();
        let mut end = first;
        while end <= last {
            if !self.is_over(end, watermark) {
                let window = self.window(end);
                stacks.slide(&lane.parts, (window.start.as_millis(), end), &self.aggregate);
                stacks.make(&self.aggregate, |state| {
                    emit::<K, T, Sliding<L>, A>((key, window), (&self.aggregate, state), out);
                });
            }
            let next = self.grid.next(end);
            if next == end {
                break;
            }
            end = next;
        }
    }

    /// Emits a key's results of open windows that changed since they were last emitted early.
    pub(super) fn emit_early(
        &mut self,
        at: usize,
        watermark: i64,
        out: &mut Outbox<Out<K, T, Sliding<L>, A>>,
    ) {
        let Some((_, lane)) = self.keys.at(at) else {
            return Error::broken("a key that is to be emitted early is not there").spoil_epoch();
        };
        let unseen = || lane.parts.iter().filter(|part| part.unseen_count > 0).map(|part| part.end);
        if let (Some(first), Some(newest)) = (unseen().min(), unseen().max()) {
            let from = self.grid.end_from(first.max(watermark.saturating_add(1)));
            // Near the ends of all time, where times saturate, a slice may end where none is.
            let (start, _) = self.grid.slice_of(newest.saturating_sub(1));
            self.correct(at, (from, self.grid.last_end(start)), watermark, out);
        }
        if self.keys.at_mut(at).is_some_and(Lane::seen) {
            self.changed.push(at);
        }
    }

    /// Emits some of the window that ends there, and forgets what only it needed; returns whether there
    /// may be more of it.
    pub(super) fn emit(
        &mut self,
        end: i64,
        from: usize,
        out: &mut Outbox<Out<K, T, Sliding<L>, A>>,
    ) -> bool {
        let window = self.window(end);
        let start = window.start.as_millis();
        let gone = self.gone_by(end);
        let mut room = out.room();
        for at in from..self.keys.len() {
            let Some((key, lane)) = self.keys.at_with_key_mut(at) else {
                Error::broken("a key of a window is not there").spoil_epoch();
                continue;
            };
            if lane.parts.is_empty() {
                continue;
            }
            lane.slide((start, end), &self.aggregate);
            if (self.early.never() || lane.has_unseen_in_window())
                && let Some(()) = lane.stacks.make(&self.aggregate, |state| {
                    emit::<K, T, Sliding<L>, A>((key, window), (&self.aggregate, state), out);
                })
            {
                room -= 1;
            }
            lane.forget(gone, &self.aggregate);
            self.forgotten_count += usize::from(lane.parts.is_empty());
            if room == 0 {
                self.putting = Some((end, at + 1));
                return true;
            }
        }
        self.gone = self.gone.max(gone);
        false
    }

    /// The end of the first window that ends after this time and has something in it.
    pub(super) fn first_end_after(&self, time: i64) -> i64 {
        let next = self.grid.end_from(time.saturating_add(1));
        let start = self.grid.start_of(next);
        let mut first = i64::MAX;
        for (_, lane) in self.keys.iter() {
            let mut parts = lane.parts.iter().skip(lane.stacks.before_count());
            if let Some(part) = parts.find(|part| part.end > start) {
                first = first.min(self.grid.end_from(part.end).max(next));
            }
            // No window is earlier, and in nearly all streams the first key has something in it.
            if first == next {
                break;
            }
        }
        first
    }

    /// Where the parts end that are forgotten with the window that ends there. What the next window needs
    /// stays, although it may be one with nothing in it.
    pub(super) fn gone_by(&self, end: i64) -> i64 {
        self.gone_after(self.watermark).min(self.grid.start_of(self.grid.next(end)))
    }

    /// Forgets of this many keys, the first, what ends until there.
    pub(super) fn forget_of(&mut self, count: usize, gone: i64) {
        for lane in self.keys.values_mut().take(count).filter(|lane| !lane.parts.is_empty()) {
            lane.forget(gone, &self.aggregate);
            self.forgotten_count += usize::from(lane.parts.is_empty());
        }
    }

    /// Where the parts end that no window needs any more which may be emitted, or corrected, after this
    /// watermark.
    pub(super) fn gone_after(&self, watermark: i64) -> i64 {
        let alive = watermark.saturating_sub(self.lateness_ms).saturating_add(1);
        if watermark == i64::MAX { i64::MAX } else { self.grid.start_of(self.grid.end_from(alive)) }
    }

    /// All windows that the watermark passed were emitted, and this is the end of the next that has
    /// something in it: forgets what no window needs any more.
    pub(super) fn passed(&mut self, next: i64) {
        (self.passed, self.putting, self.due) = (self.watermark, None, next);
        let gone = self.gone_after(self.watermark);
        if self.gone < gone {
            self.gone = gone;
            self.forget_of(self.keys.len(), gone);
        }
        self.slices.end_until(gone);
        // Now and then, so that a key costs no more than it did to come.
        if self.forgotten_count > self.keys.len() / 2 {
            self.forgotten_count = 0;
            self.keys.retain(|_, lane| !lane.parts.is_empty());
            let changed = self.keys.iter().enumerate();
            let changed = changed.filter(|(_, (_, lane))| lane.has_changed());
            self.changed = changed.map(|(at, _)| at).collect();
        }
    }
}
