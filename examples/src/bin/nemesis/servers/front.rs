//! What stands between the pipelines and Postgres: poolers and load balancers.

use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::process::{Process, command, free_port, not_root};
use crate::Fallible;
use crate::topology::Topology;

const LONGEST_START: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A pooler or a load balancer.
#[derive(Debug)]
pub(crate) struct Front {
    port: u16,
    process: Process,
}

fn program(name: &str) -> String {
    // Where Debian puts it, which is not in everybody's path.
    let there = format!("/usr/sbin/{name}");
    if Path::new(&there).exists() { there } else { name.to_owned() }
}

impl Front {
    /// What a topology has before the server at this port; none if it is reached directly.
    pub(crate) async fn of(
        topology: Topology,
        server: u16,
        folder: &Path,
    ) -> Fallible<Option<Self>> {
        match topology {
            Topology::Session => Self::pooler("session", server, folder).await.map(Some),
            Topology::Transaction => Self::pooler("transaction", server, folder).await.map(Some),
            Topology::Haproxy => Self::balancer(server, folder).await.map(Some),
            Topology::One
            | Topology::Three
            | Topology::Synchronous
            | Topology::Asynchronous
            | Topology::Valkey
            | Topology::Sentinel => Ok(None),
        }
    }

    /// `PgBouncer` with its default settings but for the size of the pool: sessions are held for as long as their
    /// clients live, and there are more of them than the 20 of the default.
    async fn pooler(mode: &str, server: u16, folder: &Path) -> Fallible<Self> {
        let port = free_port()?;
        std::fs::create_dir_all(folder)?;
        let size = if mode == "session" { 150 } else { 20 };
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {users}\n\
             pool_mode = {mode}\ndefault_pool_size = {size}\nmax_client_conn = 500\n",
            users = folder.join("users").display()
        );
        let file = folder.join("pgbouncer.ini");
        std::fs::write(folder.join("users"), "\"pipeline\" \"\"\n\"rtbflow\" \"\"\n")?;
        std::fs::write(&file, config)?;
        let line = command([program("pgbouncer").into(), "-q".into(), file.into_os_string()]);
        Self::start(port, Process::new("pgbouncer", line, folder)?.user(not_root())).await
    }

    /// `HAProxy` that ends connections on which nothing was said for two seconds.
    async fn balancer(server: u16, folder: &Path) -> Fallible<Self> {
        let port = free_port()?;
        std::fs::create_dir_all(folder)?;
        let config = format!(
            "global\n  maxconn 500\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout client 2s\n  \
             timeout server 2s\nlisten postgres\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{server}\n"
        );
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, config)?;
        let line =
            command([program("haproxy").into(), "-f".into(), file.into_os_string(), "-db".into()]);
        Self::start(port, Process::new("haproxy", line, folder)?).await
    }

    async fn start(port: u16, process: Process) -> Fallible<Self> {
        let mut front = Self { port, process };
        front.again().await?;
        Ok(front)
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it, if it runs, and starts it again.
    pub(crate) async fn again(&mut self) -> Fallible {
        self.process.stop("KILL", LONGEST_START).await;
        self.process.start()?;
        let deadline = Instant::now() + LONGEST_START;
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if self.process.ended().is_some() || Instant::now() > deadline {
                return Err(format!("it does not answer: {}", self.process.last_words()).into());
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}
