//! Windows of one size that follow one another.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::operators::late::Undecided;
use crate::operators::window::assign::Assigner;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::lateness::{Lateness, with_lateness};
use crate::operators::window::span::Window;
use crate::time::{Timestamp, millis};

/// Windows of one size that follow one another: each record belongs to exactly one. For windows that
/// overlap take [`Sliding`](super::Sliding), for days and months of a time zone
/// [`Calendar`](super::Calendar), for stretches of activity [`Session`](super::Session), for a fixed number
/// of records of a key [`CountWindow`](super::CountWindow).
///
/// They are aligned to 1970-01-01T00:00:00Z, before it as well as after it.
///
/// # Time and state
/// Keeps one state for each key and window in which it has records, to the window's end and the allowed
/// lateness; mostly one or two windows are open.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow::Timestamp;
/// use rtbflow::operators::window::{Assigner, Late, Tumbling};
///
/// let hours = Tumbling::of(Duration::from_hours(1)).late(Late::Drop);
/// let hour = hours.window_of("2026-11-24T18:45:10Z".parse()?);
/// assert_eq!(hour.start, "2026-11-24T18:00:00Z".parse::<Timestamp>()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Tumbling<L = Undecided> {
    /// As it was set.
    size: Duration,
    /// At least one, so that nothing is divided by zero before windows of no size are refused.
    size_ms: i64,
    offset_ms: i64,
    lateness: Lateness<L>,
}

impl Tumbling {
    /// Windows of this size, in whole milliseconds, of which there must be one.
    pub fn of(size: Duration) -> Self {
        let size_ms = millis(size).max(1);
        Self { size, size_ms, offset_ms: 0, lateness: Lateness::UNDECIDED }
    }
}

impl<L> Tumbling<L> {
    fn kind(&self) -> String {
        format!("tumbling {:?}", Duration::from_millis(self.size_ms.unsigned_abs()))
    }

    fn check(&self) -> Result<()> {
        Error::unless(millis(self.size) > 0, || {
            format!("its windows are {:?} long; give them a millisecond or more", self.size)
        })
    }

    /// Shifts the windows' borders, such as by 15 hours for days that begin nine hours before those of UTC.
    /// Days of a time zone, which may have 23 or 25 hours, are [`Calendar`](super::Calendar)'s.
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset_ms: millis(offset).rem_euclid(self.size_ms), ..self }
    }
}

with_lateness! {
    impl Tumbling { size, size_ms, offset_ms }
    /// How long after its end a window still takes records. Default: not at all.
}

impl<L: LatePolicy> Assigner for Tumbling<L> {
    #[inline]
    fn window_of(&self, timestamp: Timestamp) -> Window {
        let at = timestamp.as_millis();
        let into = at.wrapping_sub(self.offset_ms).rem_euclid(self.size_ms);
        let start = at.saturating_sub(into);
        let end = start.saturating_add(self.size_ms);
        Window { start: Timestamp::from_millis(start), end: Timestamp::from_millis(end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::window::Late;

    fn start(windows: Tumbling<Late>, at: i64) -> i64 {
        windows.window_of(Timestamp::from_millis(at)).start.as_millis()
    }

    #[test]
    fn borders_also_before_1970_and_with_an_offset() {
        let ten = Tumbling::of(Duration::from_millis(10)).late(Late::Drop);
        assert_eq!([-11, -10, -1, 0, 9, 10].map(|at| start(ten, at)), [-20, -10, -10, 0, 0, 10]);
        let shifted = ten.offset(Duration::from_millis(13));
        assert_eq!([-8, -7, 2, 3, 12, 13].map(|at| start(shifted, at)), [-17, -7, -7, 3, 3, 13]);
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let ten = Tumbling::of(Duration::MAX).late(Late::Drop);
        for at in [i64::MIN, -1, 0, i64::MAX] {
            let window = ten.window_of(Timestamp::from_millis(at));
            assert!(window.start <= window.end);
        }
    }
}
