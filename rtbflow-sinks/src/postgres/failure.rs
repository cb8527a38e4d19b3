//! What an error of the server or of the connection asks for.

use std::fmt::Write as _;

use rtbflow::{Error, ErrorKind};
use tokio_postgres::error::{DbError, SqlState};

/// Why an attempt failed, as the server or the connection tells it.
#[derive(Debug)]
pub(crate) struct Cause(String);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// The error of an attempt, with what to do about it.
#[cold]
pub(crate) fn failure(attempted: &str, error: &tokio_postgres::Error) -> Error {
    let Some(server) = error.as_db_error() else {
        return Error::new(kind_of_client(error), attempted).because(Cause(chain(error)));
    };
    let kind = kind_of(server.code());
    let advice = advice(server.code());
    let attempted = match advice {
        Some(advice) => format!("{attempted}: {advice}"),
        None => attempted.to_owned(),
    };
    Error::new(kind, attempted).because(Cause(told(server)))
}

/// Errors that did not come from the server: the connection broke, unless the message says that the
/// value or the answer itself was at fault.
fn kind_of_client(error: &tokio_postgres::Error) -> ErrorKind {
    let text = error.to_string();
    let ours = ["error serializing parameter", "error encoding message", "expected "];
    let settings = ["invalid connection string", "invalid configuration", "authentication error"];
    if ours.iter().any(|start| text.starts_with(start)) {
        ErrorKind::Permanent
    } else if settings.iter().any(|start| text.starts_with(start)) {
        ErrorKind::Config
    } else if text.contains("TLS handshake") && !broken(error) {
        // A certificate that does not verify, or a server that does not speak TLS at all.
        ErrorKind::Config
    } else {
        ErrorKind::Transient
    }
}

/// Whether the connection ended underneath (rather than that what came over it was refused).
fn broken(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() != std::io::ErrorKind::InvalidData;
        }
        cause = error.source();
    }
    false
}

fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn told(server: &DbError) -> String {
    let mut text = format!("{} {}: {}", server.severity(), server.code().code(), server.message());
    for more in [server.detail(), server.hint()].into_iter().flatten() {
        let _ = write!(text, " ({more})");
    }
    text
}

fn kind_of(code: &SqlState) -> ErrorKind {
    let text = code.code();
    match text {
        // Serialization failure, deadlock; lock and statement time-outs; a statement or a plan that a
        // pooler or a schema change took away; a server that has become a standby; ended sessions.
        "40001" | "40P01" | "40003" | "55P03" | "57014" | "26000" | "25006" | "25P03" | "57P01"
        | "57P02" | "57P03" | "57P05" | "72000" => ErrorKind::Transient,
        "57P04" => ErrorKind::Config,
        // The connection; resources (also too many connections); the system's input and output.
        _ if text.starts_with("08") || text.starts_with("53") || text.starts_with("58") => {
            ErrorKind::Transient
        }
        _ if ["28", "3D", "3F", "42", "0A", "0L", "0P"]
            .iter()
            .any(|class| text.starts_with(class)) =>
        {
            ErrorKind::Config
        }
        _ => ErrorKind::Permanent,
    }
}

fn advice(code: &SqlState) -> Option<&'static str> {
    Some(match code.code() {
        "28P01" | "28000" => "check the user and the password in the URL, and pg_hba.conf",
        "3D000" | "57P04" => "create the database, or correct its name in the URL",
        "42P01" => "start once with --create-tables, or create the table",
        "3F000" => "create the schema, or correct the search_path",
        "42703" | "42804" | "42P10" => "make the table fit the pipeline",
        "42501" => "grant the user the right to do that",
        "25006" => "the server takes no writes",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_the_server_asks_for_the_right_thing() {
        let transient = [
            "08006", "40001", "40P01", "53300", "53100", "55P03", "57014", "57P01", "57P03",
            "58030", "25006", "25P03",
        ];
        let config = ["28P01", "28000", "3D000", "3F000", "42P01", "42703", "42501", "0A000"];
        let permanent = ["22003", "22021", "23505", "23514", "54000", "XX000", "25P02"];
        for (codes, kind) in [
            (&transient[..], ErrorKind::Transient),
            (&config[..], ErrorKind::Config),
            (&permanent[..], ErrorKind::Permanent),
        ] {
            for code in codes {
                assert_eq!(kind_of(&SqlState::from_code(code)), kind, "{code}");
            }
        }
        let advice = |code| advice(&SqlState::from_code(code)).unwrap_or_default();
        assert!(advice("42P01").contains("--create-tables"));
        assert!(advice("28P01").contains("password in the URL"));
    }
}
