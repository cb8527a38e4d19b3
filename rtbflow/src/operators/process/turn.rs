//! What the logic is handed at the turn of a key.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::barrier::Class;
use crate::error::BadRecord;
use crate::operators::Outbox;
use crate::operators::late::Late;
use crate::operators::process::timers::{Edit, TimeDomain, Timer};
use crate::record::{Origin, Record};
use crate::time::Timestamp;

/// What is kept for a key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "Kept")] // As it is called in state that is stored.
pub(super) struct KeyEntry<V> {
    pub(super) state: Option<V>,
    pub(super) timers: Vec<Timer>,
}

impl<V> Default for KeyEntry<V> {
    fn default() -> Self {
        Self { state: None, timers: Vec::new() }
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A record of this time.
    Record(Timestamp),
    /// A timer of this time.
    EventTimer(Timestamp),
    /// A timer, at a barrier with this reading of the wall clock.
    WallTimer(Timestamp),
}

/// The turn of a key: its state, its timers, and where results go.
pub struct Turn<'a, K, V, U> {
    pub(super) key: &'a K,
    pub(super) kept: &'a mut KeyEntry<V>,
    pub(super) cause: Cause,
    pub(super) watermark: Timestamp,
    pub(super) out: &'a mut Outbox<U>,
    pub(super) edits: &'a mut Vec<Edit>,
    pub(super) next_number: &'a mut u64,
    pub(super) changed: bool,
}

impl Cause {
    /// The event time of the turn.
    pub(super) fn time(self, watermark: Timestamp) -> Timestamp {
        match self {
            Self::Record(time) | Self::EventTimer(time) => time,
            Self::WallTimer(_) => watermark,
        }
    }
}

impl<K: fmt::Debug, V, U> fmt::Debug for Turn<'_, K, V, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turn({:?}, {:?})", self.key, self.cause)
    }
}

impl<K, V, U> Turn<'_, K, V, U> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        self.key
    }

    /// The event time of this turn: that of the record, that of the event timer, or for a wall timer the
    /// watermark.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.cause.time(self.watermark)
    }

    /// The reading of the wall clock, at the turn of a wall timer: nothing else may depend on it.
    #[must_use]
    pub fn wall_clock(&self) -> Option<Timestamp> {
        match self.cause {
            Cause::WallTimer(now) => Some(now),
            Cause::Record(_) | Cause::EventTimer(_) => None,
        }
    }

    /// The watermark before this turn.
    #[must_use]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The state of the key, if it has any.
    #[must_use]
    pub fn state(&self) -> Option<&V> {
        self.kept.state.as_ref()
    }

    /// The state of the key, to be set, changed or cleared. It is written again, and its time begins
    /// anew, whether it was changed or not.
    #[must_use]
    pub fn state_mut(&mut self) -> &mut Option<V> {
        self.changed = true;
        &mut self.kept.state
    }

    /// Clears the state of the key; its timers stay.
    pub fn clear(&mut self) {
        if self.kept.state.is_some() {
            *self.state_mut() = None;
        }
    }

    /// Emits a result, with the event time of this turn.
    pub fn emit(&mut self, value: U) {
        self.emit_at(value, self.time());
    }

    /// Emits a result with an event time of its own.
    pub fn emit_at(&mut self, value: U, timestamp: Timestamp) {
        self.out.push(Record::derived(value, timestamp));
    }

    /// Forwards a record as it is: what came in, which thereby stays accountable.
    pub fn forward(&mut self, record: Record<U>) {
        self.out.push(record);
    }

    /// Accounts for the record of this turn, if it is not used.
    pub fn account(&mut self, class: Class, origin: Option<Origin>) {
        self.out.account(class, origin);
    }

    /// Sends the record of this turn to the dead-letter topic, accounted for in this class.
    pub fn dead_letter(&mut self, class: Class, origin: Option<Origin>, reason: BadRecord) {
        self.out.dead_letter(class, origin, reason);
    }

    /// The record of this turn came too late: it would have been in time had the watermark passed it
    /// later, by `by`. Does with it what `late` says, and accounts for it.
    pub fn late(
        &mut self,
        late: Late,
        origin: Option<Origin>,
        by: Duration,
        reason: impl FnOnce() -> String,
    ) {
        self.out.late(late, origin, by, reason);
    }

    /// Sets a timer of the key by event time. Two for the same time are one. At the turn of an event timer
    /// the earliest is one millisecond after it.
    pub fn set_event_timer(&mut self, at: Timestamp) {
        let earliest = match self.cause {
            Cause::EventTimer(due) => due + Duration::from_millis(1),
            Cause::Record(_) | Cause::WallTimer(_) => Timestamp::MIN,
        };
        self.set(TimeDomain::Event, at.max(earliest));
    }

    /// Cancels a timer of the key by event time, if there is one for this time.
    pub fn cancel_event_timer(&mut self, at: Timestamp) {
        self.cancel(TimeDomain::Event, at);
    }

    /// Sets a timer of the key by the wall clock. Two for the same time are one.
    pub fn set_wall_timer(&mut self, at: Timestamp) {
        self.set(TimeDomain::Wall, at);
    }

    /// Cancels a timer of the key by the wall clock, if there is one for this time.
    pub fn cancel_wall_timer(&mut self, at: Timestamp) {
        self.cancel(TimeDomain::Wall, at);
    }

    fn set(&mut self, clock: TimeDomain, at: Timestamp) {
        if self.kept.timers.iter().any(|timer| (timer.clock, timer.at) == (clock, at)) {
            return;
        }
        let timer = Timer { clock, at, number: *self.next_number };
        *self.next_number += 1;
        self.kept.timers.push(timer);
        self.edits.push(Edit::Set(timer));
        self.changed = true;
    }

    fn cancel(&mut self, clock: TimeDomain, at: Timestamp) {
        let same = |timer: &Timer| (timer.clock, timer.at) == (clock, at);
        if let Some(number) = self.kept.timers.iter().position(same) {
            self.edits.push(Edit::Cancelled(self.kept.timers.remove(number)));
            self.changed = true;
        }
    }
}
