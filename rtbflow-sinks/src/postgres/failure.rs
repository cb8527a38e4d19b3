//! What an error of the server or of the connection asks for.

use std::fmt::Write as _;

use rtbflow::{Error, ErrorKind};
use tokio_postgres::error::{DbError, SqlState};

/// Why an attempt failed, as the server or the connection says it.
#[derive(Debug)]
struct Cause {
    text: String,
    blame: Blame,
}

/// What a failure is due to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// A row, for what it is: it will never be taken.
    Row,
    /// The time that the server was given.
    Time,
    /// Anything else.
    Other,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Cause {}

/// The error of an attempt, with what to do about it.
#[cold]
pub(crate) fn failure(attempted: &str, error: &tokio_postgres::Error) -> Error {
    let Some(server) = error.as_db_error() else {
        let cause = Cause { text: chain(error), blame: Blame::Other };
        return Error::new(kind_of_client(error), attempted).because(cause);
    };
    let attempted = match advice(server) {
        Some(advice) => format!("{attempted}: {advice}"),
        None => attempted.to_owned(),
    };
    Error::new(kind_of(server), attempted)
        .because(Cause { text: described(server), blame: blame(server) })
}

/// The error of an attempt that no row has a part in.
#[cold]
pub(crate) fn place_failure(attempted: &str, error: &tokio_postgres::Error) -> Error {
    let failure = failure(attempted, error);
    // A code that is about rows, from a statement without any: to look for a row would be to look for ever.
    match blamed(&failure) {
        (Blame::Row, reason) => {
            let kind = failure.kind();
            Error::new(kind, attempted).because(Cause { text: reason, blame: Blame::Other })
        }
        _ => failure,
    }
}

/// The error of a row that was not sent at all, since it cannot be taken.
#[cold]
pub(crate) fn row_failure(attempted: &str, reason: String) -> Error {
    Error::permanent(attempted).because(Cause { text: reason, blame: Blame::Row })
}

/// What a failure of [`failure`]'s is due to, and the server's reason, on one line.
pub(crate) fn blamed(error: &Error) -> (Blame, String) {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Cause>());
    cause.map_or((Blame::Other, String::new()), |cause| (cause.blame, cause.text.clone()))
}

/// The error of an attempt to connect.
#[cold]
pub(crate) fn unreachable(server: &str, error: &tokio_postgres::Error) -> Error {
    let attempted = format!("connect to Postgres at {server}");
    match io_error(error) {
        // The system says no more than that, and it is what most mistakes in an address come to.
        Some(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => Error::transient(format!(
            "{attempted}: nothing accepts connections at this address; is the server running, and is the \
             port right?"
        ))
        .because(Cause { text: chain(error), blame: Blame::Other }),
        _ => failure(&attempted, error),
    }
}

/// Errors that did not come from the server: the connection broke, unless the message says that the
/// value or the answer itself was at fault.
fn kind_of_client(error: &tokio_postgres::Error) -> ErrorKind {
    // The client has no codes of its own: its texts are all that there is.
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
    io_error(error).is_some_and(|io| io.kind() != std::io::ErrorKind::InvalidData)
}

fn io_error(error: &tokio_postgres::Error) -> Option<&std::io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io);
        }
        cause = error.source();
    }
    None
}

fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _infallible = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn described(server: &DbError) -> String {
    let mut text = format!("{} {}: {}", server.severity(), server.code().code(), server.message());
    for more in [server.detail(), server.hint()].into_iter().flatten() {
        let _infallible = write!(text, " ({more})");
    }
    text
}

fn kind_of(server: &DbError) -> ErrorKind {
    if is_of_a_pooler(server) {
        ErrorKind::Config
    } else if server.routine().is_some_and(is_read_only) {
        ErrorKind::Transient
    } else {
        kind_of_code(server.code())
    }
}

fn kind_of_code(code: &SqlState) -> ErrorKind {
    let text = code.code();
    match text {
        // Serialization failure, deadlock; lock, statement and transaction time-outs; a statement or a plan
        // that a pooler or a schema change took away; a server that has become a standby; ended sessions; a
        // row that another refers to and that is not there yet.
        "40001" | "40P01" | "40003" | "55P03" | "57014" | "25P04" | "26000" | "25006" | "25P03"
        | "57P01" | "57P02" | "57P03" | "57P05" | "72000" | "23503" => ErrorKind::Transient,
        // A setting that the server does not know or whose value it does not take.
        "57P04" | "22023" => ErrorKind::Config,
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

/// Whether a pooler refuses what this library cannot do without; all that it says has one code.
fn is_of_a_pooler(server: &DbError) -> bool {
    server.code().code() == "08P01"
        && ["unsupported startup parameter", "transaction blocks not allowed", "no such database"]
            .iter()
            .any(|start| server.message().starts_with(start))
}

/// Whether the server refuses to begin a transaction that writes, as a standby does.
fn is_read_only(routine: &str) -> bool {
    ["check_XactReadOnly", "check_transaction_read_only"].contains(&routine)
}

fn blame(server: &DbError) -> Blame {
    match server.code().code() {
        // Rights to the whole table have the same code, but come from elsewhere.
        "42501" if server.routine() == Some("ExecWithCheckOptions") => Blame::Row,
        code => blame_of_code(code),
    }
}

/// What this server's code says of a statement that carries rows.
///
/// A row is to blame for data exceptions (22), integrity constraints (23; but a foreign key waits for
/// the row that it names), check options (44), an index row that is too large (54000), and whatever a
/// trigger or another routine of the operator's raises: PL/pgSQL's class (P0), those of routines in other
/// languages (2F, 38, 39), triggered actions (09), and codes of the operator's own, whose classes begin with
/// what the standard leaves to the user.
fn blame_of_code(code: &str) -> Blame {
    match code {
        "57014" | "25P04" => Blame::Time,
        "23503" => Blame::Other,
        "54000" | "40002" => Blame::Row,
        _ => {
            // A code has five characters, of which two are the class.
            let class = code.get(..2).unwrap_or_default();
            let of_rows = ["09", "22", "23", "2F", "38", "39", "44", "P0"];
            let of_postgres = ["53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX"];
            let of_users = class.starts_with(|c: char| matches!(c, '5'..='9' | 'I'..='Z'))
                && !of_postgres.contains(&class);
            if of_rows.contains(&class) || of_users { Blame::Row } else { Blame::Other }
        }
    }
}

fn advice(server: &DbError) -> Option<&'static str> {
    if is_of_a_pooler(server) {
        return Some(
            "if this is a pooler: it must know the database, pool sessions or transactions, and let pass \
             what the URL asks for",
        );
    }
    Some(match server.code().code() {
        "28P01" | "28000" => "check the user and the password in the URL, and pg_hba.conf",
        "3D000" | "57P04" => "create the database, or correct its name in the URL",
        "42P01" => "create the table, or correct the search_path",
        "3F000" => "create the schema, or correct the search_path",
        "42703" | "42804" | "42P10" => "make the table fit the pipeline",
        "42501" => "grant the user the right to do that",
        "25006" => "the server takes no writes",
        "23503" => "waiting for the row that the key names: add it, or drop the constraint",
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
            "58030", "25006", "25P03", "25P04", "23503",
        ];
        let config =
            ["28P01", "28000", "3D000", "3F000", "42P01", "42703", "42501", "0A000", "22023"];
        let permanent = ["22003", "22021", "23505", "23514", "54000", "XX000", "25P02"];
        for (codes, kind) in [
            (&transient[..], ErrorKind::Transient),
            (&config[..], ErrorKind::Config),
            (&permanent[..], ErrorKind::Permanent),
        ] {
            for code in codes {
                assert_eq!(kind_of_code(&SqlState::from_code(code)), kind, "{code}");
            }
        }
    }

    #[test]
    fn a_row_is_to_blame_for_what_it_is_and_for_nothing_else() {
        let rows = [
            "22001", "22003", "22008", "22021", "22P05", "22P02", "23502", "23505", "23514",
            "23P01", "44000", "54000", "P0001", "P0004", "38000", "09000", "U0001", "99001",
            "MY001",
        ];
        let others = [
            "23503", "21000", "25006", "25P02", "28000", "40001", "40P01", "42P01", "42501",
            "42804", "0A000", "53100", "54001", "55P03", "57P01", "58030", "XX000", "72000",
            "HV000", "F0001",
        ];
        assert!(rows.iter().all(|code| blame_of_code(code) == Blame::Row));
        assert!(others.iter().all(|code| blame_of_code(code) == Blame::Other));
        assert!(["57014", "25P04"].iter().all(|code| blame_of_code(code) == Blame::Time));
    }
}
