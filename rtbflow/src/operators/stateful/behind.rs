//! What waits behind the outbox of an operator with state.

use crate::barrier::Barrier;
use crate::element::Element;
use crate::record::Record;
use crate::time::Timestamp;

/// What waits behind the outbox.
pub(super) enum Behind<T> {
    /// A barrier passes on.
    Passes(Barrier),
    /// The logic may have more to emit.
    More(More<T>),
    /// An element that came while a barrier was looked for, and whether it was the last.
    Next(Element<T>, bool),
    /// The stream has ended.
    Ended,
}

/// What follows when the logic has no more to emit.
pub(super) struct More<T> {
    /// The watermark that it passes on then.
    pub(super) passed: Option<Timestamp>,
    /// The record that came with it.
    pub(super) record: Option<Record<T>>,
    /// What came while a barrier was looked for.
    pub(super) next: Option<Element<T>>,
    pub(super) ended: bool,
}

impl<T> More<T> {
    pub(super) fn new(passed: Option<Timestamp>, record: Option<Record<T>>) -> Self {
        Self { passed, record, next: None, ended: false }
    }

    /// Whether a record waits, which a barrier must not overtake.
    pub(super) fn has_record(&self) -> bool {
        self.record.is_some() || matches!(self.next, Some(Element::Record(..)))
    }
}

/// Whether the logic can take the record that came.
pub(super) enum Ready {
    Yes,
    /// Once it has emitted what the record's watermark made due; then this watermark holds.
    After(Option<Timestamp>),
}

/// What becomes of an operator that had something behind its outbox.
pub(super) enum Resumed<U> {
    /// It goes on.
    GoesOn,
    /// This comes out.
    Element(Element<U>),
    /// It waits for the stream before it.
    Waits,
    /// It has ended.
    Ended,
}
