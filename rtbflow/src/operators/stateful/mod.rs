//! The one poll loop behind all operators with state, and the contract of their logic.

mod logic;
mod operator;
mod outbox;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use pin_project::pin_project;

use crate::element::Element;
use crate::flow::{Elements, Flow};
use crate::topology::Tip;

pub use crate::state::Snapshot;
pub use logic::Logic;
pub use outbox::Outbox;

use operator::{Operator, Ready, Resumed};

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
