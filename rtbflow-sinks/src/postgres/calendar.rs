//! Times and days as Postgres counts them: from 2000-01-01, in microseconds and in days.

use rtbflow::Timestamp;

use crate::postgres::date::Date;

/// 2000-01-01T00:00:00Z, where the times of Postgres begin.
const ORIGIN_MS: i64 = 946_684_800_000;
const ORIGIN_DAYS: i32 = 10_957;

/// The time as Postgres counts it, if its calendar reaches that far.
pub(crate) fn micros(time: Timestamp) -> Option<i64> {
    const FIRST: i64 = -211_813_488_000_000_000;
    const END: i64 = 9_223_371_331_200_000_000;
    match time {
        // The ends of time, which Postgres has as well: they are its infinities.
        Timestamp::MIN | Timestamp::MAX => Some(time.as_millis()),
        _ => time
            .as_millis()
            .checked_sub(ORIGIN_MS)
            .and_then(|ms| ms.checked_mul(1000))
            .filter(|micros| (FIRST..END).contains(micros)),
    }
}

/// The time that Postgres counts so, to the millisecond.
pub(crate) fn from_micros(micros: i64) -> Timestamp {
    match micros {
        i64::MIN | i64::MAX => Timestamp::from_millis(micros),
        _ => Timestamp::from_millis(micros.div_euclid(1000) + ORIGIN_MS),
    }
}

/// The day as Postgres counts it, if its calendar reaches that far.
pub(crate) fn days(date: Date) -> Option<i32> {
    const RANGE: std::ops::Range<i32> = -2_451_507..2_145_031_949;
    date.as_days().checked_sub(ORIGIN_DAYS).filter(|days| RANGE.contains(days))
}

/// The day that Postgres counts so.
pub(crate) fn from_days(days: i32) -> Date {
    match days {
        // Its infinities, which are no days before or behind others.
        i32::MIN | i32::MAX => Date::from_days(days),
        // Its calendar ends long before this does.
        _ => Date::from_days(days.saturating_add(ORIGIN_DAYS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_and_what_postgres_cannot_hold_has_no_number() {
        for ms in [-62_135_596_800_000, -1, 0, 1_705_314_600_042, 253_402_300_799_999] {
            let time = Timestamp::from_millis(ms);
            assert_eq!(from_micros(micros(time).unwrap()), time);
        }
        for end in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(from_micros(micros(end).unwrap()), end);
        }
        assert_eq!(micros(Timestamp::from_millis(i64::MAX - 1)), None);
        assert_eq!(
            (days(Date::from_days(0)), days(Date::from_days(i32::MAX))),
            (Some(-10_957), None)
        );
    }
}
