//! The settings of a transaction: its time-outs, and what the URL asks for.

use std::fmt::Write as _;
use std::time::Duration;

use rtbflow::{Error, Result};

/// What every transaction begins with.
///
/// The settings are made in each transaction, in the round trip that begins it, and not for the session:
/// a pooler such as PgBouncer refuses `options` at the start of a session, and in transaction pooling
/// the next transaction may get another session.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) statement_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    pub(crate) idle_in_transaction_timeout: Duration,
    /// Those of the URL: they come last, and win.
    pub(crate) own: Vec<(String, String)>,
}

impl Settings {
    /// The statements that begin a transaction, for one message. `patience` lengthens the time that the
    /// server may take for a statement.
    pub(crate) fn begin(&self, version: Version, patience: u32) -> String {
        // Read committed: an increment adds to what others have committed since the transaction began. By name, since
        // a database may have another default.
        let mut begin = "begin isolation level read committed read write".to_owned();
        let timeouts = [
            ("statement_timeout", self.statement_timeout.saturating_mul(patience)),
            ("lock_timeout", self.lock_timeout),
            ("idle_in_transaction_session_timeout", self.idle_in_transaction_timeout),
        ];
        for (name, timeout) in timeouts {
            let _infallible = write!(begin, "; set local {name} = {}", millis(timeout));
        }
        if let Some(stop) = version.stops_the_clock().filter(|_| patience > 1) {
            let _infallible = write!(begin, "; {stop}");
        }
        for (name, value) in &self.own {
            let (name, value) = (quoted(name), quoted(value));
            let _infallible = write!(begin, "; select set_config({name}, {value}, true)");
        }
        begin
    }
}

/// The server counts milliseconds in 31 bits; 0 would mean no time-out at all.
fn millis(timeout: Duration) -> i32 {
    match timeout.as_millis() {
        // Whoever asks for none gets none; what is merely shorter than a millisecond is not the same.
        0 if timeout.is_zero() => 0,
        0 => 1,
        // The longest that it takes is 24 days, and no statement is waited for that long.
        millis => i32::try_from(millis).unwrap_or(i32::MAX),
    }
}

fn quoted(text: &str) -> String {
    // Backslashes are plain within quotes, whatever the server's settings, if the string begins so.
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

/// Takes the `options` of a URL apart: `-c name=value` and `--name=value`, where a backslash stands before
/// a blank that belongs to the value.
pub(crate) fn own_settings(options: &str) -> Result<Vec<(String, String)>> {
    let wrong = |word: &str| {
        Error::config(format!(
            "read the URL of Postgres: its options have {word:?}, where -c name=value is expected; other \
             options of a server cannot be set by a client"
        ))
    };
    let mut settings = Vec::new();
    let words = words(options);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let pair = match word.strip_prefix("-c") {
            Some("") => words.next().map_or("", String::as_str),
            Some(pair) => pair,
            // Anything else has no `=` then, and is refused by its name.
            None => word.strip_prefix("--").unwrap_or_default(),
        };
        let (name, value) = pair.split_once('=').ok_or_else(|| wrong(word))?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn words(options: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            // Whatever stands behind a backslash; nothing at the end.
            '\\' => word.extend(chars.next()),
            c if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// The server's version, as it is reported when a session starts: 90600 is 9.6, 150000 is 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32);

impl Version {
    /// The oldest server that this library's own statements work with.
    pub(crate) const OLDEST: Self = Self(90_600);

    /// The first release of a major version: 11 is 11.0.
    pub(crate) fn major(major: u32) -> Self {
        Self(major.saturating_mul(10_000))
    }

    /// Reads `15.4 (Debian 15.4-1)`, `17beta1` or `9.6.24`. What cannot be read passes for new.
    pub(crate) fn read(text: &str) -> Self {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let mut next = || numbers.next().and_then(std::result::Result::ok);
        // What it lacks is found by what it answers.
        let Some(major) = next() else { return Self(u32::MAX) };
        // From 10 on a second number counts corrections, and no release.
        let minor = if major < 10 { next().unwrap_or(0) } else { 0 };
        Self(major.saturating_mul(10_000).saturating_add(minor.saturating_mul(100)))
    }

    /// What keeps the server from ending a transaction for its length, where it does that: the clock of a
    /// transaction cannot be set anew once it runs, only be stopped.
    pub(crate) fn stops_the_clock(self) -> Option<&'static str> {
        let has_one = self >= Self::major(17) && self != Self(u32::MAX);
        has_one.then_some("set local transaction_timeout = 0")
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            u32::MAX => f.write_str("of an unknown number"),
            number if number < 100_000 => write!(f, "{}.{}", number / 10_000, number / 100 % 100),
            number => write!(f, "{}", number / 10_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(own: Vec<(String, String)>) -> Settings {
        Settings {
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_micros(10),
            idle_in_transaction_timeout: Duration::from_secs(5),
            own,
        }
    }

    #[test]
    fn a_transaction_begins_with_its_settings_and_the_urls_come_last() {
        let own = own_settings(r"-c search_path=a,b --lock-timeout=7 -cx.y=it\'s\ so").unwrap();
        let begin = settings(own).begin(Version::read("15.4 (Debian)"), 4);
        assert_eq!(
            begin,
            "begin isolation level read committed read write; set local statement_timeout = 40000; \
             set local lock_timeout = 1; set local idle_in_transaction_session_timeout = 5000; \
             select set_config(E'search_path', E'a,b', true); \
             select set_config(E'lock_timeout', E'7', true); \
             select set_config(E'x.y', E'it''s so', true)"
        );
        for wrong in ["-d 5", "search_path=a", "-c", "-c a"] {
            assert!(own_settings(wrong).unwrap_err().is_config(), "{wrong}");
        }
        assert_eq!(own_settings("  ").unwrap(), []);
    }

    #[test]
    fn a_clock_that_ran_out_is_stopped_where_the_server_has_one() {
        let begin =
            |version, patience| settings(Vec::new()).begin(Version::read(version), patience);
        assert!(begin("17.2", 2).contains("transaction_timeout = 0"));
        for (version, patience) in [("17.2", 1), ("16.9", 2), ("9.6.24", 64), ("none", 2)] {
            assert!(!begin(version, patience).contains("transaction_timeout = 0"), "{version}");
        }
    }

    #[test]
    fn versions_are_read_as_servers_write_them() {
        let shown = |text| Version::read(text).to_string();
        assert_eq!(["9.6.24", "17beta1", "11.22 (Debian)"].map(shown), ["9.6", "17", "11"]);
        assert!(Version::read("9.5.25") < Version::OLDEST);
        assert!(Version::read("9.6.0") >= Version::OLDEST);
        assert!(
            Version::read("10.1") < Version::major(11)
                && Version::read("11.0") >= Version::major(11)
        );
        assert!(Version::read("unknown") > Version::major(99));
    }
}
