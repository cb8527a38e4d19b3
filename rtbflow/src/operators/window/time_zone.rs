//! Days and months of a time zone, as windows.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::error::{Error, Result};
use crate::operators::window::calendar::Calendar;
use crate::operators::window::span::Window;
use crate::operators::window::time_zone_rules::TimeZoneRules;
use crate::time::Timestamp;

const DAY_MS: i64 = 86_400_000;

impl Calendar<()> {
    /// The days of a time zone, which have 23 or 25 hours where the clocks change. For days of UTC take
    /// [`Tumbling`](super::Tumbling).
    ///
    /// A day begins when the clocks first show it, and lasts until they first show the next: where they go back
    /// over midnight, the hour that they show again belongs to the new day.
    ///
    /// The rules are [those in force](TimeZoneRules::in_force), those of the system or, where it has none, those
    /// that came with the library; the log says which. A program that is started again after they have changed lays
    /// its windows by the new ones. [`daily_by`](Self::daily_by) takes others.
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
        Self::daily_by(TimeZoneRules::in_force(), time_zone)
    }

    /// As [`daily`](Self::daily), by rules of one's own choice.
    ///
    /// # Errors
    /// If the rules have no time zone of this name.
    pub fn daily_by(
        rules: &TimeZoneRules,
        time_zone: &str,
    ) -> Result<Calendar<impl Fn(Timestamp) -> Window + Clone + Send + use<>>> {
        of("days", time_zone, rules, |day| Ok((day, day.tomorrow()?)))
    }

    /// As [`monthly`](Self::monthly), by rules of one's own choice.
    ///
    /// # Errors
    /// If the rules have no time zone of this name.
    pub fn monthly_by(
        rules: &TimeZoneRules,
        time_zone: &str,
    ) -> Result<Calendar<impl Fn(Timestamp) -> Window + Clone + Send + use<>>> {
        of("months", time_zone, rules, |day| {
            Ok((day.first_of_month(), day.last_of_month().tomorrow()?))
        })
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
        Self::monthly_by(TimeZoneRules::in_force(), time_zone)
    }
}

/// The first day of the window that a day belongs to, and of the one after.
type Days = fn(Date) -> Result<(Date, Date), jiff::Error>;

fn of(
    what: &str,
    time_zone: &str,
    rules: &TimeZoneRules,
    days_of: Days,
) -> Result<Calendar<impl Fn(Timestamp) -> Window + Clone + Send + use<>>> {
    let zone = rules.zone(time_zone).map_err(|error| {
        Error::config(format!("make windows of the {what} of time zone {time_zone:?} with {rules}"))
            .because(error)
    })?;
    // Where the calendar ends, days are those of UTC.
    let window_of = move |at| window_of(&zone, at, days_of).unwrap_or_else(|_| day_of_utc(at));
    Ok(Calendar::of(format!("{what} of {time_zone}"), window_of))
}

fn window_of(zone: &TimeZone, at: Timestamp, days_of: Days) -> Result<Window, jiff::Error> {
    let time = jiff::Timestamp::from_millisecond(at.as_millis())?.to_zoned_datetime(zone.clone());
    let mut day = time.date();
    loop {
        let (first, next) = days_of(day)?;
        let window = Window { start: first_of(zone, first)?, end: first_of(zone, next)? };
        // A day begins once, and the next ends it, whatever the clocks say in between: where they go back over
        // midnight, the hour that the day before has again belongs to the day that has begun.
        if at < window.start {
            day = first.yesterday()?;
        } else if at >= window.end {
            day = next;
        } else {
            return Ok(window);
        }
    }
}

/// When the clocks of a zone first show a day: at midnight, or where they go forward over it, after that.
fn first_of(zone: &TimeZone, day: Date) -> Result<Timestamp, jiff::Error> {
    let midnight = zone.to_ambiguous_timestamp(day.to_datetime(Time::midnight()));
    let is_left_out = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
    let mut first = midnight.compatible()?;
    if is_left_out {
        let after = first.checked_add(jiff::SignedDuration::from_millis(1))?;
        first = zone.preceding(after).next().map_or(first, |change| change.timestamp());
    }
    Ok(Timestamp::from_millis(first.as_millisecond()))
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
        // They went forward from half past eleven: what they show first of the day is half past midnight.
        let days = Calendar::daily_by(&TimeZoneRules::bundled(), "America/Toronto").unwrap();
        let day = days.late(Late::Drop).window_of(time("1919-03-31T12:00:00Z"));
        assert_eq!(day.start, time("1919-03-31T04:30:00Z"));
        // A whole day was left out.
        let days = windows(
            Calendar::daily("Pacific/Apia").unwrap().late(Late::Drop),
            "2011-12-29T00:00:00Z",
            "2012-01-02T00:00:00Z",
        );
        assert!(days.iter().all(|day| hours(day) == 24), "{days:?}");
    }

    /// The windows around each change of each zone hold their own times, and follow one another.
    fn around_all_changes<A: Assigner>(
        lay: impl Fn(&TimeZoneRules, &str) -> A,
        most: i64,
    ) -> usize {
        let rules = TimeZoneRules::bundled();
        let (from, to) = (time("1900-01-01T00:00:00Z"), time("2030-01-01T00:00:00Z"));
        let mut count = 0;
        for name in rules.names() {
            let (zone, windows) = (rules.zone(&name).unwrap(), lay(&rules, &name));
            let start = jiff::Timestamp::from_millisecond(from.as_millis()).unwrap();
            for change in zone.following(start) {
                let at = change.timestamp().as_millisecond();
                if at > to.as_millis() {
                    break;
                }
                count += 1;
                let mut last: Option<Window> = None;
                for minutes in [-1_500, -60, -30, 0, 30, 60, 1_500] {
                    let at = Timestamp::from_millis(at + minutes * 60_000);
                    let window = windows.window_of(at);
                    let length = window.end.as_millis() - window.start.as_millis();
                    assert!(window.holds(at), "{name}: {window:?} does not hold {at}");
                    assert!(length <= most * 3_600_000, "{name}: {window:?}");
                    let before = windows.window_of(window.start - Duration::from_millis(1));
                    assert_eq!(before.end, window.start, "{name}");
                    assert_eq!(windows.window_of(window.start), window, "{name}");
                    let follows = |last: Window| last == window || last.end <= window.start;
                    assert!(last.is_none_or(follows), "{name}: {last:?}, then {window:?}");
                    last = Some(window);
                }
            }
        }
        count
    }

    #[test]
    fn days_and_months_follow_one_another_at_every_change_of_every_zone() {
        let days = |rules: &TimeZoneRules, zone: &str| {
            Calendar::daily_by(rules, zone).unwrap().late(Late::Drop)
        };
        let months = |rules: &TimeZoneRules, zone: &str| {
            Calendar::monthly_by(rules, zone).unwrap().late(Late::Drop)
        };
        // Manila had one day twice, in 1844; Kwajalein and others left one out.
        assert!(around_all_changes(days, 49) > 10_000);
        assert!(around_all_changes(months, 31 * 24 + 25) > 10_000);
    }

    #[test]
    fn clocks_that_go_back_over_midnight_do_not_bring_a_day_back() {
        for (zone, start, again) in [
            ("America/St_Johns", "2010-11-07T02:30:00Z", "2010-11-07T03:00:00Z"),
            ("America/Moncton", "2006-10-29T03:00:00Z", "2006-10-29T03:30:00Z"),
        ] {
            let days = Calendar::daily_by(&TimeZoneRules::bundled(), zone).unwrap();
            let window = days.late(Late::Drop).window_of(time(again));
            assert_eq!(window.start, time(start), "{zone}");
            assert_eq!(hours(&window), 25, "{zone}");
        }
        let months = Calendar::monthly_by(&TimeZoneRules::bundled(), "Pacific/Kiritimati").unwrap();
        let months = months.late(Late::Drop);
        // The last of December 1994 was left out there.
        let december = months.window_of(time("1994-12-15T00:00:00Z"));
        let january = months.window_of(time("1995-01-15T00:00:00Z"));
        assert_eq!(december.end, january.start);
        assert_eq!(january.start, time("1994-12-31T10:00:00Z"));
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
