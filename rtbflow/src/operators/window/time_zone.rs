//! Days and months of a time zone, as windows.

use jiff::ZonedDateTime;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};
use crate::operators::window::{Calendar, Window};
use crate::time::Timestamp;

const DAY_MS: i64 = 86_400_000;

impl Calendar<()> {
    /// The days of a time zone, which have 23 or 25 hours where the clocks change. For days of UTC take
    /// [`Tumbling`](super::Tumbling).
    ///
    /// The rules are those of the system, or, where it has none, those that came with the library: a
    /// program that is started again after they have changed lays its windows by the new ones.
    ///
    /// # Errors
    /// If there is no time zone of this name.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::Timestamp;
    /// use rtbflow::operators::window::{Assigner, Calendar, Late};
    ///
    /// let day = Calendar::daily("Asia/Seoul")?.late(Late::DeadLetter).window_of("2026-11-24T18:00:00Z".parse()?);
    /// assert_eq!(day.start, "2026-11-24T15:00:00Z".parse::<Timestamp>()?);
    /// assert_eq!(day.end, "2026-11-25T15:00:00Z".parse::<Timestamp>()?);
    ///
    /// // The clocks of New York went forward.
    /// let day = Calendar::daily("America/New_York")?.late(Late::Drop).window_of("2024-03-10T12:00:00Z".parse()?);
    /// assert_eq!((day.end.as_millis() - day.start.as_millis()) / 3_600_000, 23);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn daily(
        time_zone: &str,
    ) -> Result<Calendar<impl Fn(Timestamp) -> Window + Clone + Send + use<>>> {
        of("days", time_zone, |time| (time.start_of_day(), time.tomorrow()))
    }

    /// The months of a time zone. As [`daily`](Self::daily) otherwise.
    ///
    /// # Errors
    /// If there is no time zone of this name.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::Timestamp;
    /// use rtbflow::operators::window::{Assigner, Calendar, Late};
    ///
    /// let months = Calendar::monthly("Europe/Berlin")?.late(Late::DeadLetter);
    /// let march = months.window_of("2026-03-15T12:00:00Z".parse()?);
    /// assert_eq!(march.start, "2026-02-28T23:00:00Z".parse::<Timestamp>()?);
    /// assert_eq!(march.end, "2026-03-31T22:00:00Z".parse::<Timestamp>()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn monthly(
        time_zone: &str,
    ) -> Result<Calendar<impl Fn(Timestamp) -> Window + Clone + Send + use<>>> {
        of("months", time_zone, |time| {
            (time.first_of_month(), time.last_of_month().and_then(|last| last.tomorrow()))
        })
    }
}

/// A time on the first day of a window, and one on the first day after it.
type Days = (Result<ZonedDateTime, jiff::Error>, Result<ZonedDateTime, jiff::Error>);

fn of(
    what: &str,
    time_zone: &str,
    days_of: fn(&ZonedDateTime) -> Days,
) -> Result<Calendar<impl Fn(Timestamp) -> Window + Clone + Send + use<>>> {
    let zone = TimeZone::get(time_zone).map_err(|error| {
        Error::config(format!("lay windows over the {what} of {time_zone:?}")).because(error)
    })?;
    let window_of = move |at| window_of(&zone, at, days_of).unwrap_or_else(|_| day_of_utc(at));
    Ok(Calendar::of(format!("{what} of {time_zone}"), window_of))
}

fn window_of(
    zone: &TimeZone,
    at: Timestamp,
    days_of: fn(&ZonedDateTime) -> Days,
) -> Result<Window, jiff::Error> {
    let time = jiff::Timestamp::from_millisecond(at.as_millis())?.to_zoned_datetime(zone.clone());
    // A day need not begin at midnight: the clocks may go forward just then.
    let begin = |day: Result<ZonedDateTime, jiff::Error>| -> Result<Timestamp, jiff::Error> {
        Ok(Timestamp::from_millis(day?.start_of_day()?.timestamp().as_millisecond()))
    };
    let (first, after) = days_of(&time);
    Ok(Window { start: begin(first)?, end: begin(after)? })
}

/// Beyond the years that the calendar knows, ten thousand from now.
fn day_of_utc(at: Timestamp) -> Window {
    let start = at.as_millis().saturating_sub(at.as_millis().rem_euclid(DAY_MS));
    let end = Timestamp::from_millis(start.saturating_add(DAY_MS));
    Window { start: Timestamp::from_millis(start), end }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::operators::window::{Assigner, Count, Late};
    use crate::testing::{laws, run, timed};

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The windows between two times, each of which holds every hour of it and no other.
    fn windows(calendar: impl Assigner, from: &str, to: &str) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        let (mut at, to) = (time(from), time(to));
        while at < to {
            let window = calendar.window_of(at);
            assert!(window.holds(at), "{window:?} does not hold {at}");
            if windows.last() != Some(&window) {
                assert!(windows.last().is_none_or(|last| last.end == window.start), "at {at}");
                windows.push(window);
            }
            at = at + Duration::from_mins(30);
        }
        windows
    }

    fn hours(window: &Window) -> i64 {
        (window.end.as_millis() - window.start.as_millis()) / 3_600_000
    }

    /// The days of a year that have not 24 hours, by their starts.
    fn odd_days(zone: &str, year: u16) -> Vec<(String, i64)> {
        let days = Calendar::daily(zone).unwrap().late(Late::Drop);
        let (from, to) =
            (format!("{year}-01-01T00:00:00Z"), format!("{}-01-01T00:00:00Z", year + 1));
        let days = windows(days, &from, &to).into_iter().filter(|day| hours(day) != 24);
        days.map(|day| (day.start.to_string(), hours(&day))).collect()
    }

    #[test]
    fn days_are_as_long_as_the_clocks_say() {
        let is = |zone, year, days: &[(&str, i64)]| {
            let days: Vec<_> = days.iter().map(|(day, long)| ((*day).to_owned(), *long)).collect();
            assert_eq!(odd_days(zone, year), days, "{zone} {year}");
        };
        is("Asia/Seoul", 2026, &[]);
        is("Europe/Berlin", 2026, &[("2026-03-28T23:00:00Z", 23), ("2026-10-24T22:00:00Z", 25)]);
        is("America/New_York", 2024, &[("2024-03-10T05:00:00Z", 23), ("2024-11-03T04:00:00Z", 25)]);
        // There the clocks go forward at midnight: the day begins at one.
        is("America/Santiago", 2024, &[("2024-04-06T03:00:00Z", 25), ("2024-09-08T04:00:00Z", 23)]);
        // Half an hour more, and half an hour less.
        is("Australia/Lord_Howe", 2024, &[("2024-10-05T13:30:00Z", 23)]);
        // A whole day was left out.
        let days = windows(
            Calendar::daily("Pacific/Apia").unwrap().late(Late::Drop),
            "2011-12-29T00:00:00Z",
            "2012-01-02T00:00:00Z",
        );
        assert!(days.iter().all(|day| hours(day) == 24), "{days:?}");
    }

    #[test]
    fn months_follow_one_another() {
        let months = Calendar::monthly("Europe/Berlin").unwrap().late(Late::Drop);
        let months = windows(months, "2024-01-15T00:00:00Z", "2024-12-15T00:00:00Z");
        let hours: Vec<i64> = months.iter().map(hours).collect();
        let days = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut expected = days.map(|days| days * 24);
        (expected[2], expected[9]) = (expected[2] - 1, expected[9] + 1);
        assert_eq!(hours, expected);
    }

    #[test]
    fn records_of_a_day_of_25_hours_are_counted_in_it() {
        // Midnight in Berlin, every hour of the long day, and the one after.
        let start = time("2026-10-24T22:00:00Z").as_millis();
        let input: Vec<((), i64)> = (-1..27).map(|hour| ((), start + hour * 3_600_000)).collect();
        let days = Calendar::daily("Europe/Berlin").unwrap().late(Late::Drop);
        let counts = run(timed(input.clone()), |flow| {
            flow.key_by(|_| ()).window(days.clone()).aggregate("hours", Count)
        });
        let counts: Vec<_> =
            counts.iter().map(|day| (day.window.start.to_string(), day.value)).collect();
        let (first, last) = ("2026-10-23T22:00:00Z".to_owned(), "2026-10-25T23:00:00Z".to_owned());
        assert_eq!(counts, [(first, 1), ("2026-10-24T22:00:00Z".to_owned(), 25), (last, 2)]);
        laws::operator(timed(input), |flow| {
            flow.key_by(|_| ()).window(days.clone()).aggregate("hours", Count)
        });
    }

    #[test]
    fn all_times_have_a_window_and_no_other_zone_has() {
        for at in [Timestamp::MIN, Timestamp::MAX, time("9999-12-31T23:59:59Z")] {
            let day = Calendar::daily("Asia/Seoul").unwrap().late(Late::Drop).window_of(at);
            assert!(day.start <= at && at <= day.end, "{at}: {day:?}");
        }
        let error = Calendar::daily("Europe/Atlantis").unwrap_err();
        assert!(error.is_config() && error.to_string().contains("Atlantis"), "{error}");
    }
}
