//! A day of the calendar, for columns of type `date`.

use std::fmt;
use std::str::FromStr;

use rtbflow::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// A day of the proleptic Gregorian calendar.
///
/// ```
/// use rtbflow_sinks::postgres::Date;
///
/// let day: Date = "2024-01-15".parse()?;
/// assert_eq!(day, Date::of("2024-01-15T23:59:59Z".parse()?));
/// assert_eq!(day.to_string(), "2024-01-15");
/// # Ok::<(), rtbflow::time::ParseTimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

impl Date {
    /// The day this many days after 1970-01-01.
    #[must_use]
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn as_days(self) -> i32 {
        self.0
    }

    /// The day on which a time falls in UTC; for another zone add its offset to the time first. Times that are
    /// beyond what 32 bits count fall on the first or the last of these days, which Postgres does not take.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        let days = time.as_millis().div_euclid(DAY_MS);
        // Both are beyond the calendar of Postgres, and refused where they are written.
        Self(i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }))
    }
}

impl FromStr for Date {
    type Err = rtbflow::time::ParseTimestampError;

    /// Reads `YYYY-MM-DD`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        format!("{text}T00:00:00Z").parse().map(Self::of)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let midnight = Timestamp::from_millis(i64::from(self.0) * DAY_MS).to_string();
        f.write_str(midnight.split_once('T').map_or(&*midnight, |(day, _)| day))
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
