//! Why a value cannot be written or read.

use std::fmt;

/// Why a value cannot be written or read, and in which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormatFailure {
    /// From the outside to the inside.
    pub(super) path: Vec<String>,
    pub(super) reason: String,
}

impl FormatFailure {
    pub(in crate::state) fn new(reason: impl Into<String>) -> Self {
        Self { path: Vec::new(), reason: reason.into() }
    }

    /// It is in this field.
    pub(super) fn within(mut self, field: &str) -> Self {
        self.path.insert(0, field.to_owned());
        self
    }
}

impl fmt::Display for FormatFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "field `{}`: ", self.path.join("."))?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for FormatFailure {}

impl serde::ser::Error for FormatFailure {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::new(reason.to_string())
    }
}

impl serde::de::Error for FormatFailure {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::new(reason.to_string())
    }
}
