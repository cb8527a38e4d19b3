//! The timers of all keys, in the order in which they are due.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::state::SlotId;
use crate::time::Timestamp;

/// Which clock a timer goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Clock")] // As it is called in state that is stored.
pub(super) enum TimeDomain {
    Event,
    Wall,
}

/// A timer of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Timer {
    pub(super) clock: TimeDomain,
    pub(super) at: Timestamp,
    /// Timers of the same time are due in the order of their numbers: that in which they were set.
    pub(super) number: u64,
}

/// What a turn did to the timers of its key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Edit {
    Set(Timer),
    Cancelled(Timer),
}

/// The timers of one clock, and whose they are.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: BTreeMap<(Timestamp, u64), SlotId>,
    /// While timers are being worked off: up to which time those that are set wait for the next time.
    passed: Option<Timestamp>,
    /// Those that wait.
    deferred: Vec<(Timer, SlotId)>,
}

impl Queue {
    pub(super) fn set(&mut self, timer: Timer, slot: SlotId) {
        if self.passed.is_some_and(|passed| timer.at <= passed) {
            self.deferred.push((timer, slot));
        } else {
            self.put(timer, slot);
        }
    }

    /// As [`set`](Self::set), but it does not wait.
    pub(super) fn put(&mut self, timer: Timer, slot: SlotId) {
        self.due.insert((timer.at, timer.number), slot);
    }

    pub(super) fn cancel(&mut self, timer: Timer) {
        if self.due.remove(&(timer.at, timer.number)).is_none() {
            self.deferred.retain(|(deferred, _)| deferred.number != timer.number);
        }
    }

    /// Takes the next timer that is due.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, u64, SlotId)> {
        let first = self.due.first_entry().filter(|first| first.key().0 <= now)?;
        let ((at, number), slot) = first.remove_entry();
        Some((at, number, slot))
    }

    /// What is set from now on for a time up to this one waits until those that are due are worked off.
    pub(super) fn defer(&mut self, passed: Timestamp) {
        self.passed = Some(passed);
    }

    /// Whether some wait.
    pub(super) fn defers(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Those that were due have been worked off.
    pub(super) fn worked_off(&mut self) {
        self.passed = None;
        let deferred = self.deferred.drain(..);
        self.due.extend(deferred.map(|(timer, slot)| ((timer.at, timer.number), slot)));
    }

    /// The time of the next timer.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }
}
