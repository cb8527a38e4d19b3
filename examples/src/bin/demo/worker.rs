//! A pipeline's process as the demonstration holds it: started, killed and started again, ended in order.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use rtbflow::{Error, Result};
use rtbflow_examples::process::Shutdown;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::logs;
use crate::pipelines::Role;

const LONGEST_STOP: Duration = Duration::from_secs(10);
const LONGEST_DEATH: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
const SIGKILL: i32 = 9;

/// What a process says at its end of every record that it has read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(crate) struct Account {
    pub(crate) records_in: u64,
    pub(crate) decoded: u64,
    pub(crate) filtered: u64,
    pub(crate) late: u64,
    pub(crate) duplicates: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) skipped: u64,
    pub(crate) pending: u64,
}

/// Who wants a process killed learns when it died; by then the next one has been started.
pub(crate) type Killer = mpsc::Sender<oneshot::Sender<Instant>>;

/// Runs a pipeline in one process after the other, until `stop`: the account of the last.
pub(crate) async fn supervise(
    role: Role,
    mut kills: mpsc::Receiver<oneshot::Sender<Instant>>,
    stop: Shutdown,
) -> Result<Account> {
    let mut life = Life::begin(&role)?;
    loop {
        tokio::select! {
            biased;
            () = stop.clone() => return life.stop().await,
            ended = life.ended() => return Err(ended),
            Some(killed) = kills.recv() => {
                life.kill().await?;
                let at = Instant::now();
                life = Life::begin(&role)?;
                // Whoever asked may have given up.
                let _ = killed.send(at);
            }
        }
    }
}

/// One process.
struct Life {
    name: &'static str,
    child: Child,
    /// What it has written on its standard output, once that is closed.
    said: Heard,
    /// The last line that it has logged, once it has ended.
    complaint: Heard,
}

/// What a thread hears of a process until its end; empty if the thread is gone.
type Heard = Shared<BoxFuture<'static, String>>;

impl Life {
    /// Starts this program once more, under the pipeline's name. Ctrl-C in the terminal does not reach it.
    fn begin(role: &Role) -> Result<Self> {
        let name = role.name();
        let failed = |error| Error::permanent(format!("start {name}")).because(error);
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg0(name).process_group(0);
        role.instruct(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let said = in_a_thread(name, move || {
            let mut text = String::new();
            if let Some(mut stdout) = stdout {
                // One that was killed in the middle of a letter has said nothing.
                let _ = stdout.read_to_string(&mut text);
            }
            text
        })?;
        let complaint = in_a_thread(name, move || {
            let mut last = String::new();
            for line in stderr.map(BufReader::new).into_iter().flat_map(BufRead::lines) {
                let Ok(line) = line else { break };
                logs::write(&format!("{name}: {line}\n"));
                last = line;
            }
            last
        })?;
        Ok(Self { name, child, said, complaint })
    }

    /// Waits until it ends by itself, which it should not.
    async fn ended(&mut self) -> Error {
        // Only the end of the process closes its standard output.
        let _ = self.said.clone().await;
        match self.reaped(LONGEST_DEATH).await {
            Ok(status) => self.unexpected(status).await,
            Err(error) => error,
        }
    }

    /// Kills it as nothing can be caught: no signal handler runs, nothing is flushed, nobody is asked.
    async fn kill(&mut self) -> Result<()> {
        let failed = |error| Error::permanent(format!("kill {}", self.name)).because(error);
        self.child.kill().map_err(failed)?;
        let status = self.reaped(LONGEST_DEATH).await?;
        match status.signal() {
            Some(SIGKILL) => Ok(()),
            Some(_) | None => Err(self.unexpected(status).await),
        }
    }

    /// Ends it in order: its account.
    async fn stop(mut self) -> Result<Account> {
        drop(self.child.stdin.take());
        let Ok(said) = timeout(LONGEST_STOP, self.said.clone()).await else {
            let attempt = format!("stop {} within {LONGEST_STOP:?}", self.name);
            return Err(Error::permanent(attempt));
        };
        let status = self.reaped(LONGEST_DEATH).await?;
        match account(&said) {
            Some(account) if status.success() => Ok(account),
            Some(_) | None => Err(self.unexpected(status).await),
        }
    }

    async fn reaped(&mut self, within: Duration) -> Result<ExitStatus> {
        let attempt = || Error::permanent(format!("wait for the end of {}", self.name));
        let deadline = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < deadline => sleep(POLL).await,
                Ok(None) => return Err(attempt()),
                Err(error) => return Err(attempt().because(error)),
            }
        }
    }

    async fn unexpected(&self, status: ExitStatus) -> Error {
        let complaint = timeout(LONGEST_DEATH, self.complaint.clone()).await.unwrap_or_default();
        let ended = Error::permanent(format!("keep {} running: it ended ({status})", self.name));
        if complaint.is_empty() { ended } else { ended.because(complaint) }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // One that has ended already is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last line of what a pipeline has said.
fn account(said: &str) -> Option<Account> {
    serde_json::from_str(said.lines().last()?).ok()
}

fn in_a_thread(
    name: &'static str,
    read: impl FnOnce() -> String + Send + 'static,
) -> Result<Heard> {
    let (send, receive) = oneshot::channel();
    let thread = thread::Builder::new().name(name.to_owned());
    // Nobody may listen any more.
    let spawned = thread.spawn(move || drop(send.send(read())));
    spawned.map_err(|error| Error::permanent(format!("listen to {name}")).because(error))?;
    Ok(receive.map(std::result::Result::unwrap_or_default).boxed().shared())
}

#[cfg(test)]
mod tests {
    use rtbflow::job::Report;
    use rtbflow_examples::process::accounting_line;

    use super::*;

    #[test]
    fn an_account_is_read_from_the_last_line() {
        let mut report = Report::default();
        (report.decoded, report.filtered) = (3, 4);
        let said = format!("something else\n{}", accounting_line("balance-worker", &report));
        let expected = Account { records_in: 7, decoded: 3, filtered: 4, ..Account::default() };
        assert_eq!(account(&said), Some(expected));
        assert_eq!(account("half a {\"line\":"), None);
        assert_eq!(account(""), None);
    }
}
