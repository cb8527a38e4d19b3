//! Lengths of time on the command line: `100ms`, `5s`, `1m`, `48h`, `7d`, or several in a row.

use std::time::Duration;

/// The text is not a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseDurationError;

impl std::fmt::Display for ParseDurationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a length of time is needed, such as 100ms, 5s, 1m, 48h or 1m30s")
    }
}

impl std::error::Error for ParseDurationError {}

/// Reads a length of time.
///
/// # Errors
/// If it is not whole numbers with a unit each: `ms`, `s`, `m`, `h` or `d`.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use rtbflow_examples::options::parse_duration;
///
/// assert_eq!(parse_duration("1m30s")?, Duration::from_secs(90));
/// assert!(parse_duration("soon").is_err());
/// # Ok::<(), rtbflow_examples::options::ParseDurationError>(())
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let mut rest = text.trim();
    let mut sum_ms = 0_u64;
    while !rest.is_empty() || text.trim().is_empty() {
        let (digits, after) = split_before(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_before(after, |c| c.is_ascii_digit());
        let unit_ms = match unit.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(ParseDurationError),
        };
        let count: u64 = digits.parse().map_err(|_| ParseDurationError)?;
        let part_ms = count.checked_mul(unit_ms).ok_or(ParseDurationError)?;
        sum_ms = sum_ms.checked_add(part_ms).ok_or(ParseDurationError)?;
        rest = after;
    }
    // The milliseconds of event time are an i64; a century is enough for anybody.
    if sum_ms > 100 * 366 * 86_400_000 {
        Err(ParseDurationError)
    } else {
        Ok(Duration::from_millis(sum_ms))
    }
}

fn split_before(text: &str, is_border: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at_checked(text.find(is_border).unwrap_or(text.len())).unwrap_or((text, ""))
}

/// Reads a length of time that is not zero.
///
/// # Errors
/// As [`parse_duration`], and if it is zero.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("more than zero is needed".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        for (text, ms) in [
            ("100ms", Some(100)),
            ("0s", Some(0)),
            (" 5s ", Some(5_000)),
            ("1m30s", Some(90_000)),
            ("48h", Some(172_800_000)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("5 parsecs", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("40000d", None),
        ] {
            let got = parse_duration(text).ok().map(|duration| duration.as_millis());
            assert_eq!(got, ms, "{text:?}");
        }
        assert!(positive_duration("0ms").is_err());
    }
}
