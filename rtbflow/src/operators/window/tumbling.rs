//! Windows of one size that follow one another.

use std::time::Duration;

use crate::operators::window::{Late, Window, Windows};
use crate::time::{Timestamp, millis};

/// What happens to late records has not been said yet.
#[derive(Debug, Clone, Copy)]
pub struct Undecided;

/// Windows of one size that follow one another: each record belongs to exactly one.
///
/// They are aligned to 1970-01-01T00:00:00Z, before it as well as after it.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Tumbling<L = Undecided> {
    size_ms: i64,
    offset_ms: i64,
    allowed_lateness: Duration,
    late: L,
}

impl Tumbling {
    /// Windows of this size, in whole milliseconds; less than one counts as one.
    pub fn of(size: Duration) -> Self {
        let size_ms = millis(size).max(1);
        Self { size_ms, offset_ms: 0, allowed_lateness: Duration::ZERO, late: Undecided }
    }

    /// Says what happens to late records.
    pub fn late(self, late: Late) -> Tumbling<Late> {
        let Self { size_ms, offset_ms, allowed_lateness, late: Undecided } = self;
        Tumbling { size_ms, offset_ms, allowed_lateness, late }
    }
}

impl<L> Tumbling<L> {
    /// Shifts the windows' borders, such as by 15 hours for days of Seoul.
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset_ms: millis(offset).rem_euclid(self.size_ms), ..self }
    }

    /// How long after its end a window still takes records. Default: not at all.
    pub fn allowed_lateness(self, allowed_lateness: Duration) -> Self {
        Self { allowed_lateness, ..self }
    }
}

impl Windows for Tumbling<Late> {
    #[inline]
    fn window_of(&self, timestamp: Timestamp) -> Window {
        let at = timestamp.as_millis();
        let into = at.wrapping_sub(self.offset_ms).rem_euclid(self.size_ms);
        let start = at.saturating_sub(into);
        let end = start.saturating_add(self.size_ms);
        Window { start: Timestamp::from_millis(start), end: Timestamp::from_millis(end) }
    }

    fn allowed_lateness(&self) -> Duration {
        self.allowed_lateness
    }

    fn late(&self) -> Late {
        self.late
    }

    fn describe(&self) -> String {
        let mut text = format!("tumbling {:?}", Duration::from_millis(self.size_ms.unsigned_abs()));
        if !self.allowed_lateness.is_zero() {
            text.push_str(&format!(", allowed lateness {:?}", self.allowed_lateness));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
