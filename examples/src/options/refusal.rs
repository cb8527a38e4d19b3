//! A command line that is not carried out: because it is wrong, or because it asks for help.

use std::ffi::OsString;
use std::fmt;

/// Why a command line is not carried out, as text for the terminal, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    text: String,
    is_error: bool,
}

impl Refusal {
    /// What clap says, without the arguments that may hold a secret: it repeats what it does not know.
    pub(super) fn new(error: clap::Error, arguments: &[OsString]) -> Self {
        let is_error = error.use_stderr();
        // Clap leaves such characters out: what is shown is then not what was given, and would not be found here.
        let has_control =
            |argument: &OsString| argument.to_string_lossy().contains(char::is_control);
        if is_error && arguments.iter().any(has_control) {
            let text = "error: an argument has a control character, such as that of a colour; none is shown\n";
            return Self { text: text.to_owned(), is_error };
        }
        let mut text = error.render().to_string();
        for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
            let value = match argument.split_once('=') {
                Some((flag, value)) if flag.starts_with('-') => value,
                Some(_) | None => argument,
            };
            if value.contains(['@', '=']) {
                text = text.replace(value, "(hidden)");
            }
        }
        Self { text, is_error }
    }

    /// An error in an option that was found later.
    pub(super) fn of(error: &rtbflow::Error) -> Self {
        Self { text: format!("error: {}\n", error.report()), is_error: true }
    }

    /// Whether it goes to stderr and the exit code is 2; otherwise to stdout, and 0.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.is_error
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
