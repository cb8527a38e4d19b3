//! The decision about late records: made once, where an operator is added.

/// What happens to late records has not been said yet.
#[derive(Debug, Clone, Copy)]
pub struct Undecided;

/// What becomes of a late record. To have them as a flow, take [`LateFlow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Late {
    /// It goes to the dead-letter topic, with a reason that says so.
    DeadLetter,
    /// It is dropped, and counted.
    Drop,
}

/// Late records come out beside the results: the aggregate's flow is one of [`Either`](crate::Either) a result or a
/// late record, of which [`split`](crate::Flow::split) makes two flows.
///
/// They are as they came, with their origin, and are accounted for where they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateFlow;
