//! Connections that are made again when they break, and the transactions on them.

use std::time::Duration;

use futures::future::join3;
use rtbflow::epoch::Patience;
use rtbflow::{Error, Result};
use tokio::net::lookup_host;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::postgres::failure::{failure, unreachable};
use crate::postgres::settings::{Settings, Version};

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) tls: Option<MakeRustlsConnect>,
    /// `host:port/database`.
    pub(crate) name: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) settings: Settings,
}

impl Server {
    async fn connect(&self) -> Result<Session> {
        // Boxed: a handshake is large, and every call would carry one.
        let connect = Box::pin(async {
            match &self.tls {
                Some(tls) => self.connect_by(tls.clone()).await,
                None => self.connect_by(NoTls).await,
            }
        });
        let deadline = deadline(self.connect_timeout);
        self.find_hosts(deadline).await?;
        match timeout_at(deadline, connect).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(unreachable(&self.name, &error)),
            Err(_) => Err(Error::transient(format!(
                "connect to Postgres at {}: no answer within {:?}; is the address right, and does a \
                 firewall let it through?",
                self.name, self.connect_timeout
            ))),
        }
    }

    async fn connect_by<T>(&self, tls: T) -> Result<Session, tokio_postgres::Error>
    where
        T: MakeTlsConnect<Socket, Stream: Send + 'static>,
    {
        let (client, connection) = self.config.connect(tls).await?;
        // A server that does not say its version passes for new.
        let version = Version::read(connection.parameter("server_version").unwrap_or_default());
        let driver = tokio::spawn(drive(connection));
        Ok(Session { client, version, driver, broken: true })
    }

    /// Looks up the names of the hosts, so that a name that is not known is distinguished from a server that
    /// does not answer.
    async fn find_hosts(&self, deadline: Instant) -> Result<()> {
        if !self.config.get_hostaddrs().is_empty() {
            return Ok(());
        }
        let mut unknown = Ok(());
        for host in self.config.get_hosts() {
            // A socket in the file system has no name to look up.
            let Host::Tcp(name) = host else { return Ok(()) };
            let found = timeout_at(deadline, lookup_host((name.as_str(), 0))).await;
            let attempted = format!("connect to Postgres at {}", self.name);
            unknown = Err(match found {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => Error::transient(format!(
                    "{attempted}: the host {name:?} is not known; correct it in the URL, or let \
                     this machine resolve it"
                ))
                .because(error),
                Err(_) => Error::transient(format!(
                    "{attempted}: no answer within {:?} to the name lookup of host {name:?}",
                    self.connect_timeout
                )),
            });
        }
        unknown
    }
}

/// This much time from now; in 30 years where that is beyond the clock.
pub(crate) fn deadline(time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + FAR)
}

/// Moves the bytes of one connection until it ends. Whoever waits for an answer hears of the end.
async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to Postgres ended");
    }
}

/// One connection.
pub(crate) struct Session {
    client: Client,
    version: Version,
    driver: JoinHandle<()>,
    broken: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        // A healthy connection says goodbye when its client goes. One in the middle of something is cut:
        // the server then rolls back.
        if self.broken {
            self.driver.abort();
        }
    }
}

/// A slot for one connection, used by one call at a time.
#[derive(Default)]
pub(crate) struct Slot {
    session: Mutex<Option<Session>>,
    pub(crate) patience: Patience,
}

impl Slot {
    /// The connection, made if there is none.
    pub(crate) async fn lease<'a>(&'a self, server: &'a Server) -> Result<Lease<'a>> {
        let mut slot = self.session.lock().await;
        let mut session = match slot.take().filter(|session| !session.client.is_closed()) {
            Some(session) => session,
            None => server.connect().await?,
        };
        // Until it is put back: whatever ends the call in its middle leaves it in the middle of something.
        session.broken = true;
        let begin = server.settings.begin(session.version, self.patience.times());
        Ok(Lease { slot, session, server: &server.name, begin })
    }
}

/// A connection in use. It is cut when the lease is dropped, as it then is in the middle of something;
/// [`keep`](Self::keep) puts it back.
pub(crate) struct Lease<'a> {
    slot: MutexGuard<'a, Option<Session>>,
    session: Session,
    /// What the server is called in messages.
    pub(crate) server: &'a str,
    /// What a transaction begins with: to be sent as one message.
    pub(crate) begin: String,
}

impl Lease<'_> {
    pub(crate) fn client(&self) -> &Client {
        &self.session.client
    }

    pub(crate) fn version(&self) -> Version {
        self.session.version
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&self, attempted: &str) -> Result<()> {
        self.run(&self.begin, attempted).await
    }

    /// Runs statements that return nothing.
    pub(crate) async fn run(&self, sql: &str, attempted: &str) -> Result<()> {
        let answer = self.client().batch_execute(sql).await;
        answer.map_err(|error| failure(attempted, &error))
    }

    /// The rows of a statement in a transaction of its own: one round trip.
    pub(crate) async fn read(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        attempted: &str,
    ) -> Result<Vec<Row>> {
        let client = self.client();
        // Sent one behind the other: what fails first makes the others fail, and is what counts.
        let (begun, rows, ended) = join3(
            client.batch_execute(&self.begin),
            client.query_typed(sql, parameters),
            client.batch_execute("commit"),
        )
        .await;
        begun
            .and(rows)
            .and_then(|rows| ended.map(|()| rows))
            .map_err(|error| failure(attempted, &error))
    }

    /// Puts the connection back: nothing is under way on it.
    pub(crate) fn keep(mut self) {
        self.session.broken = false;
        *self.slot = Some(self.session);
    }
}
