//! A process of the nemesis: a server or an instance. It ends with the nemesis, however that ends.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Fallible;

const POLL: Duration = Duration::from_millis(20);

/// How a process is started, again and again.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    command: Vec<OsString>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    /// As whom, if not as ourselves.
    user: Option<&'static str>,
    /// The last signal it gets if the nemesis dies.
    last_signal: &'static str,
    child: Option<Child>,
}

/// Who runs what refuses to run as root.
pub(crate) fn not_root() -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let has_postgres = users.lines().any(|line| line.starts_with("postgres:"));
    is_root.then_some(if has_postgres { "postgres" } else { "nobody" })
}

/// The command that runs another as this user.
fn as_user(user: Option<&str>, last_signal: &str, command: &[OsString]) -> Command {
    let mut whole = Command::new("setpriv");
    if let Some(user) = user {
        whole.args(["--reuid", user, "--clear-groups", "setpriv"]);
    }
    whole.args(["--pdeathsig", last_signal, "--"]).args(command);
    whole
}

/// Runs a command to its end as this user.
///
/// # Errors
/// If it fails; with what it said.
pub(crate) async fn run(
    user: Option<&'static str>,
    folder: &Path,
    command: &[OsString],
) -> Fallible {
    let mut whole = as_user(user, "KILL", command);
    whole.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = whole.spawn()?;
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}: {}", display(command), output.status, said.trim()).into())
}

fn display(command: &[OsString]) -> String {
    command.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A command as it is given to [`Process`].
pub(crate) fn command<S: Into<OsString>>(parts: impl IntoIterator<Item = S>) -> Vec<OsString> {
    parts.into_iter().map(Into::into).collect()
}

/// A loopback port of five digits that nobody listens at.
pub(crate) fn free_port() -> Fallible<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) -> bool {
    let mut kill = Command::new("kill");
    kill.args(["-s", name, &pid.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    kill.status().is_ok_and(|status| status.success())
}

impl Process {
    /// A process that is not started yet; its log is beside its folder, which is made.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub(crate) fn new(name: &str, command: Vec<OsString>, folder: &Path) -> Fallible<Self> {
        std::fs::create_dir_all(folder)?;
        let (environment, user) = (Vec::new(), None);
        let (name, folder) = (name.to_owned(), folder.to_owned());
        Ok(Self { name, command, environment, folder, user, last_signal: "KILL", child: None })
    }

    pub(crate) fn user(mut self, user: Option<&'static str>) -> Self {
        self.user = user;
        self
    }

    pub(crate) fn last_signal(mut self, signal: &'static str) -> Self {
        self.last_signal = signal;
        self
    }

    pub(crate) fn environment(mut self, environment: Vec<(String, String)>) -> Self {
        self.environment = environment;
        self
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.with_extension("log")
    }

    /// Where its standard output goes.
    pub(crate) fn output(&self) -> PathBuf {
        self.folder.with_extension("out")
    }

    /// Starts it.
    ///
    /// # Errors
    /// If that is not possible; that it ends at once is none.
    pub(crate) fn start(&mut self) -> Fallible {
        let open = |path: PathBuf| -> std::io::Result<File> {
            OpenOptions::new().create(true).append(true).open(path)
        };
        let mut command = as_user(self.user, self.last_signal, &self.command);
        command.current_dir(&self.folder).process_group(0).stdin(Stdio::null());
        command.stdout(open(self.output())?).stderr(open(self.log())?);
        for variable in ["RUST_LOG", "RTBFLOW_KAFKA", "RTBFLOW_REDIS", "RTBFLOW_POSTGRES"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().map_err(|error| format!("start {}: {error}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// The number of the process, if it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends it a signal, if it runs.
    pub(crate) fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            signal(pid, name);
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        while self.child.is_some() && Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            sleep(POLL).await;
        }
        None
    }

    /// Ends it by this signal; if that does not help, by SIGKILL.
    pub(crate) async fn stop(&mut self, name: &str, within: Duration) -> Option<ExitStatus> {
        self.signal("CONT");
        self.signal(name);
        let status = self.end(within).await;
        if self.child.is_some() {
            self.signal("KILL");
            self.end(within).await;
        }
        status
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // One that has ended already is not there to be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
