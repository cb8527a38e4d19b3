//! The URL of a server: what of it the client takes, and what of it may be shown.

use std::fmt;

use rtbflow::{Error, Result};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// How much the server has to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// TLS is not used.
    None,
    /// TLS if the server has it, whoever it is.
    Anyone,
    /// TLS with a certificate that verifies.
    Verified,
}

/// A URL taken apart.
pub(crate) struct Address {
    pub(crate) config: Config,
    pub(crate) trust: Trust,
    pub(crate) ca_file: Option<String>,
    /// Whether the URL itself says how far the server is trusted.
    pub(crate) names_mode: bool,
    /// Settings of the server, as they stand after `options=`.
    pub(crate) options: String,
}

impl Address {
    /// Takes a URL apart.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(Error::config(
                "read the URL of Postgres: it has the form postgres://user:password@host:port/database",
            ));
        }
        let (base, query) = split_query(url);
        let Query { kept, mode, ca_file, options } = Query::parse(query)?;
        // As libpq has it where nothing is said.
        let (ssl_mode, trust) = trust(mode.unwrap_or("prefer"))?;
        let mut config: Config =
            format!("{base}?{}", kept.join("&")).parse().map_err(unreadable)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::config("read the URL of Postgres: it has no host"));
        }
        // The client knows neither `verify-ca` nor `verify-full`: both are by the certificate that TLS is made with.
        config.ssl_mode(ssl_mode);
        Ok(Self { config, trust, ca_file, names_mode: mode.is_some(), options })
    }
}

/// What stands behind the question mark.
struct Query<'a> {
    /// What the client takes.
    kept: Vec<&'a str>,
    mode: Option<&'a str>,
    ca_file: Option<String>,
    options: String,
}

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Result<Self> {
        let mut parsed =
            Self { kept: Vec::new(), mode: None, ca_file: None, options: String::new() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => parsed.mode = Some(value),
                Some(("sslrootcert", value)) => parsed.ca_file = Some(decoded(value)?),
                // Not for the client, which would send them as the session starts.
                Some(("options", value)) => parsed.options = decoded(value)?,
                _ => parsed.kept.push(pair),
            }
        }
        Ok(parsed)
    }
}

/// What an `sslmode` asks of the connection and of the server.
fn trust(mode: &str) -> Result<(SslMode, Trust)> {
    Ok(match mode {
        "disable" => (SslMode::Disable, Trust::None),
        "allow" | "prefer" => (SslMode::Prefer, Trust::Anyone),
        "require" | "verify-ca" | "verify-full" => (SslMode::Require, Trust::Verified),
        other => {
            return Err(Error::config(format!(
                "read the URL of Postgres: sslmode {other:?} is none of disable, prefer, require, \
                 verify-ca and verify-full"
            )));
        }
    })
}

/// The error of a URL that the client does not take: by its cause alone, since its own text may have the password.
fn unreadable(error: tokio_postgres::Error) -> Error {
    let unread = Error::config(
        "read the URL of Postgres: it has the form postgres://user:password@host:port/database?options",
    );
    match std::error::Error::source(&error) {
        Some(cause) => unread.because(cause.to_string()),
        None => unread,
    }
}

/// The query begins at the first question mark behind the password.
fn split_query(url: &str) -> (&str, &str) {
    // A URL without a password has its first question mark anywhere.
    let from = url.find('@').unwrap_or(0);
    match url.get(from..).and_then(|rest| rest.find('?')) {
        Some(at) => {
            let (base, query) = url.split_at(from + at);
            (base, query.strip_prefix('?').unwrap_or(query))
        }
        None => (url, ""),
    }
}

/// Undoes percent-encoding; what is not valid stays as it is.
///
/// # Errors
/// If it is not UTF-8 then: another file would be read, or another setting made.
fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let encoded = match (first, tail) {
            (b'%', [high, low, behind @ ..]) => {
                let digits = digit(*high).zip(digit(*low));
                digits.map(|(high, low)| (high * 16 + low, behind))
            }
            _ => None,
        };
        let (byte, behind) = encoded.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8(bytes).map_err(|_| {
        Error::config(
            "read the URL of Postgres: a value behind the question mark is not UTF-8, once its \
             percent-encoding is undone",
        )
    })
}

/// Where the server is, without a secret: `host:port/database`.
pub(crate) fn name(config: &Config) -> String {
    let hosts = hosts(config);
    let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or_default();
    format!("{}/{database}", hosts.join(","))
}

/// The hosts, each with its port. One port may be that of all of them.
fn hosts(config: &Config) -> Vec<String> {
    let ports = config.get_ports();
    // As the client chooses it.
    let port = |at: usize| ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
    let with_port = |(at, host): (usize, String)| match host.starts_with('/') {
        true => host,
        false => format!("{host}:{}", port(at)),
    };
    let named = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(path) => path.display().to_string(),
    });
    let hosts: Vec<String> = named.collect();
    // Where only addresses are given, they are the names.
    if hosts.is_empty() {
        let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
        return addresses.enumerate().map(with_port).collect();
    }
    hosts.into_iter().enumerate().map(with_port).collect()
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", name(&self.config))
    }
}

/// The URL without its password.
pub(crate) fn shown(config: &Config) -> String {
    match config.get_user() {
        Some(user) => format!("postgres://{user}@{}", name(config)),
        None => format!("postgres://{}", name(config)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Address {
        Address::parse(url).unwrap()
    }

    #[test]
    fn a_url_is_taken_apart_and_named_without_its_password() {
        let address = read(
            "postgres://me:s%3Fcret@db.example:6432/shop?sslmode=verify-full&sslrootcert=%2Fca%20s.pem\
             &options=-c%20search_path%3Da",
        );
        assert_eq!(address.trust, Trust::Verified);
        assert_eq!(address.ca_file.as_deref(), Some("/ca s.pem"));
        assert_eq!(address.options, "-c search_path=a");
        assert_eq!(address.config.get_options(), None);
        assert_eq!(address.config.get_password(), Some(&b"s?cret"[..]));
        assert_eq!(name(&address.config), "db.example:6432/shop");
        assert!(!format!("{address:?}").contains("cret"));
        assert_eq!(read("postgresql://me@a,b:1/").trust, Trust::Anyone);
        assert_eq!(name(&read("postgres://me@a:1,b:2/x").config), "a:1,b:2/x");
        assert_eq!(name(&read("postgres://me@%2Frun%2Fpg/x").config), "/run/pg/x");
    }

    #[test]
    fn a_wrong_url_is_a_configuration_error_that_shows_nothing_secret() {
        for bad in [
            "host=a password=geheim",
            "postgres://me:geheim@host:notaport/x",
            "postgres://me:geheim@host/x?nonsense=1",
            "postgres://me:geheim@host/x?sslmode=maybe",
            "redis://:geheim@host",
        ] {
            let error = Address::parse(bad).unwrap_err();
            assert!(error.is_config(), "{error:?}");
            assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
        }
    }
}
