//! What an operator with state does with each element, and how a barrier passes in the middle of its results.
//!
//! A window of a hundred thousand keys ends at one watermark. Were all its results to come before the next
//! barrier, one epoch would have to hold them, however long the place takes for it. So the operator, between
//! two portions of what is due, looks whether a barrier has set out, and lets it pass. What comes before the
//! barrier must not overtake what is due: a watermark waits, as it follows from positions that are committed
//! and comes again after a restart; behind a record, which was taken, the barrier has to wait for the last
//! result. That does not happen where the watermark that made them due came alone; see
//! [`Logic::results_due`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use pin_project::pin_project;

use crate::barrier::Barrier;
use crate::element::Element;
use crate::flow::Elements;
use crate::operators::stateful::behind::{Behind, More, Ready, Resumed};
use crate::operators::stateful::logic::Logic;
use crate::operators::stateful::outbox::Outbox;
use crate::record::Record;
use crate::time::Timestamp;
use crate::topology::Tip;

/// The stream behind every operator with state: polls, and lets its [`Logic`] do the rest.
#[pin_project]
pub(in crate::operators) struct Stateful<S, L: Logic> {
    #[pin]
    stream: S,
    operator: Operator<L>,
}

impl<S, L: Logic> fmt::Debug for Stateful<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stateful({:?})", self.operator.name)
    }
}

impl<S, L: Logic> Stateful<S, L> {
    pub(in crate::operators) fn new(stream: S, name: &str, logic: L, tip: &Tip) -> Self {
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

/// An operator without the stream before it.
pub(super) struct Operator<L: Logic> {
    pub(super) logic: L,
    pub(super) name: Arc<str>,
    /// What it is called in measurements: the same, unless it has none.
    pub(super) operator: Arc<str>,
    pub(super) out: Outbox<L::Out>,
    /// The watermark that the logic knows.
    watermark: Timestamp,
    /// How many barriers have passed that end an epoch.
    barriers: u64,
    /// What waits until the outbox is empty.
    behind: Option<Behind<L::In>>,
}

impl<L: Logic> Operator<L> {
    pub(super) fn new(name: &str, logic: L, tip: &Tip) -> Self {
        let mut operator = Self {
            logic,
            name: name.into(),
            operator: tip.operator(),
            out: Outbox { lag_ms: tip.lag_ms(), ..Outbox::new(tip.activity()) },
            watermark: Timestamp::MIN,
            barriers: 0,
            behind: None,
        };
        operator.note_due();
        operator
    }

    #[inline]
    pub(super) fn has_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// A record is about to come with this watermark.
    #[inline]
    pub(super) fn before_record(&mut self, watermark: Timestamp) -> Ready {
        // Whether the watermark rose is as good as random: where that does not matter, it is not asked.
        if watermark < self.logic.due() {
            self.out.watermark = watermark;
        } else if watermark > self.watermark {
            self.watermark = watermark;
            let passed = self.logic.on_watermark(watermark, &mut self.out);
            if self.logic.more(&mut self.out) {
                return Ready::After(passed);
            }
            // A logic that has one of its own passes none on.
            self.out.watermark = passed.unwrap_or(self.out.watermark);
        }
        Ready::Yes
    }

    /// A record was handled, or waits.
    #[inline]
    pub(super) fn after_record(&mut self) {
        if L::RESUMES && !L::SAYS_DUE {
            self.out.due_at(self.logic.results_due());
        }
        debug_assert!(
            !L::RESUMES || self.out.results_due <= self.logic.results_due(),
            "a logic that SAYS_DUE has to say with a record that results are due earlier"
        );
    }

    /// A record waits until the logic has emitted what its watermark made due.
    #[cold]
    #[inline(never)]
    pub(super) fn hold(&mut self, passed: Option<Timestamp>, record: Record<L::In>) {
        self.behind = Some(Behind::More(More::new(passed, Some(record))));
    }

    /// Lets the task know by which watermark results are due.
    fn note_due(&mut self) {
        if L::RESUMES {
            self.out.note_due(self.logic.results_due());
        }
    }

    pub(super) fn on_watermark(&mut self, watermark: Timestamp) {
        self.watermark = watermark;
        let passed = self.logic.on_watermark(watermark, &mut self.out);
        self.behind = Some(Behind::More(More::new(passed, None)));
    }

    pub(super) fn on_barrier(&mut self, barrier: Barrier) {
        if self.out.watermark > self.watermark {
            // One that was not due, and with which nothing is emitted.
            self.watermark = self.out.watermark;
            self.logic.on_watermark(self.out.watermark, &mut self.out);
        }
        if !barrier.is_restoring() {
            self.barriers += 1;
            if L::RESUMES && self.out.activity.is_barrier_awaited() {
                self.out.wake_at(barrier.wall_clock());
            } else {
                self.logic.on_barrier(barrier.wall_clock(), &mut self.out);
            }
        }
        self.pass(&barrier);
        self.note_due();
        self.behind = Some(Behind::Passes(barrier));
    }

    /// The outbox is empty: goes on with what waited for that.
    #[cold]
    #[inline(never)]
    pub(super) fn resume<S>(
        &mut self,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
    ) -> Resumed<L::Out>
    where
        S: Elements<Value = L::In>,
    {
        match self.behind.take() {
            None => Resumed::GoesOn,
            Some(Behind::Passes(barrier)) => {
                if barrier.is_last_restoring() {
                    self.begin();
                }
                Resumed::Element(Element::Barrier(barrier))
            }
            Some(Behind::More(more)) => self.go_on(more, stream, context),
            Some(Behind::Next(element, ended)) => {
                self.take_next(element, ended);
                Resumed::GoesOn
            }
            Some(Behind::Ended) => {
                self.behind = Some(Behind::Ended);
                Resumed::Ended
            }
        }
    }

    /// Takes what came behind the results that are emitted now; `ended` says whether it was the last.
    fn take_next(&mut self, element: Element<L::In>, ended: bool) {
        match element {
            Element::Record(record, watermark) => {
                match self.before_record(watermark) {
                    Ready::Yes => self.logic.on_record(record, &mut self.out),
                    Ready::After(passed) => self.hold(passed, record),
                }
                self.after_record();
            }
            Element::Watermark(watermark) => self.on_watermark(watermark),
            Element::Barrier(barrier) => self.on_barrier(barrier),
        }
        match &mut self.behind {
            Some(Behind::More(more)) => more.ended = ended,
            behind if ended => *behind = Some(Behind::Ended),
            _ => {}
        }
    }

    /// The state is back. What was due when the last barrier passed still is, and a watermark that came before
    /// the state, from an operator that keeps its own, is reported again.
    fn begin(&mut self) {
        let reported = std::mem::replace(&mut self.watermark, Timestamp::MIN);
        let next = (reported > Timestamp::MIN).then_some(Element::Watermark(reported));
        if L::RESUMES || next.is_some() {
            self.behind = Some(Behind::More(More { next, ..More::new(None, None) }));
        }
    }

    /// A barrier has set out: takes it, if it passes between two results.
    fn look<S>(
        &mut self,
        more: &mut More<L::In>,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Barrier>>
    where
        S: Elements<Value = L::In>,
    {
        self.out.activity.await_barrier(true);
        let found = look(more, stream, context);
        self.out.activity.await_barrier(found.is_pending());
        if let Poll::Ready(Some(barrier)) = &found {
            self.barriers += 1;
            self.pass(barrier);
            // What goes by the wall clock has its turn when all is emitted.
            self.out.wake_at(barrier.wall_clock());
        }
        found
    }

    /// The logic emits more, unless a barrier passes before.
    fn go_on<S>(
        &mut self,
        mut more: More<L::In>,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
    ) -> Resumed<L::Out>
    where
        S: Elements<Value = L::In>,
    {
        let is_sent = L::RESUMES && self.out.activity.sent() > self.barriers;
        let resumed = if is_sent && !more.ended && !more.has_record() {
            match self.look(&mut more, stream, context) {
                Poll::Pending => Some(Resumed::Waits),
                Poll::Ready(barrier) => barrier.map(Element::Barrier).map(Resumed::Element),
            }
        } else {
            None
        };
        if resumed.is_some() || self.logic.more(&mut self.out) {
            self.behind = Some(Behind::More(more));
            return resumed.unwrap_or(Resumed::GoesOn);
        }
        self.emitted(more)
    }

    /// All is emitted that was due: the record or the watermark that made it so has its turn, and then what came
    /// behind it.
    fn emitted(&mut self, more: More<L::In>) -> Resumed<L::Out> {
        self.note_due();
        let More { passed, record, next, ended } = more;
        self.out.watermark = passed.unwrap_or(self.out.watermark);
        self.behind = match next {
            Some(next) => Some(Behind::Next(next, ended)),
            None => ended.then_some(Behind::Ended),
        };
        let Some(record) = record else {
            return passed.map_or(Resumed::GoesOn, |at| Resumed::Element(Element::Watermark(at)));
        };
        self.logic.on_record(record, &mut self.out);
        self.after_record();
        Resumed::GoesOn
    }
}

/// A barrier has set out: takes what comes before it. `None` if it cannot pass yet.
fn look<S: Elements>(
    more: &mut More<S::Value>,
    mut stream: Pin<&mut S>,
    context: &mut Context<'_>,
) -> Poll<Option<Barrier>> {
    loop {
        match std::task::ready!(stream.as_mut().poll_next(context)) {
            Some(Element::Barrier(barrier)) => return Poll::Ready(Some(barrier)),
            // Watermarks never fall, and the last one tells what those before it would have.
            Some(watermark @ Element::Watermark(_)) => more.next = Some(watermark),
            Some(record @ Element::Record(..)) => {
                more.next = Some(record);
                return Poll::Ready(None);
            }
            None => {
                more.ended = true;
                return Poll::Ready(None);
            }
        }
    }
}
