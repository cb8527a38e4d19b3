//! Connections that are made again when they break.

use std::time::Duration;

use rtbflow::{Error, Result};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::failure;

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) tls: Option<MakeRustlsConnect>,
    /// `host:port/database`.
    pub(crate) name: String,
    pub(crate) connect_timeout: Duration,
}

impl Server {
    async fn connect(&self) -> Result<Session> {
        let attempted = || format!("connect to Postgres at {}", self.name);
        // Boxed: a handshake is large, and every call would carry room for one.
        let connect = Box::pin(async {
            match &self.tls {
                Some(tls) => {
                    let (client, connection) = self.config.connect(tls.clone()).await?;
                    Ok((client, tokio::spawn(drive(connection))))
                }
                None => {
                    let (client, connection) = self.config.connect(NoTls).await?;
                    Ok((client, tokio::spawn(drive(connection))))
                }
            }
        });
        match tokio::time::timeout(self.connect_timeout, connect).await {
            Ok(Ok((client, driver))) => Ok(Session { client, driver, broken: true }),
            Ok(Err(error)) => Err(failure(&attempted(), &error)),
            Err(_) => Err(Error::transient(format!(
                "{}: no answer within {:?}",
                attempted(),
                self.connect_timeout
            ))),
        }
    }
}

/// Moves the bytes of one connection until it ends. Whoever waits for an answer is told of the end.
async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to Postgres ended");
    }
}

/// One connection.
pub(crate) struct Session {
    client: Client,
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

/// Room for one connection, used by one call at a time.
#[derive(Default)]
pub(crate) struct Seat(Mutex<Option<Session>>);

impl Seat {
    /// The connection, made if there is none.
    pub(crate) async fn lease(&self, server: &Server) -> Result<Lease<'_>> {
        let mut seat = self.0.lock().await;
        let mut session = match seat.take().filter(|session| !session.client.is_closed()) {
            Some(session) => session,
            None => server.connect().await?,
        };
        session.broken = true;
        Ok(Lease { seat, session })
    }
}

/// A connection in use. It is cut when the lease is dropped, as it then is in the middle of something;
/// [`keep`](Self::keep) puts it back.
pub(crate) struct Lease<'a> {
    seat: MutexGuard<'a, Option<Session>>,
    session: Session,
}

impl Lease<'_> {
    pub(crate) fn client(&self) -> &Client {
        &self.session.client
    }

    /// Puts the connection back: nothing is under way on it.
    pub(crate) fn keep(mut self) {
        self.session.broken = false;
        *self.seat = Some(self.session);
    }
}
