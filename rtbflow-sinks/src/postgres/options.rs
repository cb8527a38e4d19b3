//! How a Postgres is reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rtbflow::{Error, Result};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::postgres::address::{Address, Trust, name, shown};
use crate::postgres::place::Postgres;
use crate::postgres::session::Server;
use crate::postgres::settings::{Settings, own_settings};
use crate::postgres::tls;

/// How a [`Postgres`] is reached; see [`Postgres::connect_to`].
#[must_use]
pub struct Options {
    pub(crate) url: Result<Address>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) connect_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) statement_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    pub(crate) idle_in_transaction_timeout: Duration,
    pub(crate) user_timeout: Duration,
    pub(crate) keepalive: Duration,
    pub(crate) creates_tables: bool,
}

impl Postgres {
    /// Options for the Postgres at a URL: `postgres://user:password@host:port/database`, with options of
    /// libpq behind a question mark.
    ///
    /// `sslmode` is `disable`, `prefer` (the default: TLS if the server has it, without proof of who it
    /// is) or `require`, `verify-ca`, `verify-full` (TLS with a certificate that verifies: all three are
    /// as strict as the last).
    pub fn connect_to(url: &str) -> Options {
        Options::new(url)
    }
}

impl Options {
    pub(crate) fn new(url: &str) -> Self {
        let seconds = Duration::from_secs;
        Self {
            url: Address::parse(url),
            ca_file: None,
            connect_timeout: seconds(5),
            call_timeout: seconds(15),
            statement_timeout: seconds(10),
            lock_timeout: seconds(5),
            idle_in_transaction_timeout: seconds(5),
            user_timeout: seconds(10),
            keepalive: seconds(10),
            creates_tables: true,
        }
    }

    /// A file of certificate authorities in PEM form that the server's certificate must come from,
    /// instead of those that browsers trust. The URL's `sslrootcert` says the same. Where the URL names no
    /// `sslmode`, the server then has to speak TLS and to prove who it is.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// How long one attempt to connect may take (5 s).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take as a whole, connecting included (15 s); a large commit may take longer by
    /// a second for each 5,000 rows or 2 MiB of state. After a call that has timed out, here or on the
    /// server, the next may take twice as long, up to 64 times, and half as long after one that has not.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// How long the server may run one statement (10 s); longer after one that has timed out, as
    /// [`call_timeout`](Self::call_timeout).
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// How long a statement may wait for a lock (5 s).
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// How long a transaction may wait for this process before the server ends it (5 s): a frozen
    /// process must not hold the others up.
    pub fn idle_in_transaction_timeout(mut self, timeout: Duration) -> Self {
        self.idle_in_transaction_timeout = timeout;
        self
    }

    /// How long sent bytes may go unconfirmed before the connection counts as broken (10 s).
    pub fn user_timeout(mut self, timeout: Duration) -> Self {
        self.user_timeout = timeout;
        self
    }

    /// How long a connection may be silent before it is probed (10 s).
    pub fn keepalive(mut self, silence: Duration) -> Self {
        self.keepalive = silence;
        self
    }

    /// Whether tables that are missing are made (yes).
    pub fn create_tables(mut self, creates: bool) -> Self {
        self.creates_tables = creates;
        self
    }

    /// The Postgres. Nothing is connected yet.
    ///
    /// # Errors
    /// If the URL or the file of authorities cannot be used.
    pub fn build(self) -> Result<Postgres> {
        self.check()?;
        let Address { mut config, mut trust, ca_file, names_mode, options } = self.url?;
        // Whoever names authorities means that the server has to prove who it is, unless the URL says otherwise.
        if self.ca_file.is_some() && !names_mode {
            trust = Trust::Verified;
            config.ssl_mode(SslMode::Require);
        }
        let settings = Settings {
            statement_timeout: self.statement_timeout,
            lock_timeout: self.lock_timeout,
            idle_in_transaction_timeout: self.idle_in_transaction_timeout,
            own: own_settings(&options)?,
        };
        tune(&mut config, self.connect_timeout, self.user_timeout, self.keepalive);
        let ca_file = self.ca_file.or(ca_file.map(PathBuf::from));
        let tls = match trust {
            Trust::None => None,
            Trust::Anyone | Trust::Verified => Some(tls::connector(trust, ca_file.as_deref())?),
        };
        let (name, connect_timeout) = (name(&config), self.connect_timeout);
        let server = Server { config, tls, name, connect_timeout, settings };
        Ok(Postgres::new(server, self.call_timeout, self.creates_tables))
    }

    fn check(&self) -> Result<()> {
        let timeouts =
            [("connect_timeout", self.connect_timeout), ("call_timeout", self.call_timeout)];
        match timeouts.iter().find(|(_, timeout)| timeout.is_zero()) {
            None => Ok(()),
            Some((what, _)) => {
                Err(Error::config(format!("set the {what} of Postgres: it must not be zero")))
            }
        }
    }
}

/// How a connection notices that its server is gone, and what the server knows it by.
fn tune(
    config: &mut Config,
    connect_timeout: Duration,
    user_timeout: Duration,
    keepalive: Duration,
) {
    if config.get_application_name().is_none() {
        config.application_name("rtbflow");
    }
    config
        .connect_timeout(connect_timeout)
        .tcp_user_timeout(user_timeout)
        .keepalives(true)
        .keepalives_idle(keepalive)
        .keepalives_interval(keepalive / 3)
        .keepalives_retries(3);
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_ref().map_or_else(|_| String::from("?"), |url| shown(&url.config));
        f.debug_struct("Options")
            .field("url", &url)
            .field("call_timeout", &self.call_timeout)
            .field("create_tables", &self.creates_tables)
            .finish_non_exhaustive()
    }
}
