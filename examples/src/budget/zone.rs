//! A time zone, and the day on which a time falls in it.

use std::str::FromStr;

use jiff::tz::TimeZone;
use rtbflow::Timestamp;
use rtbflow_sinks::postgres::Date;

/// A time zone by its name, such as `Asia/Seoul`.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// The calendar day of a time.
    #[must_use]
    pub fn day(&self, time: Timestamp) -> Date {
        // Beyond the years that the zone's rules know, the nearest one holds.
        let known = jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or_else(|_| {
            if time.as_millis() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX }
        });
        let offset_ms = i64::from(self.0.to_offset(known).seconds()) * 1_000;
        Date::of(Timestamp::from_millis(time.as_millis().saturating_add(offset_ms)))
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        TimeZone::get(name).map(Self).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_that_of_the_zone() {
        for (zone, time, day) in [
            ("Asia/Seoul", "2024-02-28T15:00:00Z", "2024-02-29"),
            ("UTC", "2024-02-28T15:00:00Z", "2024-02-28"),
            // The day on which clocks are set forward has 23 hours.
            ("Europe/Berlin", "2024-03-30T22:59:59.999Z", "2024-03-30"),
            ("Europe/Berlin", "2024-03-30T23:00:00Z", "2024-03-31"),
            ("Europe/Berlin", "2024-03-31T21:59:59.999Z", "2024-03-31"),
            ("Europe/Berlin", "2024-03-31T22:00:00Z", "2024-04-01"),
            ("Asia/Seoul", "9999-12-31T23:59:59.999Z", "10000-01-01"),
        ] {
            let zone: Zone = zone.parse().unwrap();
            assert_eq!(zone.day(time.parse().unwrap()).to_string(), day, "{time}");
        }
        assert!("Asia/Atlantis".parse::<Zone>().unwrap_err().contains("Atlantis"));
    }
}
