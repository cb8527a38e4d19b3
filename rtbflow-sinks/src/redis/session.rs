//! The connection to one Redis server: made when needed, made again when broken, never waited for
//! beyond a deadline. What a reachable server does not do in that time, such as a large epoch over a thin line, is
//! given more the next time.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisResult, Value};
use rtbflow::epoch::Patience;
use rtbflow::{Error, Result};
use tokio::sync::Mutex;

use crate::redis::failure;

/// How often one call sends a request: once, and again after each broken connection. Every request
/// here may be sent twice.
const MOST_ATTEMPTS: u32 = 3;
/// The first pause between two attempts; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(50);

/// A server and the connection to it, if there is one.
pub(crate) struct Server {
    client: Client,
    address: String,
    deadline: Duration,
    patience: Patience,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl fmt::Debug for Server {
    /// Without the user and the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl Server {
    pub(crate) fn new(client: Client, deadline: Duration) -> Self {
        let info = client.get_connection_info();
        let address = format!("{}, database {}", info.addr(), info.redis_settings().db());
        let (patience, connection) = (Patience::default(), Mutex::new(None));
        Self { client, address, deadline, patience, connection }
    }

    /// The same server over a connection of its own.
    pub(crate) fn separate(&self) -> Self {
        Self::new(self.client.clone(), self.deadline)
    }

    /// The user's name, as the server knows it.
    pub(crate) fn user(&self) -> &str {
        // The name that Redis itself has for whoever gives none.
        self.client.get_connection_info().redis_settings().username().unwrap_or("default")
    }

    /// Host, port and database.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sends commands in one round trip; `attempted` says what for. The answers are in the order of the
    /// commands, errors of single commands among them.
    ///
    /// # Errors
    /// Transient if the server is away or does not answer within the deadline: then nobody knows
    /// whether the commands ran.
    pub(crate) async fn send(
        &self,
        attempted: &str,
        commands: &mut Pipeline,
    ) -> Result<Vec<RedisResult<Value>>> {
        let attempted = format!("{attempted} in Redis at {}", self.address);
        let commands = commands.ignore_errors();
        let deadline = self.deadline.saturating_mul(self.patience.times());
        let is_connected = AtomicBool::new(false);
        let attempts = self.attempts(commands, &is_connected);
        match tokio::time::timeout(deadline, attempts).await {
            // Whoever asked goes through commands and answers side by side.
            Ok(Ok(answers)) if answers.len() != commands.len() => {
                Err(Error::broken("Redis answers to more commands than were sent, or fewer"))
            }
            Ok(Ok(answers)) => {
                self.answered(&answers);
                Ok(answers)
            }
            Ok(Err(cause)) => Err(failure::error(&attempted, cause)),
            Err(_) => {
                self.timed_out(is_connected.load(Ordering::Relaxed));
                Err(Error::transient(format!("{attempted}: no answer within {deadline:?}")))
            }
        }
    }

    fn answered(&self, answers: &[RedisResult<Value>]) {
        self.patience.shorten();
        // The answers are good, but the next call would fail on this connection: a server that is a replica now, for
        // one.
        if answers.iter().any(|answer| answer.as_ref().is_err_and(failure::is_broken)) {
            self.disconnect();
        }
    }

    fn timed_out(&self, is_connected: bool) {
        self.disconnect();
        // One that does not even take connections would not do more in more time.
        if is_connected {
            self.patience.lengthen();
        }
    }

    /// Sends a command by itself; the answer may be an error of its own.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) async fn send_one(
        &self,
        attempted: &str,
        command: Cmd,
    ) -> Result<RedisResult<Value>> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        let answer = self.send(attempted, &mut commands).await?.pop();
        answer.ok_or_else(|| Error::broken("the one answer to a command is missing"))
    }

    async fn attempts(
        &self,
        commands: &Pipeline,
        is_connected: &AtomicBool,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        // Few, and soon one behind the other: a server that stays away is waited for by the job, which says so.
        let mut pause = PAUSE;
        for _ in 1..MOST_ATTEMPTS {
            match self.attempt(commands, is_connected).await {
                // Whether the commands ran is not known; each of them finds out by itself whether it did.
                Err(cause) if failure::is_broken(&cause) => {
                    tracing::debug!(server = %self.address, %cause, "connecting to Redis again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        self.attempt(commands, is_connected).await
    }

    async fn attempt(
        &self,
        commands: &Pipeline,
        is_connected: &AtomicBool,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        is_connected.store(false, Ordering::Relaxed);
        let mut connection = self.connection().await?;
        is_connected.store(true, Ordering::Relaxed);
        let answers = commands.query_async(&mut connection).await;
        if answers.is_err() {
            self.disconnect();
        }
        answers
    }

    /// The connection; whoever needs it first makes it, and the others wait for that.
    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        // No time-out of a response: the whole call has one, which is lengthened where a server needs more time.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.deadline))
            .set_response_timeout(None);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        tracing::debug!(server = %self.address, "connected to Redis");
        Ok(slot.insert(connection).clone())
    }

    /// Drops the connection. If somebody holds the lock, a new one is being made already.
    fn disconnect(&self) {
        if let Ok(mut slot) = self.connection.try_lock() {
            *slot = None;
        }
    }
}
