//! Exit codes, and the one line on stderr that says what to do.

use std::process::ExitCode;

use rtbflow::{Error, ErrorKind};

/// A wrong option or configuration.
pub(super) const CONFIG: u8 = 2;
const FAILED: u8 = 1;
const UNREACHABLE: u8 = 3;
const FENCED: u8 = 4;

fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Config => CONFIG,
        ErrorKind::Transient => UNREACHABLE,
        ErrorKind::Fenced => FENCED,
        // The kinds may grow; what is not known is a failure.
        ErrorKind::Permanent | _ => FAILED,
    }
}

/// The exit code that an error ends a pipeline with.
///
/// A running pipeline tries again after a transient error, so one that ends it was met at the start.
#[must_use]
pub fn exit_code(error: &Error) -> ExitCode {
    ExitCode::from(code(error.kind()))
}

/// What failed and what to do, in one line.
#[must_use]
pub fn exit_message(error: &Error) -> String {
    let report = error.report().replace(['\n', '\r'], " ");
    let lacks_tables = ["there is no table", "Options::create_tables"]
        .iter()
        .any(|missing| report.contains(missing));
    let advice = match error.kind() {
        ErrorKind::Config if lacks_tables => {
            "--create-tables makes the pipeline's own tables; what was committed before is safe"
        }
        ErrorKind::Config => "correct it and start again; what was committed before is safe",
        ErrorKind::Transient => {
            "--connect-timeout says how long a server is waited for at the start"
        }
        ErrorKind::Fenced => {
            "another instance has these partitions now; what was not committed here is read there; \
             start this one again to take part"
        }
        ErrorKind::Permanent | _ => "what was committed is safe; see to the cause and start again",
    };
    let mut here: Vec<&str> =
        HERE.iter().filter(|(word, _)| report.contains(word)).map(|(_, here)| *here).collect();
    here.dedup();
    let here = if here.is_empty() { String::new() } else { format!("here: {}; ", here.join(", ")) };
    format!("error: {report} ({here}{advice})")
}

/// What the library's messages name is its own; what does the same on this command line.
const HERE: &[(&str, &str)] = &[
    ("begin_anew", "--begin-anew"),
    ("reset the job", "the command reset"),
    ("forget_with", "the command reset"),
    ("KafkaTopic::instance", "--instance"),
    ("until_end", "--until-end"),
    ("Job::failover_after", "--failover-after"),
    ("`instances`", "--instances"),
    ("another name", "--group"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_code() {
        assert_eq!(code(ErrorKind::Permanent), 1);
        assert_eq!(code(ErrorKind::Config), 2);
        assert_eq!(code(ErrorKind::Transient), 3);
        assert_eq!(code(ErrorKind::Fenced), 4);
    }

    #[test]
    fn what_the_library_calls_its_own_way_is_named_as_it_is_called_here() {
        for (word, flag) in HERE {
            let message = exit_message(&Error::config(format!("do this ({word})")));
            assert!(message.contains(&format!("here: {flag}; ")), "{message}");
        }
        assert!(!exit_message(&Error::config("do that")).contains("here"));
    }

    #[test]
    fn a_message_is_one_line_that_says_what_to_do() {
        let cause = std::io::Error::other("connection\nrefused");
        let error = Error::transient("connect to Redis at 127.0.0.1:1").because(cause);
        let message = exit_message(&error);
        assert_eq!(message.lines().count(), 1);
        assert!(message.contains("127.0.0.1:1: connection refused"), "{message}");
        assert!(message.contains("--connect-timeout"), "{message}");
        let missing = exit_message(&Error::config("insert into \"t\": there is no table \"t\""));
        assert!(missing.contains("--create-tables"), "{missing}");
    }
}
