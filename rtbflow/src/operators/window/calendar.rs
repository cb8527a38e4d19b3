//! Windows whose borders a closure knows: days, weeks or months of a time zone.

use std::borrow::Cow;
use std::fmt;

use crate::error::{Error, Result};
use crate::operators::late::Undecided;
use crate::operators::window::assign::Assigner;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::lateness::{Lateness, with_lateness};
use crate::operators::window::span::Window;
use crate::time::Timestamp;

/// Windows of the calendar, which do not all have one size: days of a time zone have 23 or 25 hours
/// where the clocks change, months have 28 to 31 days. For windows of one size take
/// [`Tumbling`](super::Tumbling).
///
/// With the feature `time-zones`, `Calendar::daily` and `Calendar::monthly` are the days and months of a
/// time zone. For any others, or with another crate's rules, a closure says which window a time belongs
/// to: [`Calendar::of`].
///
/// # Time and state
/// As [`Tumbling`](super::Tumbling): one state per key and window, to the window's end and the allowed
/// lateness. The calendar is asked only when a record does not belong to the newest window.
///
/// # Examples
/// Weeks of UTC that begin on Monday, as 1970-01-05 was one:
///
/// ```
/// use std::time::Duration;
/// use rtbflow::Timestamp;
/// use rtbflow::operators::window::{Assigner, Calendar, Late, Window};
///
/// const DAY_MS: i64 = 86_400_000;
/// let weeks = Calendar::of("weeks", |at| {
///     let into = (at.as_millis() - 4 * DAY_MS).rem_euclid(7 * DAY_MS);
///     let start = at - Duration::from_millis(into.unsigned_abs());
///     Window { start, end: start + Duration::from_hours(7 * 24) }
/// });
/// let week = weeks.late(Late::DeadLetter).window_of("2026-11-24T18:00:00Z".parse()?);
/// assert_eq!(week.start, "2026-11-23T00:00:00Z".parse::<Timestamp>()?);
/// assert_eq!(week.end, "2026-11-30T00:00:00Z".parse::<Timestamp>()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Calendar<F, L = Undecided> {
    name: Cow<'static, str>,
    window_of: F,
    lateness: Lateness<L>,
}

impl<F: Fn(Timestamp) -> Window + Send + 'static> Calendar<F> {
    /// Windows that a closure knows; the topology calls them by this name.
    ///
    /// The closure must depend on nothing but the time, and give all times of a window the same window;
    /// windows must not overlap. A time that it leaves out of its own window is taken into it all the same.
    pub fn of(name: impl Into<Cow<'static, str>>, window_of: F) -> Self {
        Self { name: name.into(), window_of, lateness: Lateness::UNDECIDED }
    }
}

impl<F, L> fmt::Debug for Calendar<F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calendar({})", self.name)
    }
}

impl<F, L> Calendar<F, L> {
    fn kind(&self) -> Cow<'static, str> {
        self.name.clone()
    }

    fn check(&self) -> Result<()> {
        Error::unless(!self.name.is_empty(), || {
            "its windows have no name; give them one that says where they lie".to_owned()
        })
    }
}

with_lateness! {
    impl Calendar[F: Fn(Timestamp) -> Window + Send + 'static] { name, window_of }
    /// How long after its end a window still takes records. Default: not at all.
}

impl<F, L> Assigner for Calendar<F, L>
where
    F: Fn(Timestamp) -> Window + Send + 'static,
    L: LatePolicy,
{
    fn window_of(&self, timestamp: Timestamp) -> Window {
        (self.window_of)(timestamp)
    }
}
