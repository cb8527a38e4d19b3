//! What becomes of windows as the watermark passes them, and of those that it was passing before a restart.

use std::hash::Hash;
use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::operators::Outbox;
use crate::operators::window::aggregate::Aggregate;
use crate::operators::window::assign::{Assigner, Panes};
use crate::operators::window::closing::Closing;
use crate::operators::window::logic::WindowLogic;
use crate::operators::window::open::Open;
use crate::operators::window::results::Out;
use crate::time::Timestamp;

impl<K, T, F, W, A> WindowLogic<K, T, F, W, A>
where
    K: Hash + Eq + Clone + Serialize + Send + 'static,
    T: Send + 'static,
    W: Assigner,
    A: Aggregate<T>,
{
    /// The watermark has risen: the windows that it passed are to be emitted, and those that are over
    /// are dropped.
    #[inline(never)]
    pub(super) fn pass(&mut self) {
        let (watermark, kept) = (self.watermark, self.kept);
        let over = self.open.partition_point(|open| open.window.end + kept <= watermark);
        for mut open in self.open.drain(..over) {
            if open.passed {
                open.keys.drain().for_each(drop);
                if open.logged {
                    self.ended.push(open.window.end.as_millis());
                }
            } else {
                let entries = open.keys.take();
                self.closing.push_back(Closing::new(&open, entries, 0));
            }
            self.spare = Some(Open { keys: open.keys, ..Open::new(open.window) });
        }
        self.note_passed();
    }

    /// Notes which of the windows that are kept have been passed, and what is due next.
    fn note_passed(&mut self) {
        self.due = Timestamp::MAX;
        for open in &mut self.open {
            if open.window.end > self.watermark {
                self.due = self.due.min(open.window.end);
                continue;
            }
            self.due = self.due.min(open.window.end + self.kept);
            if !std::mem::replace(&mut open.passed, true) {
                open.unseen.clear();
                open.unput = Some(0);
            }
        }
    }

    /// Emits what changed in open windows since they were last emitted early, as far as there is room for it;
    /// returns whether that was all.
    pub(super) fn emit_early(&mut self, out: &mut Outbox<Out<K, T, W, A>>) -> bool {
        let most = out.room_at_barrier();
        let mut all = true;
        for open in self.open.iter_mut().filter(|open| !open.passed) {
            // Of what makes more than there is room for, nothing more.
            let room = most.saturating_sub(out.len());
            if room == 0 && (!open.keys.is_empty() || !open.unseen.is_empty()) {
                all = false;
                break;
            }
            match self.panes {
                Panes::Discarding => {
                    self.ended.extend(open.emit_and_empty::<T, W, A>(&self.aggregate, out))
                }
                Panes::Accumulating => {
                    all &= open.emit_unseen::<T, W, A>(room, &self.aggregate, out)
                }
            }
        }
        self.open.retain(|open| !open.keys.is_empty());
        all
    }

    /// Emits some of a window that is kept, if one is still to be emitted.
    pub(super) fn emit_kept(&mut self, room: usize, out: &mut Outbox<Out<K, T, W, A>>) -> bool {
        let mut open = self.open.iter_mut();
        let Some((open, at)) = open.find_map(|open| open.unput.map(|at| (open, at))) else {
            // None is kept that is still to be emitted.
            return false;
        };
        open.emit_from::<T, W, A>(at, room, (&self.early, &self.aggregate), out);
        // After a restart its watermark may not have been reported yet.
        self.watermark = self.watermark.max(open.window.end);
        true
    }

    /// After a restart: this many entries of the log of a window were emitted, and the others are due.
    pub(super) fn resume(&mut self, end: i64, count: usize) {
        let ends = |open: &Open<K, A::State>| open.window.end.as_millis() == end;
        let Some(at) = self.open.iter().position(ends) else {
            let what = "the place has results of a window emitted and nothing of the window itself";
            return Error::broken(what).spoil_epoch();
        };
        let mut open = self.open.remove(at);
        if count > open.keys.len() {
            let what = "the place has more results of a window emitted than the window has";
            return Error::broken(what).spoil_epoch();
        }
        if self.keeps() {
            open.unput = Some(count);
            return self.open.insert(at, open);
        }
        let mut entries = open.keys.take();
        entries.by_ref().take(count).for_each(drop);
        self.closing.push_back(Closing::new(&open, entries, count));
    }

    /// The watermark until whose windows all were emitted.
    pub(super) fn emitted_until(&self) -> Timestamp {
        let kept = self.open.iter().filter(|open| open.unput.is_some()).map(|open| open.window.end);
        let closing = self.closing.iter().map(|closing| closing.window.end);
        let next = closing.chain(kept).min();
        next.map_or(self.watermark, |end| self.watermark.min(end - Duration::from_millis(1)))
    }
}
