//! Points in event time, and how they are written.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, before or after.
///
/// Arithmetic with [`Duration`] saturates, so that [`Timestamp::MAX`], the watermark after the last
/// record, stays where it is.
///
/// On the wire it is RFC 3339, in UTC:
///
/// ```
/// use rtbflow::Timestamp;
///
/// let at: Timestamp = "2024-01-15T19:30:00.0427+09:00".parse()?;
/// assert_eq!(at.to_string(), "2024-01-15T10:30:00.042Z");
/// # Ok::<(), rtbflow::time::ParseTimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before all times.
    pub const MIN: Self = Self(i64::MIN);
    /// After all times: the watermark that closes every window.
    pub const MAX: Self = Self(i64::MAX);

    /// The time this many milliseconds after 1970-01-01T00:00:00Z.
    #[inline]
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[inline]
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to this one, or zero if this one is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Milliseconds of a duration, saturating.
#[inline]
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A length of time as a person says it: its two largest units, rounded up, such as `1h5m` or `2m3s`;
/// milliseconds only below a second.
pub(crate) fn rough(duration: Duration) -> String {
    const UNITS: [(u128, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let exact = duration.as_nanos().div_ceil(1_000_000);
    // No time at all is none of the smallest.
    let largest = UNITS.iter().position(|(unit, _)| exact >= *unit).unwrap_or(UNITS.len() - 1);
    let finest = if largest < 3 { largest + 1 } else { largest };
    let rounded = UNITS.get(finest).map_or(exact, |(unit, _)| exact.div_ceil(*unit) * unit);
    let mut left = rounded;
    let mut text = String::new();
    for (unit, name) in UNITS {
        let count = left / unit;
        left %= unit;
        if count > 0 || (unit == 1 && rounded == 0) {
            text += &format!("{count}{name}");
        }
    }
    text
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    #[inline]
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    #[inline]
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

/// Days since 1970-01-01 of a day of the proleptic Gregorian calendar, with March as the first month
/// of a year, so that the leap day is its last.
/// <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The year, month and day of a day counted from 1970-01-01.
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

const DAY_MS: i64 = 86_400_000;

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with milliseconds only where there are any. The two ends of time are written
    /// `-inf` and `+inf`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MIN => return f.write_str("-inf"),
            Self::MAX => return f.write_str("+inf"),
            Self(_) => {}
        }
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY_MS));
        let ms = self.0.rem_euclid(DAY_MS);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match ms % 1000 {
            0 => f.write_str("Z"),
            ms => write!(f, ".{ms:03}Z"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time")]
pub struct ParseTimestampError;

impl std::str::FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Reads an RFC 3339 time, to the millisecond: further digits are cut off.
    ///
    /// Strict: a zone is needed, the T may not be a blank, there is no hour 24 and no leap second.
    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        parse(text.as_bytes()).ok_or(ParseTimestampError)
    }
}

/// `count` decimal digits of `text` from `at` on.
fn digits(text: &[u8], at: usize, count: usize) -> Option<i64> {
    text.get(at..at + count)?.iter().try_fold(0, |number, &c| {
        let digit = c.wrapping_sub(b'0');
        (digit <= 9).then(|| number * 10 + i64::from(digit))
    })
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let expect = |at: usize, c: u8| (text.get(at) == Some(&c)).then_some(());
    let (year, month, day) = (digits(text, 0, 4)?, digits(text, 5, 2)?, digits(text, 8, 2)?);
    let (hour, minute, second) = (digits(text, 11, 2)?, digits(text, 14, 2)?, digits(text, 17, 2)?);
    expect(4, b'-').and(expect(7, b'-')).and(expect(13, b':')).and(expect(16, b':'))?;
    expect(10, b'T').or(expect(10, b't'))?;
    let valid = year >= 1
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    let (ms, zone) = fraction(text.get(19..)?)?;
    let zone_ms = zone_ms(zone)?;
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(Timestamp(days_from_civil(year, month, day) * DAY_MS + seconds * 1000 + ms - zone_ms))
}

/// The milliseconds behind the seconds, if there are any, and what follows.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    // Whole seconds.
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let count = digits.iter().take_while(|c| c.is_ascii_digit()).count();
    let (fraction, rest) = digits.split_at_checked(count).filter(|_| count > 0)?;
    // What is finer than a millisecond is cut.
    let each = fraction.iter().zip([100, 10, 1]);
    Some((each.map(|(digit, worth)| i64::from(digit - b'0') * worth).sum(), rest))
}

/// How far a time zone is ahead.
#[inline]
fn zone_ms(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (digits(zone, 1, 2)?, digits(zone, 4, 2)?);
            let ms = (hours * 60 + minutes) * if *sign == b'+' { 60_000 } else { -60_000 };
            (hours <= 23 && minutes <= 59).then_some(ms)
        }
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Timestamp, E> {
                Ok(Timestamp(ms))
            }
            fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Timestamp, E> {
                i64::try_from(ms).map(Timestamp).map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            deserializer.deserialize_i64(Visitor)
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Option<i64> {
        text.parse::<Timestamp>().ok().map(Timestamp::as_millis)
    }

    #[test]
    fn a_length_of_time_is_said_in_two_units_and_never_too_short() {
        for (ms, said) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (1_001, "2s"),
            (59_999, "1m"),
            (123_000, "2m3s"),
            (3_540_001, "59m1s"),
            (3_599_001, "1h"),
            (3_600_001, "1h1m"),
            (86_400_000 * 400 + 1, "400d1h"),
        ] {
            assert_eq!(rough(Duration::from_millis(ms)), said);
        }
    }

    #[test]
    fn what_is_not_rfc_3339_does_not_parse() {
        for bad in [
            "",
            "yesterday",
            "2024-01-15",
            "2024-01-15T10:30:00",
            "2024-01-15 10:30:00Z",
            "2024-01-15T24:00:00Z",
            "2024-01-15T10:30:60Z",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-01-15T10:30:00.Z",
            "2024-01-15T10:30:00+9:00",
            "2024-01-15T10:30:00+24:00",
            "2024-01-15T10:30:00ZZ",
            "0000-01-01T00:00:00Z",
            "2024-01-15T10:30:00+0900",
            "2024-01-15T10:30Z",
            "+024-01-15T10:30:00Z",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn borders_of_the_calendar() {
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("1969-12-31T23:59:59.9999z"), Some(-1));
        assert_eq!(at("2024-02-29t23:59:59.001-00:30"), Some(1_709_252_999_001));
        assert_eq!(at("9999-12-31T23:59:59.999Z"), Some(253_402_300_799_999));
        assert_eq!(Timestamp::from_millis(-62_135_596_800_000).to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.to_string(), "+inf");
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(ms in -62_135_596_800_000_i64..=253_402_300_799_999) {
            let ours = Timestamp::from_millis(ms);
            let theirs = jiff::Timestamp::from_millisecond(ms).unwrap();
            let theirs_text = if ms % 1000 == 0 { format!("{theirs:.0}") } else { format!("{theirs:.3}") };
            prop_assert_eq!(ours.to_string(), theirs_text);
            prop_assert_eq!(at(&theirs.to_string()), Some(ms));
        }

        #[test]
        fn never_panics(text in "[0-9TZtz:+. -]{0,40}") {
            let _: Result<Timestamp, _> = text.parse();
        }
    }
}
