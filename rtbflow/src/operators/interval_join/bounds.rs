//! The ends of the interval in which partners are, and how long a pair lives.

use std::fmt;
use std::time::Duration;

use crate::time::millis;

/// One end of the interval in which the partners of a left record are: a time before or after the record's.
///
/// ```
/// use std::time::Duration;
/// use rtbflow::operators::interval_join::Bound;
///
/// let hour = Duration::from_hours(1);
/// assert_eq!(Bound::before(hour).to_string(), "-1h");
/// assert_eq!(Bound::after(hour).exclusive().to_string(), "+1h (exclusive)");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Bound {
    offset_ms: i64,
    exclusive: bool,
}

impl Bound {
    /// This long before the left record, in whole milliseconds; it belongs to the interval.
    pub fn before(duration: Duration) -> Self {
        Self { offset_ms: -millis(duration), exclusive: false }
    }

    /// This long after the left record, in whole milliseconds; it belongs to the interval.
    pub fn after(duration: Duration) -> Self {
        Self { offset_ms: millis(duration), exclusive: false }
    }

    /// The time of the left record itself; it belongs to the interval.
    pub fn same() -> Self {
        Self { offset_ms: 0, exclusive: false }
    }

    /// The same end, which does not belong to the interval itself.
    pub fn exclusive(self) -> Self {
        Self { exclusive: true, ..self }
    }

    /// As the lower end: the first millisecond that belongs to the interval.
    pub(super) fn first_ms(self) -> i64 {
        self.offset_ms.saturating_add(i64::from(self.exclusive))
    }

    /// As the upper end: the last millisecond that belongs to the interval.
    pub(super) fn last_ms(self) -> i64 {
        self.offset_ms.saturating_sub(i64::from(self.exclusive))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] =
            [(3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
        let ms = self.offset_ms.unsigned_abs();
        let sign = if self.offset_ms < 0 { "-" } else { "+" };
        let unit = UNITS.iter().find(|(size, _)| ms.is_multiple_of(*size));
        match unit {
            Some((size, unit)) if ms > 0 => write!(f, "{sign}{}{unit}", ms / size)?,
            _ => f.write_str("0")?,
        }
        f.write_str(if self.exclusive { " (exclusive)" } else { "" })
    }
}

/// The interval of one left record, and how long a pair lives.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say the interval of a left record `{L}`",
    note = "`narrowed` takes a function from the left record to its lower and its upper bound, and `ttl` one from both records to a duration"
)]
pub trait Narrow<L, R>: Send + 'static {
    /// The lower and the upper bound, if it has its own.
    fn interval(&self, left: &L) -> Option<(Bound, Bound)>;

    /// Whether two records that are this far apart are partners.
    #[inline]
    fn lives(&self, left: &L, right: &R, apart_ms: u64) -> bool {
        let _ = (left, right, apart_ms);
        true
    }
}

/// Every left record has the interval of the join.
#[derive(Debug, Clone, Copy)]
pub struct Widest;

impl<L, R> Narrow<L, R> for Widest {
    #[inline]
    fn interval(&self, _left: &L) -> Option<(Bound, Bound)> {
        None
    }
}

impl<L, R, F> Narrow<L, R> for F
where
    F: Fn(&L) -> (Bound, Bound) + Send + 'static,
{
    #[inline]
    fn interval(&self, left: &L) -> Option<(Bound, Bound)> {
        Some(self(left))
    }
}

/// Every pair has a time to live.
#[derive(Clone, Copy)]
pub struct Ttl<N, F> {
    pub(super) narrow: N,
    pub(super) ttl: F,
}

impl<N, F> fmt::Debug for Ttl<N, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ttl")
    }
}

impl<L, R, N, F> Narrow<L, R> for Ttl<N, F>
where
    N: Narrow<L, R>,
    F: Fn(&L, &R) -> Duration + Send + 'static,
{
    #[inline]
    fn interval(&self, left: &L) -> Option<(Bound, Bound)> {
        self.narrow.interval(left)
    }

    #[inline]
    fn lives(&self, left: &L, right: &R, apart_ms: u64) -> bool {
        let ttl_ms = (self.ttl)(left, right).as_millis();
        u128::from(apart_ms) <= ttl_ms && self.narrow.lives(left, right, apart_ms)
    }
}
