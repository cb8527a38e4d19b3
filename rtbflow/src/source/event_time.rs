//! When what a record is about happened.

use std::fmt;
use std::time::Duration;

use crate::time::Timestamp;

/// How the event time of a value is found, and how far it may be out of order.
pub struct EventTime<T> {
    of: Option<Box<dyn Fn(&T) -> Timestamp + Send + Sync>>,
    pub(crate) out_of_orderness: Duration,
}

impl<T> EventTime<T> {
    /// The time that the transport gave the record, in order.
    #[must_use]
    pub fn of_transport() -> Self {
        Self { of: None, out_of_orderness: Duration::ZERO }
    }

    /// The time in the value; records may be out of order by this much.
    #[must_use]
    pub fn new(
        of: impl Fn(&T) -> Timestamp + Send + Sync + 'static,
        out_of_orderness: Duration,
    ) -> Self {
        Self { of: Some(Box::new(of)), out_of_orderness }
    }
}

impl<T> EventTime<T> {
    /// The event time of a value whose record has this time of the transport's.
    #[inline]
    pub(crate) fn of(&self, value: &T, transport: Timestamp) -> Timestamp {
        self.of.as_ref().map_or(transport, |of| of(value))
    }
}

impl<T> fmt::Debug for EventTime<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventTime(out of order by {:?})", self.out_of_orderness)
    }
}
