//! The one poll loop behind all operators with state, and the contract of their logic.

mod operator;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pin_project::pin_project;

use crate::activity::Activity;
use crate::barrier::{Class, Reject, Samples, Tally};
use crate::element::Element;
use crate::error::{BadRecord, Result};
use crate::flow::{Elements, Flow};
use crate::operators::window::Late;
use crate::record::{Origin, Record};
use crate::refused_result::RefusedResult;
use crate::state::Chunk;
pub use crate::state::Snapshot;
use crate::time::{Timestamp, rough};
use crate::topology::Tip;

use operator::{Operator, Ready, Resumed};

/// What an operator with state does: pure logic, without waiting.
///
/// Given the same records, watermarks and barriers in the same order it must do the same again, from
/// any state that it has handed over: that is what makes a restart exact.
pub trait Logic: Send + 'static {
    /// The values that come in.
    type In: Send + 'static;
    /// The values that go out.
    type Out: Send + 'static;

    /// The version of what [`snapshot`](Self::snapshot) writes.
    const VERSION: u16;

    /// A record came.
    fn on_record(&mut self, record: Record<Self::In>, out: &mut Outbox<Self::Out>);

    /// The lowest watermark that has to be told by [`on_watermark`](Self::on_watermark) before a record:
    /// all, unless a logic says otherwise. One below it passes on as it is, and is told later, at the
    /// latest before a barrier; [`Outbox::watermark_before`] knows it.
    #[inline]
    fn due(&self) -> Timestamp {
        Timestamp::MIN
    }

    /// The watermark rose. Returns the watermark to pass on after what was put out: mostly the same.
    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        out: &mut Outbox<Self::Out>,
    ) -> Option<Timestamp> {
        let _ = out;
        Some(watermark)
    }

    /// Emits more of what the watermark made due, as many records at a time as there is
    /// [`room`](Outbox::room) for, so that the outbox stays small: called after
    /// [`on_watermark`](Self::on_watermark) until it emits nothing and says so.
    fn more(&mut self, out: &mut Outbox<Self::Out>) -> bool {
        let _ = out;
        false
    }

    /// Whether a barrier may pass, and so a snapshot be taken, while [`more`](Self::more) has more to emit.
    /// What the snapshots say has to be exact then as well: what was emitted is not emitted again after a
    /// restart, and what is still due becomes due by the first watermark. Where it may not, all that a
    /// watermark makes due is one epoch, however many results that is.
    ///
    /// Neither [`on_record`](Self::on_record) nor [`on_barrier`](Self::on_barrier) is called before the last
    /// result was emitted. Nor is `on_barrier` called while an operator behind this one has results to emit: it is
    /// at the next barrier, which is asked for.
    const RESUMES: bool = false;

    /// The lowest watermark by which results become due: asked where the logic [`RESUMES`](Self::RESUMES),
    /// so that such a watermark comes alone, and not with a record behind it that the barrier would have to
    /// wait for. Unless a logic says otherwise, it is what [`due`](Self::due) says.
    #[inline]
    fn results_due(&self) -> Timestamp {
        self.due()
    }

    /// Whether the logic itself says by [`Outbox::due_at`] when a record has made results due earlier than
    /// before. Unless it does, [`results_due`](Self::results_due) is asked after each record, which is a part of
    /// what a record costs where that is little.
    const SAYS_DUE: bool = false;

    /// A barrier came, with a reading of the wall clock; what is put out now still belongs to the epoch
    /// that it ends.
    fn on_barrier(&mut self, wall_clock: Timestamp, out: &mut Outbox<Self::Out>) {
        let _ = (wall_clock, out);
    }

    /// Hands over what changed since the last call.
    fn snapshot(&mut self, snapshot: &mut Snapshot);

    /// Takes back what was handed over, chunk by chunk: in order within each bucket.
    ///
    /// # Errors
    /// If the chunk can not be read; see [`Reader`](crate::state::Reader).
    fn restore(&mut self, chunk: &Chunk) -> Result<()>;

    /// The last chunk was brought back: what has to be put out at the beginning, such as a watermark.
    fn restored(&mut self, out: &mut Outbox<Self::Out>) {
        let _ = out;
    }
}

/// So many results are emitted at a time, at most.
const PORTION: usize = 128;

/// Where a [`Logic`] puts what it makes.
pub struct Outbox<U> {
    pub(super) elements: VecDeque<Queued<U>>,
    pub(super) rejects: Vec<(Reject, Class)>,
    pub(super) tally: Tally,
    pub(super) behind: u64,
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

    /// Results become due by this watermark: said by a logic that [`SAYS_DUE`](Logic::SAYS_DUE) where a record
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

    /// A record came too late: the watermark would have had to pass it `by` so much later. Does with it what
    /// `late` says, and accounts for it. The reason says of which time it is, and where the watermark stands.
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

    /// A record came behind the watermark, by so much, and is used all the same, as far as it can be. The reason
    /// says of which time it is, and where the watermark stands. It stays accounted for as used.
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

/// The stream behind every operator with state: polls, and lets its [`Logic`] do the rest.
#[pin_project]
pub struct Stateful<S, L: Logic> {
    #[pin]
    stream: S,
    operator: Operator<L>,
}

impl<S, L: Logic> fmt::Debug for Stateful<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stateful({:?})", self.operator.name)
    }
}

impl<S: Elements> Flow<S> {
    /// An operator of one's own: `kind` is what the topology calls it, `name` what its state is kept by.
    /// The name must be unique in the pipeline and stay the same from release to release.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::operators::{Logic, Outbox, Snapshot};
    /// use rtbflow::state::{Chunk, Reader, Writer};
    /// use rtbflow::testing::{run, values};
    /// use rtbflow::{Record, Result};
    ///
    /// /// Numbers the records.
    /// #[derive(Default)]
    /// struct Count(u64);
    ///
    /// impl Logic for Count {
    ///     type In = &'static str;
    ///     type Out = (u64, &'static str);
    ///     const VERSION: u16 = 1;
    ///
    ///     fn on_record(&mut self, record: Record<&'static str>, out: &mut Outbox<Self::Out>) {
    ///         self.0 += 1;
    ///         out.push(record.map(|value| (self.0, value)));
    ///     }
    ///     fn snapshot(&mut self, snapshot: &mut Snapshot) {
    ///         let mut count = Writer::new(Self::VERSION);
    ///         count.put(&self.0);
    ///         snapshot.replace(0, count);
    ///     }
    ///     fn restore(&mut self, chunk: &Chunk) -> Result<()> {
    ///         self.0 = Reader::open(chunk, Self::VERSION)?.only_entry()?.unwrap_or(0);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let counted = run(values(["a", "b"]), |flow| flow.logic("count", "my-count", Count::default()));
    /// assert_eq!(counted, [(1, "a"), (2, "b")]);
    /// ```
    pub fn logic<L>(self, kind: &'static str, name: &str, logic: L) -> Flow<Stateful<S, L>>
    where
        L: Logic<In = S::Value>,
    {
        let tip = self.tip.then_named(kind, name, "");
        Flow { stream: Stateful::new(self.stream, name, logic, &tip), tip }
    }
}

impl<S, L: Logic> Stateful<S, L> {
    pub(crate) fn new(stream: S, name: &str, logic: L, tip: &Tip) -> Self {
        Self { stream, operator: Operator::new(name, logic, tip) }
    }
}

impl<S, L> Stream for Stateful<S, L>
where
    L: Logic,
    S: Elements<Value = L::In>,
{
    type Item = Element<L::Out>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            if !this.operator.out.elements.is_empty() {
                return Poll::Ready(this.operator.out.elements.pop_front().map(Element::from));
            }
            if this.operator.has_behind() {
                match this.operator.resume(this.stream.as_mut(), context) {
                    Resumed::GoesOn => continue,
                    Resumed::Element(element) => return Poll::Ready(Some(element)),
                    Resumed::Waits => return Poll::Pending,
                    Resumed::Ended => return Poll::Ready(None),
                }
            }
            match ready!(this.stream.as_mut().poll_next(context)) {
                Some(Element::Record(record, watermark)) => {
                    // A record that is handed from function to function is copied each time.
                    let operator = &mut this.operator;
                    match operator.before_record(watermark) {
                        Ready::Yes => operator.logic.on_record(record, &mut operator.out),
                        Ready::After(passed) => operator.hold(passed, record),
                    }
                    operator.after_record();
                }
                Some(Element::Watermark(watermark)) => this.operator.on_watermark(watermark),
                Some(Element::Barrier(barrier)) => this.operator.on_barrier(barrier),
                None => return Poll::Ready(None),
            }
        }
    }
}
