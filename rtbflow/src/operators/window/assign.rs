//! The contracts of windows: where they lie, what becomes of late records, and what puts them together.

use std::time::Duration;

use crate::error::Result;
use crate::operators::Logic;
use crate::operators::window::early::Early;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::span::Window;
use crate::time::Timestamp;

/// Windows of which everything is said that has to be: what becomes of late records, or, where the time
/// does not matter, how long a key is kept.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what happens to late records",
    label = "decide here",
    note = "add `.late(Late::DeadLetter)` to send them to the dead-letter topic, `.late(Late::Drop)` to drop and count them, or `.late(LateFlow)` to have them as a flow",
    note = "a `CountWindow` knows no late records; it has to say how long a key is kept: add `.ttl(…)`"
)]
pub trait Decided: Send + 'static {}

impl<W: Windows> Decided for W {}

/// A way of laying windows over event time.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are not windows over event time whose late records are decided about",
    note = "add `.late(Late::DeadLetter)`, `.late(Late::Drop)` or `.late(LateFlow)`"
)]
pub trait Windows: Send + 'static {
    /// The decision about late records.
    type Late: LatePolicy;

    /// How long after its end a window still takes records.
    fn allowed_lateness(&self) -> Duration;

    /// What becomes of records that come later.
    fn late(&self) -> Self::Late;

    /// What the topology says of it.
    fn describe(&self) -> String;

    /// Whether they can be used: asked as the pipeline is drawn. They can, unless overridden.
    ///
    /// # Errors
    /// A configuration error that says what is wrong: the job does not start, and reports it with whatever else
    /// is.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Where the windows lie: state of windows that lie elsewhere is refused. What may change on stored state,
    /// such as the allowed lateness, does not belong in it.
    fn layout(&self) -> String {
        self.describe()
    }
}

/// Windows of which each time belongs to exactly one, whatever the key and whatever else came: all that
/// it takes to lay windows of one's own.
///
/// The answer must depend on nothing but the time; windows with the same end must be the same.
#[diagnostic::on_unimplemented(
    message = "with `{Self}` a time may belong to several windows, or to one that depends on the records",
    note = "partial results (`discarding`) need windows that each time belongs to exactly one of, such as `Tumbling`"
)]
pub trait Assigner: Windows {
    /// The window that a time belongs to.
    fn window_of(&self, timestamp: Timestamp) -> Window;
}

/// What a window's later results mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Panes {
    /// Each stands for all records of the window so far, and replaces the one before.
    Accumulating,
    /// Each stands for the records since the one before, and is added to it.
    Discarding,
}

/// What is done in the windows: the key of a record, the aggregate, and when a result is emitted.
#[derive(Debug)]
pub struct Aggregation<F, A> {
    pub(crate) key: F,
    pub(crate) aggregate: A,
    pub(crate) panes: Panes,
    pub(crate) early: Early,
}

/// Windows to whose records the aggregate `A` can be applied, for records `T` with the key `K` that `F`
/// finds: what [`aggregate`](super::WindowedFlow::aggregate) asks of them.
pub trait Apply<K, T, F, A>: Sized {
    /// What does the work.
    type Logic: Logic<In = T>;

    /// What the topology says of it.
    fn detail(&self) -> String;

    /// Whether windows and aggregate can be used: asked as the pipeline is drawn.
    ///
    /// # Errors
    /// A configuration error that names all that is wrong: the job does not start, and reports it with whatever
    /// else is.
    fn validate(&self, aggregate: &A) -> Result<()>;

    /// Puts windows and aggregate together.
    fn apply(self, statement: Aggregation<F, A>) -> Self::Logic;
}
