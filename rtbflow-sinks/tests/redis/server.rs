//! A server of a test's own, for what would disturb the others.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use redis::Client;
use tokio::process::{Child, Command};

use crate::namespace::unique;

const PATIENCE: Duration = Duration::from_secs(20);

/// A `redis-server` on a free port, which ends with this value.
pub(crate) struct PrivateServer {
    pub(crate) port: u16,
    options: Vec<String>,
    folder: PathBuf,
    process: Child,
}

impl PrivateServer {
    pub(crate) async fn start(options: &[&str]) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(unique("redis"));
        std::fs::create_dir(&folder).unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let process = spawn(port, &folder, &options);
        let mut server = Self { port, options, folder, process };
        server.until_it_answers().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends the process at once, as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts it again on the same port, with the data that it kept.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.port, &self.folder, &self.options);
        self.until_it_answers().await;
    }

    async fn until_it_answers(&mut self) {
        let client = Client::open(self.url()).unwrap();
        let answers = async {
            loop {
                if let Some(status) = self.process.try_wait().unwrap() {
                    panic!("redis-server ended with {status}");
                }
                if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                    && redis::cmd("PING").query_async::<()>(&mut connection).await.is_ok()
                {
                    // It may still be loading what it had kept.
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers).await.expect("redis-server does not answer");
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, folder: &PathBuf, options: &[String]) -> Child {
    // Another one than Debian's where the tests are run on other servers, of which none is built to speak TLS.
    let speaks_tls = options.iter().any(|option| option.starts_with("--tls"));
    let program = std::env::var_os("RTBFLOW_TEST_REDIS_SERVER").filter(|_| !speaks_tls);
    Command::new(program.unwrap_or_else(|| "redis-server".into()))
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(folder)
        .args(options)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server cannot be started: run ./dev test, which installs it")
}
