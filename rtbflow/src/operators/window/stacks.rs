//! The running state of one key in windows that slide: what one window takes over from the one before.

use crate::error::Error;
use crate::operators::window::aggregate::Merge;
use crate::operators::window::parts::{Part, Parts};

/// A key's parts in order of time, of which a window is a stretch: some lie before it, then come those of
/// the front stack, then those of the back, then those that no window was emitted with yet.
///
/// The front stack has the merged states of ever more of its parts, the back only one of all of its own:
/// so a part is merged a few times, however many windows it belongs to, and nothing needs to be taken
/// out again ([two stacks](https://dl.acm.org/doi/10.1145/3093742.3093925)). With an aggregate that can,
/// the back is all there is.
pub(crate) struct Stacks<S> {
    before_count: usize,
    /// The last is that of all parts of the front, the first of its last part alone.
    front: Vec<S>,
    back: Option<S>,
    back_count: usize,
}

impl<S> Default for Stacks<S> {
    fn default() -> Self {
        Self { before_count: 0, front: Vec::new(), back: None, back_count: 0 }
    }
}

impl<S> Stacks<S> {
    /// How many parts lie in windows that were emitted.
    pub(crate) fn len(&self) -> usize {
        self.before_count + self.front.len() + self.back_count
    }

    /// How many parts lie before the window.
    pub(crate) fn before_count(&self) -> usize {
        self.before_count
    }

    /// The first of the parts before the window is gone.
    pub(crate) fn forget_first(&mut self) {
        match self.before_count.checked_sub(1) {
            Some(before_count) => self.before_count = before_count,
            None => Error::broken("a part is forgotten that lies in the window").spoil_epoch(),
        }
    }

    /// Goes on to the window that begins behind the parts that end at `start`, and ends with those that
    /// end at `end`: it lies not before the last one.
    pub(crate) fn slide<T, A>(&mut self, parts: &Parts<S>, (start, end): (i64, i64), aggregate: &A)
    where
        A: Merge<T, State = S>,
    {
        while let Some(part) = parts.get(self.before_count).filter(|part| part.end <= start) {
            self.leave(parts, part, aggregate);
            self.before_count += 1;
        }
        while let Some(part) = parts.get(self.len()).filter(|part| part.end <= end) {
            let back = self.back.get_or_insert_with(|| aggregate.empty());
            aggregate.merge(back, &part.state);
            self.back_count += 1;
        }
    }

    /// What is in the back stack but for the oldest part, which leaves at once and needs no merged state.
    fn turned<T, A>(&self, parts: &Parts<S>, aggregate: &A) -> Vec<S>
    where
        A: Merge<T, State = S>,
    {
        let stays = self.before_count + 1..self.before_count + self.back_count;
        let mut front: Vec<S> = Vec::with_capacity(self.back_count);
        for at in stays.rev() {
            let Some(part) = parts.get(at) else {
                Error::broken("a part of the window is not there").spoil_epoch();
                continue;
            };
            let mut state = aggregate.empty();
            aggregate.merge(&mut state, &part.state);
            if let Some(later) = front.last() {
                aggregate.merge(&mut state, later);
            }
            front.push(state);
        }
        front
    }

    /// The oldest part leaves the window, if it was in.
    fn leave<T, A>(&mut self, parts: &Parts<S>, part: &Part<S>, aggregate: &A)
    where
        A: Merge<T, State = S>,
    {
        if A::INVERTIBLE && self.back_count > 1 {
            self.back_count -= 1;
            return match &mut self.back {
                Some(back) => aggregate.remove(back, &part.state),
                None => Error::broken("parts lie in a back stack that is empty").spoil_epoch(),
            };
        }
        if self.front.is_empty() && self.back_count > 0 {
            let front = self.turned(parts, aggregate);
            (self.front, self.back, self.back_count) = (front, None, 0);
        } else {
            // Where it is empty, no window was emitted with the part yet.
            self.front.pop();
        }
    }

    /// What is made of the window's state, if there is anything in it.
    #[inline]
    pub(crate) fn make<T, A, R>(&self, aggregate: &A, made: impl FnOnce(&S) -> R) -> Option<R>
    where
        A: Merge<T, State = S>,
    {
        match (self.front.last(), &self.back) {
            (None, None) => None,
            (Some(state), None) | (None, Some(state)) => Some(made(state)),
            (Some(front), Some(back)) => {
                let mut state = aggregate.empty();
                aggregate.merge(&mut state, front);
                aggregate.merge(&mut state, back);
                Some(made(&state))
            }
        }
    }
}
