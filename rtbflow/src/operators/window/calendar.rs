//! Windows whose borders a closure knows: days, weeks or months of a time zone.

use std::fmt;
use std::time::Duration;

use crate::operators::window::assign::described;
use crate::operators::window::{Assigner, LatePolicy, Undecided, Window, Windows};
use crate::time::Timestamp;

/// Windows of the calendar, which do not all have one size: days of a time zone have 23 or 25 hours
/// where the clocks change, months have 28 to 31 days. For windows of one size take
/// [`Tumbling`](super::Tumbling).
///
/// A closure says which window a time belongs to. So the calendar, its time-zone data and when they are
/// updated stay with the program; the library needs none. The closure is asked only when a record does
/// not belong to the newest window.
///
/// # Examples
/// Days of a time zone with [jiff](https://docs.rs/jiff); the clocks of New York went forward on
/// 2024-03-10, so that this day had 23 hours:
///
/// ```
/// use rtbflow::Timestamp;
/// use rtbflow::operators::window::{Assigner, Calendar, Late, Window};
///
/// /// The day of a time zone that a time belongs to.
/// fn day_of(zone: &jiff::tz::TimeZone, at: Timestamp) -> Result<Window, jiff::Error> {
///     let time = jiff::Timestamp::from_millisecond(at.as_millis())?.to_zoned_datetime(zone.clone());
///     let border = |time: jiff::ZonedDateTime| Timestamp::from_millis(time.timestamp().as_millisecond());
///     Ok(Window { start: border(time.start_of_day()?), end: border(time.tomorrow()?.start_of_day()?) })
/// }
///
/// let days = |name| -> Result<_, jiff::Error> {
///     let zone = jiff::tz::TimeZone::get(name)?;
///     // Where the calendar ends, everything is one window.
///     let all = Window { start: Timestamp::MIN, end: Timestamp::MAX };
///     Ok(Calendar::of("days", move |at| day_of(&zone, at).unwrap_or(all)).late(Late::DeadLetter))
/// };
/// let noon: Timestamp = "2024-03-10T12:00:00Z".parse()?;
/// let (seoul, new_york) = (days("Asia/Seoul")?.window_of(noon), days("America/New_York")?.window_of(noon));
/// assert_eq!((seoul.start.to_string(), seoul.end.to_string()),
///     ("2024-03-09T15:00:00Z".into(), "2024-03-10T15:00:00Z".into()));
/// assert_eq!((new_york.start.to_string(), new_york.end.to_string()),
///     ("2024-03-10T05:00:00Z".into(), "2024-03-11T04:00:00Z".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
#[must_use]
pub struct Calendar<F, L = Undecided> {
    name: &'static str,
    window_of: F,
    allowed_lateness: Duration,
    late: L,
}

impl<F: Fn(Timestamp) -> Window + Send + 'static> Calendar<F> {
    /// Windows that a closure knows; the topology calls them by this name.
    ///
    /// The closure must depend on nothing but the time, and give all times of a window the same window;
    /// windows must not overlap. A time that it leaves out of its own window is taken into it all the same.
    pub fn of(name: &'static str, window_of: F) -> Self {
        Self { name, window_of, allowed_lateness: Duration::ZERO, late: Undecided }
    }

    /// Says what happens to late records.
    pub fn late<L: LatePolicy>(self, late: L) -> Calendar<F, L> {
        let Self { name, window_of, allowed_lateness, late: Undecided } = self;
        Calendar { name, window_of, allowed_lateness, late }
    }
}

impl<F, L> Calendar<F, L> {
    /// How long after its end a window still takes records. Default: not at all.
    pub fn allowed_lateness(self, allowed_lateness: Duration) -> Self {
        Self { allowed_lateness, ..self }
    }
}

impl<F, L> fmt::Debug for Calendar<F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calendar({})", self.name)
    }
}

impl<F, L> Windows for Calendar<F, L>
where
    F: Fn(Timestamp) -> Window + Send + 'static,
    L: LatePolicy,
{
    type Late = L;

    fn allowed_lateness(&self) -> Duration {
        self.allowed_lateness
    }

    fn late(&self) -> L {
        self.late
    }

    fn describe(&self) -> String {
        described(self.name, self.allowed_lateness)
    }
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
