//! The parts of one key in windows that slide: what it has in each slice of time.

use std::collections::VecDeque;

/// What one key has in one slice.
pub(crate) struct Part<S> {
    /// The slice's end.
    pub(crate) end: i64,
    pub(crate) state: S,
    /// How many records were not emitted early.
    pub(crate) unseen_count: u32,
    /// Whether it changed since the last barrier.
    pub(crate) changed: bool,
    /// Whether the place knows it.
    pub(crate) logged: bool,
}

impl<S> Part<S> {
    pub(crate) fn new(end: i64, state: S) -> Self {
        Self { end, state, unseen_count: 0, changed: false, logged: false }
    }
}

/// Room for this many open parts is kept: more than mostly are open.
const MOST_ROOM: usize = 32;

/// Parts in order of time, numbered from the first.
///
/// Those that records still come to stand apart from those that were emitted: of a thousand keys the
/// processor's cache holds the former, and an hour of the latter it does not.
pub(crate) struct Parts<S> {
    settled: VecDeque<Part<S>>,
    /// Later ones.
    open: Vec<Part<S>>,
}

impl<S> Default for Parts<S> {
    fn default() -> Self {
        Self { settled: VecDeque::new(), open: Vec::new() }
    }
}

impl<S> Parts<S> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.settled.is_empty()
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&Part<S>> {
        match at.checked_sub(self.settled.len()) {
            Some(at) => self.open.get(at),
            None => self.settled.get(at),
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Part<S>> {
        self.settled.iter().chain(&self.open)
    }

    pub(crate) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Part<S>> {
        self.settled.iter_mut().chain(&mut self.open)
    }

    /// The number of the first part that ends there or after it.
    pub(crate) fn position(&self, end: i64) -> usize {
        match self.settled.back() {
            Some(last) if end <= last.end => self.settled.partition_point(|part| part.end < end),
            _ => self.settled.len() + self.open.partition_point(|part| part.end < end),
        }
    }

    /// The part that ends there, which is added if there is none, and whether it was. It is looked for first
    /// where it stands if the newest part is this many slices later, and none between them is missing.
    #[inline]
    pub(crate) fn entry(
        &mut self,
        end: i64,
        behind: usize,
        empty: impl FnOnce() -> S,
    ) -> (Option<&mut Part<S>>, bool) {
        // The processor, which runs ahead, cannot guess where a search will end.
        let at = self.open.len().wrapping_sub(1).wrapping_sub(behind);
        if self.open.get(at).is_some_and(|part| part.end == end) {
            return (self.open.get_mut(at), false);
        }
        // Nearly every record belongs to one of the newest slices.
        let mut at = self.open.len();
        while let Some(before) = at.checked_sub(1) {
            match self.open.get(before) {
                Some(part) if part.end > end => at = before,
                Some(part) if part.end == end => return (self.open.get_mut(before), false),
                _ => break,
            }
        }
        if at == 0 && self.settled.back().is_some_and(|last| end <= last.end) {
            return self.settled_entry(end, empty);
        }
        self.open.insert(at, Part::new(end, empty()));
        (self.open.get_mut(at), true)
    }

    #[inline(never)]
    fn settled_entry(
        &mut self,
        end: i64,
        empty: impl FnOnce() -> S,
    ) -> (Option<&mut Part<S>>, bool) {
        let at = self.settled.partition_point(|part| part.end < end);
        let is_new = self.settled.get(at).is_none_or(|part| part.end != end);
        if is_new {
            self.settled.insert(at, Part::new(end, empty()));
        }
        (self.settled.get_mut(at), is_new)
    }

    /// Those that end there or before are emitted: hardly a record comes to them any more.
    #[inline]
    pub(crate) fn settle(&mut self, end: i64) {
        if self.open.first().is_some_and(|part| part.end <= end) {
            let count = self.open.partition_point(|part| part.end <= end);
            self.settled.extend(self.open.drain(..count));
            // After a restart all of them came as open.
            self.open.shrink_to(MOST_ROOM);
        }
    }

    /// Takes the first part, if it ends there or before.
    #[inline]
    pub(crate) fn pop_until(&mut self, end: i64) -> Option<Part<S>> {
        self.settle(end);
        match self.settled.front() {
            Some(part) if part.end <= end => self.settled.pop_front(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(parts: &Parts<u8>) -> Vec<i64> {
        parts.iter().map(|part| part.end).collect()
    }

    #[test]
    fn are_in_order_wherever_they_stand() {
        let mut parts = Parts::default();
        for end in [5, 9, 7, 5] {
            parts.entry(end, 0, || 0).0.unwrap().state += 1;
        }
        parts.settle(7);
        // Before, between and behind those that are settled; and each that is there is found.
        let new: Vec<bool> =
            [3, 6, 8, 12, 3, 6, 8, 12, 5, 9].map(|end| parts.entry(end, 1, || 0).1).into();
        assert_eq!(new, [vec![true; 4], vec![false; 6]].concat());
        assert_eq!(ends(&parts), [3, 5, 6, 7, 8, 9, 12]);
        assert_eq!([0, 5, 6, 8, 9, 10, 13].map(|end| parts.position(end)), [0, 1, 2, 4, 5, 6, 7]);
        assert!(
            (0..8).all(|at| parts.get(at).map(|part| part.end) == ends(&parts).get(at).copied())
        );
        let gone: Vec<_> =
            std::iter::from_fn(|| parts.pop_until(8)).map(|part| part.state).collect();
        assert_eq!((gone, ends(&parts)), (vec![0, 2, 0, 1, 0], vec![9, 12]));
    }
}
