//! The one error of the library, and the reason why a record cannot be used.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong while a job was built or run.
///
/// `Display` says what was attempted, in lower case; [`source`](StdError::source) says why it failed.
/// A record that cannot be used is not an error but data: see [`BadRecord`].
#[derive(thiserror::Error)]
#[error("{attempted}")]
pub struct Error {
    kind: ErrorKind,
    attempted: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    refusals: Vec<Refusal>,
    /// The reports of the errors that it is made of, if it is made of several.
    parts: Vec<String>,
}

/// What kind of answer an [`Error`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The options, the pipeline or the stored state do not fit: somebody has to change something.
    Config,
    /// A server is away or busy; the same attempt may succeed later.
    Transient,
    /// Another instance owns the positions now; what was not committed here is dropped.
    Fenced,
    /// It failed and would fail again.
    Permanent,
    /// The place will never take some of the rows, for what they are: they become dead letters.
    Refused,
}

impl Error {
    /// An error of the given kind; `attempted` says what was attempted, in lower case.
    #[cold]
    #[must_use]
    pub fn new(kind: ErrorKind, attempted: impl Into<String>) -> Self {
        Self {
            kind,
            attempted: attempted.into(),
            source: None,
            refusals: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Somebody has to change an option, the pipeline or the stored state.
    #[cold]
    #[must_use]
    pub fn config(attempted: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, attempted)
    }

    /// A server is away or busy; the same attempt may succeed later.
    #[cold]
    #[must_use]
    pub fn transient(attempted: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, attempted)
    }

    /// Another instance owns the positions now.
    #[cold]
    #[must_use]
    pub fn fenced(attempted: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, attempted)
    }

    /// It failed and would fail again.
    #[cold]
    #[must_use]
    pub fn permanent(attempted: impl Into<String>) -> Self {
        Self::new(ErrorKind::Permanent, attempted)
    }

    /// The place will never take these rows, for what they are. For an [`Anchor`](crate::epoch::Anchor) or a
    /// [`Writer`](crate::epoch::Writer), which has applied nothing of the epochs it was given.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::epoch::Refusal;
    /// use rtbflow::{BadRecord, Error};
    ///
    /// let reason = BadRecord::new("value too long for type character varying(10)");
    /// let error = Error::refused(vec![Refusal::new(0, 1, 17, reason)]);
    /// assert_eq!(error.refusals().len(), 1);
    /// assert!(!error.is_transient());
    /// ```
    #[cold]
    #[must_use]
    pub fn refused(refusals: Vec<Refusal>) -> Self {
        let reason = refusals.first().map_or("no reason", |first| first.reason.reason());
        let attempted = format!("write {} rows that the place refuses: {reason}", refusals.len());
        Self { refusals, ..Self::new(ErrorKind::Refused, attempted) }
    }

    /// The rows that the place refused; none for any other error.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Adds the cause, which [`source`](StdError::source) returns.
    #[cold]
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// All errors of several attempts as one, so that whoever has to fix something reads it once: `Ok` if
    /// none failed, the error itself if one did. One that is made of several adds them to the same list, in which
    /// none stands twice. Of several, the one that no waiting helps against decides
    /// what kind it is, unless another is transient: then all are to be tried again.
    ///
    /// # Errors
    /// If one or more of them failed: the text has all of them.
    ///
    /// ```
    /// use rtbflow::Error;
    ///
    /// let missing = |what: &str| Err(Error::config(format!("there is no {what}")));
    /// let error = Error::all([missing("table a"), Ok(()), missing("topic b")]).unwrap_err();
    /// assert!(error.is_config());
    /// assert_eq!(error.report(), "2 errors have to be fixed: (1) there is no table a; (2) there is no topic b");
    /// ```
    pub fn all(attempts: impl IntoIterator<Item = Result<()>>) -> Result<()> {
        let mut errors: Vec<Self> = Vec::new();
        for error in attempts.into_iter().filter_map(Result::err) {
            if errors.iter().all(|other| other.report() != error.report()) {
                errors.push(error);
            }
        }
        let kind = match errors.iter().find(|error| error.is_transient()).or(errors.first()) {
            None => return Ok(()),
            Some(error) => error.kind,
        };
        if errors.len() == 1 {
            return errors.pop().map_or(Ok(()), Err);
        }
        let parts = |error: Self| match error.parts.is_empty() {
            true => vec![error.report()],
            false => error.parts,
        };
        Err(Self::new(kind, "").made_of(errors.into_iter().flat_map(parts).collect()))
    }

    fn made_of(self, all: Vec<String>) -> Self {
        let mut parts: Vec<String> = Vec::new();
        for part in all {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        let each = parts.iter().zip(1..).map(|(part, at)| format!("({at}) {part}"));
        let each: Vec<String> = each.collect();
        let attempted = format!("{} errors have to be fixed: {}", parts.len(), each.join("; "));
        Self { attempted, parts, ..self }
    }

    /// A configuration error with this text, unless it fits.
    ///
    /// # Errors
    /// That one.
    pub(crate) fn unless(fits: bool, wrong: impl FnOnce() -> String) -> Result<()> {
        if fits { Ok(()) } else { Err(Self::config(wrong())) }
    }

    /// The same error, as one that was met while this was attempted; if it is made of several, each of them.
    #[must_use]
    pub(crate) fn met(self, attempted: &str) -> Self {
        if self.parts.is_empty() {
            return Self { attempted: format!("{attempted}: {}", self.attempted), ..self };
        }
        let parts = self.parts.iter().map(|part| format!("{attempted}: {part}")).collect();
        self.made_of(parts)
    }

    /// The kind of answer that this error asks for.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same attempt may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind == ErrorKind::Transient
    }

    /// Whether another instance took over.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.kind == ErrorKind::Fenced
    }

    /// Whether somebody has to change an option, the pipeline or the stored state.
    #[must_use]
    pub fn is_config(&self) -> bool {
        self.kind == ErrorKind::Config
    }

    /// The error and all its causes in one line, for a log or for stderr.
    #[must_use]
    pub fn report(&self) -> String {
        let mut line = self.attempted.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = error.source();
        }
        line
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.report())
    }
}

/// A `Result` with the library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a record cannot be used, in one line: it becomes a dead letter with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRecord(String);

impl BadRecord {
    /// A bad record with its reason; line breaks and control characters become spaces and the text is
    /// cut at 300 bytes, since it travels in a header.
    #[cold]
    #[must_use]
    pub fn new(reason: impl AsRef<str>) -> Self {
        const MOST_BYTES: usize = 300;
        let mut line = String::new();
        for c in reason.as_ref().chars() {
            if line.len() + c.len_utf8() > MOST_BYTES {
                break;
            }
            line.push(if c.is_control() { ' ' } else { c });
        }
        Self(line)
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0
    }
}

/// A row that the place will never take for what it is: too long for an index, out of a column's range,
/// against a constraint, larger than its topic takes.
///
/// An [`Anchor`](crate::epoch::Anchor) or a [`Writer`](crate::epoch::Writer) returns it in
/// [`Error::refused`](Error::refused), having applied nothing of the epochs that it names. (Other epochs
/// of the call may have been applied: they are found applied when they are committed again.) What the place
/// refuses for reasons of its own (rights, a missing table, a full disk) is no refusal but an error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Which epoch, by its number in the slice that the place was given.
    pub epoch: usize,
    /// Which batch, by its number in [`Epoch::staged`](crate::epoch::Epoch::staged).
    pub staged: usize,
    /// Which row of the batch, from 0, in the order in which the sink took them.
    pub row: usize,
    /// The place's reason.
    pub reason: BadRecord,
}

impl Refusal {
    /// The row with this number, of this batch of this epoch.
    #[must_use]
    pub fn new(epoch: usize, staged: usize, row: usize, reason: BadRecord) -> Self {
        Self { epoch, staged, row, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_every_cause_once() {
        let cause = std::io::Error::other("connection refused");
        let error = Error::transient("connect to Postgres at 127.0.0.1:5432").because(cause);
        assert_eq!(error.report(), "connect to Postgres at 127.0.0.1:5432: connection refused");
        assert!(error.is_transient() && !error.is_fenced() && !error.is_config());
    }

    #[test]
    fn errors_of_errors_are_one_list() {
        let fault = |what: &str| Err(Error::config(what));
        let two = || Error::all([fault("a"), fault("b")]);
        let all = Error::all([fault("b"), two(), fault("c"), Ok(()), two()]).unwrap_err();
        assert_eq!(all.report(), "3 errors have to be fixed: (1) b; (2) a; (3) c");
        assert_eq!(Error::all([fault("a"), fault("a")]).unwrap_err().report(), "a");
        let met = two().unwrap_err().met("draw x");
        assert_eq!(met.report(), "2 errors have to be fixed: (1) draw x: a; (2) draw x: b");
        assert_eq!(Error::config("a").met("draw x").report(), "draw x: a");
    }

    #[test]
    fn a_reason_is_one_short_line() {
        let bad = BadRecord::new("a\nb\0c".to_owned() + &"한".repeat(200));
        assert!(bad.reason().starts_with("a b c한"));
        assert!(bad.reason().len() <= 300);
    }
}
