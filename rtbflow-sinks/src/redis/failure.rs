//! What an error of Redis asks for: try again, or change something.

use redis::{ErrorKind, RedisError};
use rtbflow::Error;

pub(crate) const NO_CLUSTER: &str = "Redis Cluster spreads keys over several servers, and the keys of one atomic \
                          script have to be in one: give the URL of one server that is not part of a cluster";

/// Codes of errors that pass by themselves. A server older than 7 wraps the code of a failing command
/// into the text of the script's error, hence also the search in the text.
const TRANSIENT: [&str; 12] = [
    "LOADING",
    "BUSY",
    "TRYAGAIN",
    "READONLY",
    "OOM",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "UNKILLABLE",
    "NOSCRIPT",
    "EXECABORT",
];

/// What somebody has to do about an error of this code, or with this in its text.
const ADVICE: [(&str, &str); 16] = [
    (
        "to run the 'select' command",
        "allow the user SELECT (+select), or name no database at the end of the URL: 0 is used without it",
    ),
    ("NOAUTH", NO_PASSWORD),
    ("Authentication required", NO_PASSWORD),
    ("WRONGPASS", "correct the user or the password in the URL"),
    ("invalid password", "correct the password in the URL"),
    ("NOPERM", RIGHTS),
    ("user executing the script can", RIGHTS),
    ("ACL failure", RIGHTS),
    ("DENIED", "the server is in protected mode: set a password or bind it to a private address"),
    ("MOVED", NO_CLUSTER),
    ("ASK", NO_CLUSTER),
    ("CROSSSLOT", NO_CLUSTER),
    ("WRONGTYPE", "another program writes keys that begin with rtbflow: and has to stop that"),
    ("unknown command", "use Redis 6.2 or newer with scripts, and rename none of its commands"),
    ("DB index is out of range", "correct the number of the database at the end of the URL"),
    ("Error compiling script", "correct the Lua that the pipeline stages"),
];

const NO_PASSWORD: &str = "give a password in the URL: redis://user:password@host";

const RIGHTS: &str = "allow the user what the documentation of `redis` lists, on the keys of the results and on \
                      rtbflow:*";

/// What the server answers to a command that the user may not run, or that it does not know; small and in capitals, as
/// servers have it one way or the other.
const FORBIDDEN: [&str; 7] = [
    "NOPERM",
    "user executing the script can",
    "ACL failure",
    "no permissions",
    "nknown command",
    "nknown Redis command",
    "nknown Valkey command",
];

const BAD_CERTIFICATE: &str =
    "give the authority of the server's certificate, or the host as the certificate names it";

/// Whether the connection is of no more use.
pub(crate) fn is_broken(error: &RedisError) -> bool {
    error.is_io_error()
        || matches!(error.kind(), ErrorKind::Parse)
        || error.code() == Some("READONLY")
}

/// Whether an answer says that the user may not run a command, or that the server does not know it.
pub(crate) fn is_forbidden(text: &str) -> bool {
    FORBIDDEN.iter().any(|sign| text.contains(sign))
}

/// The error for what the server refuses for its own reasons in the middle of a script that has then changed
/// nothing. `was_possible`: it had been before, so it is waited for.
#[cold]
pub(crate) fn forbidden(
    attempted: &str,
    refusal: &str,
    command: &str,
    key: &str,
    was_possible: bool,
) -> Error {
    let on = if command.is_empty() { String::new() } else { format!(": {command} {key}") };
    let what = format!("{attempted}{on}: {refusal}; nothing was changed");
    if !is_forbidden(refusal) {
        let is_transient = TRANSIENT.iter().any(|code| refusal.contains(code));
        return if is_transient { Error::transient(what) } else { Error::permanent(what) };
    }
    let advice = format!("{what}; {RIGHTS}, and rename no commands");
    if was_possible { Error::transient(advice) } else { Error::config(advice) }
}

/// Why no connection could be made, as far as somebody may have to do something about it.
fn unreachable(cause: &RedisError, text: &str) -> Option<&'static str> {
    if text.contains("lookup address") || text.contains("No address found") {
        return Some("the host's name is not known; correct the host in the URL, or look at DNS");
    }
    cause.is_connection_refusal().then_some(
        "nothing listens on this port of the host; start the server, or correct the port in the URL",
    )
}

/// Whether an error passes by itself.
fn passes(cause: &RedisError, text: &str) -> bool {
    let detail = cause.detail().unwrap_or_default();
    cause.code().is_some_and(|code| TRANSIENT.contains(&code))
        || TRANSIENT.iter().any(|code| detail.contains(&format!("-{code} ")))
        || cause.is_io_error()
        // An answer that was cut off: the connection is made anew.
        || matches!(cause.kind(), ErrorKind::Parse)
        || text.contains("max number of clients")
}

/// The library's error for one of Redis; `attempted` says what was attempted and where.
#[cold]
pub(crate) fn error(attempted: &str, cause: RedisError) -> Error {
    let text = cause.to_string();
    let code = cause.code().unwrap_or_default();
    if text.contains("invalid peer certificate") {
        return Error::config(format!("{attempted}: {BAD_CERTIFICATE}")).because(cause);
    }
    if passes(&cause, &text) {
        return match unreachable(&cause, &text) {
            Some(why) => Error::transient(format!("{attempted}: {why}")).because(cause),
            None => Error::transient(attempted).because(cause),
        };
    }
    let advice =
        ADVICE.iter().find(|(sign, _)| code == *sign || text.contains(sign)).map(|(_, what)| *what);
    let advice = match (advice, cause.kind()) {
        (Some(advice), _) => advice,
        (None, ErrorKind::AuthenticationFailed) => "correct the user and the password in the URL",
        (None, ErrorKind::InvalidClientConfig) => "correct the URL",
        // The client drops the code, which is BUSY or one like it.
        (None, _) if text.contains("refused to switch database") => {
            return Error::transient(attempted).because(cause);
        }
        (None, _) => return Error::permanent(attempted).because(cause),
    };
    Error::config(format!("{attempted}: {advice}")).because(cause)
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    /// The error that a server's answer becomes.
    fn answered(line: &str) -> Error {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let Value::ServerError(answer) = value else { panic!("{line} is no error") };
        error("commit to Redis at 127.0.0.1:6379", RedisError::from(answer))
    }

    #[test]
    fn what_passes_by_itself_is_transient() {
        for line in [
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script.",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "READONLY You can't write against a read only replica.",
            "OOM command not allowed when used memory > 'maxmemory'. script: 0, on @user_script:1.",
            "CLUSTERDOWN The cluster is down",
            "MISCONF Redis is configured to save RDB snapshots",
            "NOREPLICAS Not enough good replicas to write.",
            "ERR max number of clients reached",
            "ERR Error running script (call to f_0): @user_script:1: -OOM command not allowed",
        ] {
            let error = answered(line);
            assert!(error.is_transient(), "{line}: {error:?}");
            assert!(error.report().contains("127.0.0.1:6379"), "{error:?}");
        }
    }

    #[test]
    fn a_command_that_may_not_be_run_or_is_not_known_is_found_so_on_all_servers() {
        for text in [
            // Redis up to 7.0, and since; Valkey.
            "@user_script: 1: The user executing the script can't run this command or subcommand",
            "ERR The user executing the script can't access at least one of the keys mentioned",
            "ERR ACL failure in script: User job has no permissions to run the 'set' command",
            "ERR ACL failure in script: No permissions to access a key",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "@user_script: 1: Unknown Redis command called from Lua script",
            "ERR Unknown Redis command called from script",
            "ERR Unknown command called from script",
            "ERR unknown command 'COPY', with args beginning with: ",
        ] {
            assert!(is_forbidden(text), "{text}");
            let error = forbidden("commit", text, "SET", "a", true);
            assert!(
                error.is_transient() && error.report().contains("rename no commands"),
                "{text}"
            );
        }
        assert!(!is_forbidden("OOM command not allowed when used memory > 'maxmemory'."));
    }

    #[test]
    fn what_somebody_has_to_change_says_so() {
        for (line, advice) in [
            ("NOAUTH Authentication required.", "password in the URL"),
            ("WRONGPASS invalid username-password pair", "correct the user or the password"),
            ("NOPERM this user has no permissions", "allow the user"),
            ("NOPERM this user has no permissions to run the 'select' command", "+select"),
            ("ERR unknown command 'COPY'", "Redis 6.2"),
            ("MOVED 3999 127.0.0.1:6381", "cluster"),
            ("CROSSSLOT Keys in request don't hash to the same slot", "cluster"),
            ("ERR DB index is out of range", "number of the database"),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", "rtbflow:"),
        ] {
            let error = answered(line);
            assert!(error.is_config(), "{line}: {error:?}");
            assert!(error.to_string().contains(advice), "{error}");
        }
        assert!(!answered("ERR value is not an integer").is_transient());
    }
}
