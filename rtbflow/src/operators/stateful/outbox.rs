//! Where the logic of an operator puts what it makes.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::activity::Activity;
use crate::barrier::{Class, Reject, Samples, Tally};
use crate::element::Element;
use crate::error::BadRecord;
use crate::operators::late::Late;
use crate::record::{Origin, Record};
use crate::refused_result::RefusedResult;
use crate::time::{Timestamp, rough};

/// Results that are emitted at a time, at most.
const PORTION: usize = 128;

/// Where a [`Logic`](super::Logic) puts what it makes.
pub struct Outbox<U> {
    pub(super) elements: VecDeque<Queued<U>>,
    pub(super) rejects: Vec<(Reject, Class)>,
    pub(super) tally: Tally,
    pub(super) behind: u64,
    /// Results since the last barrier.
    pub(super) results: u64,
    pub(super) refused: Vec<(RefusedResult, BadRecord)>,
    pub(super) samples: Samples,
    pub(super) activity: Activity,
    /// The watermark that holds before what is emitted next.
    pub(super) watermark: Timestamp,
    /// Which watermark the task knows to make results due.
    pub(super) results_due: Timestamp,
    /// How much lower watermarks are here than in the task.
    pub(super) lag_ms: i64,
}

/// An element that is no barrier.
// A barrier has to be dropped should the queue panic as it grows. Without one nothing here has to, unless the
// value does, and the compiler makes a result where it is to stand: one that is made aside and copied has the
// processor wait for what was just written in pieces. The tag has a word of its own as that of `Element` has.
#[repr(u64)]
pub(super) enum Queued<U> {
    Record(Record<U>, Timestamp),
    Watermark(Timestamp),
}

impl<U> From<Queued<U>> for Element<U> {
    #[inline]
    fn from(queued: Queued<U>) -> Self {
        match queued {
            Queued::Record(record, watermark) => Self::Record(record, watermark),
            Queued::Watermark(watermark) => Self::Watermark(watermark),
        }
    }
}

impl<U> Outbox<U> {
    pub(super) fn new(activity: Activity) -> Self {
        let (rejects, tally, watermark) = (Vec::new(), Tally::default(), Timestamp::MIN);
        let samples = Samples::default();
        Self {
            elements: VecDeque::new(),
            rejects,
            tally,
            behind: 0,
            results: 0,
            refused: Vec::new(),
            samples,
            activity,
            watermark,
            results_due: Timestamp::MAX,
            lag_ms: 0,
        }
    }

    /// Sends a record on.
    #[inline]
    pub fn push(&mut self, record: Record<U>) {
        self.results += 1;
        self.elements.push_back(Queued::Record(record, self.watermark));
    }

    /// The watermark that holds before the record that came: for a logic that passes watermarks on as
    /// they are.
    #[inline]
    #[must_use]
    pub fn watermark_before(&self) -> Timestamp {
        self.watermark
    }

    /// Sends a watermark on, after the records before it: for an operator that makes its own.
    pub fn watermark(&mut self, watermark: Timestamp) {
        self.watermark = watermark;
        self.elements.push_back(Queued::Watermark(watermark));
    }

    /// Results become due by this watermark: said by a logic that [`SAYS_DUE`](super::Logic::SAYS_DUE) where a record
    /// has made it lower.
    #[inline]
    pub fn due_at(&mut self, watermark: Timestamp) {
        if watermark < self.results_due {
            self.note_due(watermark);
        }
    }

    /// Lets the task know by which watermark results are due.
    #[cold]
    #[inline(never)]
    pub(super) fn note_due(&mut self, watermark: Timestamp) {
        self.results_due = watermark;
        self.activity.due_at(watermark.as_millis().saturating_add(self.lag_ms));
    }

    /// Accounts for a record that is not used.
    pub fn account(&mut self, class: Class, origin: Option<Origin>) {
        self.tally.add(class, u64::from(origin.is_some_and(|origin| origin.is_accountable())));
    }

    /// A record came too late: it would have been in time had the watermark passed it later, by `by`. Does
    /// with it what `late` says, and accounts for it. The reason says of which time it is, and where the
    /// watermark stands.
    #[cold]
    pub fn late(
        &mut self,
        late: Late,
        origin: Option<Origin>,
        by: Duration,
        reason: impl FnOnce() -> String,
    ) {
        let reason = || format!("late: {}; it came {} too late", reason(), rough(by));
        match (late, origin) {
            (Late::Drop, None) | (Late::DeadLetter, None) => {}
            (Late::Drop, Some(at)) => {
                self.samples.late(at, Some(by), reason);
                self.account(Class::Late, origin);
            }
            (Late::DeadLetter, Some(at)) => {
                let reason = reason();
                self.samples.late(at, Some(by), || reason.clone());
                self.dead_letter(Class::Late, origin, BadRecord::new(reason));
            }
        }
    }

    /// A record came behind the watermark, by this much, and is used all the same, as far as it can be. The
    /// reason says of which time it is, and where the watermark stands. It stays accounted for as used.
    #[cold]
    pub fn behind(
        &mut self,
        origin: Option<Origin>,
        by: Duration,
        reason: impl FnOnce() -> String,
    ) {
        let Some(at) = origin.filter(Origin::is_accountable) else { return };
        self.behind += 1;
        self.samples.late(at, Some(by), || {
            format!("behind the watermark: {}; it came {} too late", reason(), rough(by))
        });
    }

    /// A record came after a newer version of itself: accounts for it as late, which no watermark decides.
    #[cold]
    pub(crate) fn superseded(&mut self, origin: Option<Origin>, reason: impl FnOnce() -> String) {
        if let Some(at) = origin {
            self.samples.late(at, None, || format!("superseded: {}", reason()));
        }
        self.account(Class::Late, origin);
    }

    /// Sends a record to the dead-letter topic, accounted for in this class. One that was read nowhere
    /// is dropped.
    pub fn dead_letter(&mut self, class: Class, origin: Option<Origin>, reason: BadRecord) {
        if let Some(origin) = origin {
            self.rejects.push((Reject { origin, reason }, class));
        }
    }

    /// A result of many records cannot be had, for a reason of its own: it goes whole to the dead-letter topic, at
    /// the position of the last record that was read before it, and is counted in
    /// [`Report::results_refused`](crate::job::Report::results_refused).
    pub fn refuse(&mut self, result: RefusedResult, reason: BadRecord) {
        self.refused.push((result, reason));
        self.activity.add(1);
    }

    /// How many results are to be emitted at a time: at least one, and no more than the epoch has room for, as
    /// far as can be.
    #[must_use]
    pub fn room(&self) -> usize {
        self.activity.room().clamp(1, PORTION)
    }

    /// How many results are to be emitted at a barrier, at least one: as many as an epoch has.
    pub(crate) fn room_at_barrier(&self) -> usize {
        self.activity.most().max(1)
    }

    /// What waits in it.
    pub(crate) fn len(&self) -> usize {
        self.elements.len()
    }

    /// Asks for a barrier at this time by the wall clock, if none passes before. Whoever still wants it
    /// when one passes asks again then.
    pub fn wake_at(&mut self, wall_clock: Timestamp) {
        self.activity.wake_at(wall_clock);
    }

    /// Something is held back until the next barrier: asks for one.
    #[inline]
    pub fn hold_back(&mut self) {
        self.activity.add(1);
    }
}

impl<U> fmt::Debug for Outbox<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({} elements)", self.elements.len())
    }
}

/// For tests of a logic by itself.
#[cfg(test)]
impl<U> Outbox<U> {
    pub(crate) fn for_tests() -> Self {
        Self::new(Activity::default())
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    pub(crate) fn wakes(&self) -> Timestamp {
        self.activity.wakes()
    }

    /// A barrier set out.
    pub(crate) fn passed(&self) {
        self.activity.send();
        self.activity.passed();
    }

    pub(crate) fn take_values(&mut self) -> Vec<U> {
        let records = self.elements.drain(..).filter_map(|element| match element {
            Queued::Record(record, _) => Some(record.value),
            Queued::Watermark(_) => None,
        });
        records.collect()
    }
}
