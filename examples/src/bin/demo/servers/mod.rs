//! Private servers that live as long as the demonstration, however it ends.
//!
//! Each runs under a small shell that holds the reading end of a pipe. The writing end is ours: when it
//! closes, because we drop the server or because this process is gone, killed or not, the shell
//! ends the server and removes its folder. Servers are in process groups of their own, so Ctrl-C in the
//! terminal reaches only us, and they outlive the last commit.

mod folder;
mod postgres;
mod redis;
mod search;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rtbflow::{Error, Result};

use folder::{Folder, Owner};
pub(crate) use postgres::start_postgres;
pub(crate) use redis::start_redis;

/// How long a server may take to answer, and to end.
const LONGEST_START: Duration = Duration::from_secs(30);
const LONGEST_END: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Runs `$3..` until it ends or our standard input does; then the folder `$2` goes.
/// `$1` is the signal that ends the server in order.
const WATCH: &str = r#"
signal=$1 folder=$2; shift 2
exec 3<&0
"$@" 3<&- </dev/null & server=$!
( read -r _; kill -s "$signal" "$server" ) <&3 2>/dev/null & watcher=$!
exec 3<&-
wait "$server"; code=$?
kill "$watcher" 2>/dev/null
rm -rf "$folder"
exit "$code"
"#;

/// A private server. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    url: String,
    shell: Child,
    log: PathBuf,
}

/// How a server is started.
struct Start<'a> {
    name: &'static str,
    signal: &'a str,
    folder: Folder,
    owner: Owner,
    command: Command,
    url: String,
}

impl Server {
    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn start(start: Start<'_>) -> Result<Self> {
        let Start { name, signal, folder, owner, command, url } = start;
        let failed = |error| Error::permanent(format!("start {name}")).because(error);
        let log = folder.path().join("log");
        let output = File::create(&log).map_err(failed)?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", WATCH, "watch", signal]).arg(folder.path());
        shell.arg(command.get_program()).args(command.get_args());
        shell
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            .process_group(0);
        owner.apply(&mut shell);
        let shell = shell.spawn().map_err(failed)?;
        // From here on the shell looks after the folder.
        folder.keep();
        Ok(Self { name, url, shell, log })
    }

    /// Waits until `answers` says that it does.
    async fn ready<F: Future<Output = bool>>(mut self, answers: impl Fn() -> F) -> Result<Self> {
        let wait = async {
            loop {
                if let Ok(Some(status)) = self.shell.try_wait() {
                    return Err(format!("it ended at once ({status})"));
                }
                if answers().await {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let ready = tokio::time::timeout(LONGEST_START, wait).await;
        match ready.unwrap_or_else(|_| Err(format!("it does not answer within {LONGEST_START:?}")))
        {
            Ok(()) => Ok(self),
            Err(why) => Err(Error::permanent(format!(
                "start a private {}: {why}; it said: {}",
                self.name,
                self.last_words()
            ))),
        }
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(600)))?;
            let mut end = Vec::new();
            file.read_to_end(&mut end)?;
            Ok(String::from_utf8_lossy(&end).trim().replace('\n', " | "))
        };
        read().unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Closing our end of the pipe is what ends the server.
        drop(self.shell.stdin.take());
        let polls = LONGEST_END.as_millis() / POLL.as_millis();
        for _ in 0..polls {
            if !matches!(self.shell.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        tracing::warn!(server = self.name, pid = self.shell.id(), "does not end");
    }
}

/// A loopback address that nobody listens at.
fn free_address() -> Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Error::permanent("find a free loopback port").because(error))
}
