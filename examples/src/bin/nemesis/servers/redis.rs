//! A Redis, or a Valkey, of the run's own: no write is answered before it is on the disk.

use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue};
use tokio::time::{Instant, sleep};

use super::process::{Process, command, free_port};
use crate::Fallible;

const LONGEST_START: Duration = Duration::from_secs(30);
const LONGEST_STOP: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: Duration = Duration::from_secs(5);
const LONGEST_READ: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A server.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) port: u16,
    pub(crate) process: Process,
}

impl Redis {
    /// Starts a new one.
    pub(crate) async fn create(program: &str, name: &str, folder: &Path) -> Fallible<Self> {
        let port = free_port()?;
        let port_text = port.to_string();
        let line = command([
            program,
            "--bind",
            "127.0.0.1",
            "--port",
            &port_text,
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--repl-diskless-sync-delay",
            "0",
        ]);
        let mut server = Self { port, process: Process::new(name, line, folder)? };
        server.start().await?;
        Ok(server)
    }

    /// The address.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it, over the data that it has, and waits until it answers.
    pub(crate) async fn start(&mut self) -> Fallible {
        self.process.start()?;
        let deadline = Instant::now() + LONGEST_START;
        while self.ask::<String>(&redis::cmd("PING")).await.is_err() {
            if self.process.ended().is_some() || Instant::now() > deadline {
                return Err(format!("Redis does not start: {}", self.process.last_words()).into());
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Ends it as nothing can be caught.
    pub(crate) async fn kill(&mut self) {
        self.process.stop("KILL", LONGEST_STOP).await;
    }

    /// A connection that is not through anything.
    pub(crate) async fn connect(&self) -> Fallible<MultiplexedConnection> {
        connect(&self.address()).await
    }

    /// Asks it something.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Fallible<T> {
        ask_at(&self.address(), command).await
    }

    /// Gives it a command by its words.
    pub(crate) async fn say(&self, words: &[&str]) -> Fallible<redis::Value> {
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        self.ask(&command).await
    }
}

/// A connection to this address.
pub(crate) async fn connect(address: &str) -> Fallible<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://{address}/"))?;
    // The client's own limit is half a second.
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(LONGEST_READ));
    let connect = client.get_multiplexed_async_connection_with_config(&config);
    Ok(tokio::time::timeout(LONGEST_ANSWER, connect).await??)
}

/// Asks whoever is at this address.
pub(crate) async fn ask_at<T: FromRedisValue>(address: &str, command: &Cmd) -> Fallible<T> {
    let mut connection = connect(address).await?;
    Ok(tokio::time::timeout(LONGEST_ANSWER, command.query_async(&mut connection)).await??)
}
