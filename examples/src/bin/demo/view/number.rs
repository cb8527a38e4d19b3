//! Numbers as people read them.

use std::time::Duration;

/// A number with a comma every three digits.
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// A number that is not negative, with a comma every three digits.
pub(crate) fn count(number: u64) -> String {
    grouped(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A time in seconds, to a tenth.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

const BAR_CELLS: u32 = 20;
/// A bar of click-through rates is full here; one beyond it is rare.
const FULL_PERCENT: f64 = 20.0;

/// A bar that is full at 1.
pub(super) fn bar(share: f64) -> String {
    let full = |cell: u32| f64::from(cell + 1) / f64::from(BAR_CELLS) <= share;
    (0..BAR_CELLS).map(|cell| if full(cell) { '█' } else { '░' }).collect()
}

/// A click-through rate, as a bar and as a number.
pub(super) fn click_through(percent: f64) -> String {
    format!("{} {percent:.1} %", bar(percent / FULL_PERCENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        for (number, text) in [(0, "0"), (-7, "-7"), (999, "999"), (-1_000, "-1,000")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(i64::MIN), "-9,223,372,036,854,775,808");
        assert_eq!(count(u64::MAX), "9,223,372,036,854,775,807");
        assert_eq!(seconds(Duration::from_millis(1_449)), "1.4 s");
    }

    #[test]
    fn a_bar_is_full_at_one() {
        assert_eq!(bar(0.5), "██████████░░░░░░░░░░");
        assert_eq!(bar(7.0), "████████████████████");
        assert_eq!(click_through(5.04), "█████░░░░░░░░░░░░░░░ 5.0 %");
    }
}
