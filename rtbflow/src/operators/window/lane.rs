//! What one key has in windows that slide.

use crate::operators::window::aggregate::Merge;
use crate::operators::window::parts::{Part, Parts};
use crate::operators::window::stacks::Stacks;

/// What one key has.
pub(crate) struct Lane<S> {
    /// The key's number in order of arrival, since it was last forgotten.
    pub(crate) arrival: u64,
    /// In order of time; none, if the key is forgotten.
    pub(crate) parts: Parts<S>,
    pub(crate) stacks: Stacks<S>,
    pub(crate) unseen_count: u32,
    /// Where the earliest part ends that changed since the last barrier; [`UNCHANGED`] if none did.
    changed_from: i64,
}

/// No part of a key has changed.
const UNCHANGED: i64 = i64::MAX;

impl<S> Lane<S> {
    pub(crate) fn new(arrival: u64) -> Self {
        let (parts, stacks) = (Parts::default(), Stacks::default());
        Self { arrival, parts, stacks, unseen_count: 0, changed_from: UNCHANGED }
    }

    /// Notes that the part that ends there changed; returns whether it is the first of the key.
    #[inline]
    pub(crate) fn change(&mut self, end: i64) -> bool {
        // At the end of all time, one before.
        let end = end.min(UNCHANGED - 1);
        self.changed_from > end && std::mem::replace(&mut self.changed_from, end) == UNCHANGED
    }

    pub(crate) fn has_changed(&self) -> bool {
        self.changed_from < UNCHANGED
    }

    /// The parts that changed since this was last asked, the latest first.
    pub(crate) fn take_changed(&mut self) -> impl Iterator<Item = &mut Part<S>> {
        let from = std::mem::replace(&mut self.changed_from, UNCHANGED);
        let newest = self.parts.iter_mut().rev().take_while(move |part| part.end >= from);
        newest.filter(|part| part.changed)
    }

    /// Whether the window has something that was not emitted early.
    pub(crate) fn has_unseen_in_window(&self) -> bool {
        let mut inside = self.stacks.before_count()..self.stacks.len();
        let unseen = |at| self.parts.get(at).is_some_and(|part| part.unseen_count > 0);
        self.unseen_count > 0 && inside.any(unseen)
    }

    /// All was emitted early; returns whether that is the first change of the key.
    pub(crate) fn seen(&mut self) -> bool {
        self.unseen_count = 0;
        let mut earliest = None;
        for part in self.parts.iter_mut().filter(|part| part.unseen_count > 0) {
            (part.unseen_count, part.changed) = (0, true);
            earliest = earliest.or(Some(part.end));
        }
        earliest.is_some_and(|end| self.change(end))
    }

    /// Forgets the parts that end there or before, which are in no window that is still to come.
    pub(crate) fn forget<T, A: Merge<T, State = S>>(&mut self, gone: i64, aggregate: &A) {
        self.slide((gone, gone), aggregate);
        while let Some(part) = self.parts.pop_until(gone) {
            // Both stop at the most that they can be.
            self.unseen_count = self.unseen_count.saturating_sub(part.unseen_count);
            self.stacks.forget_first();
        }
    }

    /// Goes on to a window, from one that lies not behind it.
    pub(crate) fn slide<T, A: Merge<T, State = S>>(&mut self, window: (i64, i64), aggregate: &A) {
        self.parts.settle(window.1);
        self.stacks.slide(&self.parts, window, aggregate);
    }
}
