//! The sessions of one key, in order of time.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::operators::window::aggregate::Merge;
use crate::operators::window::span::Window;
use crate::record::Record;
use crate::time::Timestamp;

/// The sessions of a key.
#[derive(Serialize, Deserialize)]
pub(super) struct Visits<S> {
    /// The key's number in order of arrival.
    pub(super) arrival: u64,
    /// In order of time; they do not touch.
    pub(super) visits: Vec<Visit<S>>,
}

/// One session.
#[derive(Serialize, Deserialize)]
pub(super) struct Visit<S> {
    pub(super) window: Window,
    pub(super) state: S,
    /// Whether the watermark passed its end, and it was emitted.
    pub(super) passed: bool,
    /// How many records were not emitted early.
    pub(super) unseen_count: u32,
    /// When it is looked at.
    #[serde(skip)]
    pub(super) timer: Option<Timestamp>,
}

impl<S> Visit<S> {
    /// A later one is a part of it.
    fn absorb<T, A: Merge<T, State = S>>(&mut self, later: &Self, aggregate: &A) {
        aggregate.merge(&mut self.state, &later.state);
        self.window.end = self.window.end.max(later.window.end);
        self.unseen_count = self.unseen_count.saturating_add(later.unseen_count);
    }
}

/// Whether two sessions are one.
pub(super) fn touch(one: &Window, other: &Window) -> bool {
    one.start <= other.end && other.start <= one.end
}

impl<S> Visits<S> {
    /// Adds a record to the session it belongs to, merging those that it bridges; says where that stands.
    pub(super) fn add<T, A>(&mut self, record: &Record<T>, own: Window, aggregate: &A) -> usize
    where
        A: Merge<T, State = S>,
    {
        let from = self.visits.partition_point(|visit| visit.window.end < own.start);
        let to = self.visits.partition_point(|visit| visit.window.start <= own.end);
        if from >= to {
            let state = aggregate.empty();
            let visit = Visit { window: own, state, passed: false, unseen_count: 0, timer: None };
            self.visits.insert(from, visit);
        }
        let bridged: Vec<Visit<S>> = match to {
            to if to > from + 1 => self.visits.drain(from + 1..to).collect(),
            _ => Vec::new(),
        };
        let Some(visit) = self.visits.get_mut(from) else {
            Error::broken("a record has no session to belong to").spoil_epoch();
            return from;
        };
        aggregate.add(&mut visit.state, record);
        visit.window.start = visit.window.start.min(own.start);
        visit.window.end = visit.window.end.max(own.end);
        bridged.iter().for_each(|later| visit.absorb(later, aggregate));
        from
    }
}
