//! A Postgres of the run's own, whose commits are durable, as in earnest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

use super::process::{Process, command, free_port, not_root, run};
use crate::Fallible;

/// The role that the pipelines have: it owns its database and is nothing else.
pub(crate) const ROLE: &str = "pipeline";
const LONGEST_START: Duration = Duration::from_secs(60);
const LONGEST_STOP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// What takes all room.
const FILLED: &str = "filled";

/// What is there before the pipelines: their role, their database, and the API server's table.
const CAMPAIGNS: &str = "create table campaigns (campaign_id text primary key, advertiser_id text, \
     daily_budget bigint, status text, paused_reason text, updated_at timestamptz)";

/// A server.
#[derive(Debug)]
pub(crate) struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    pub(crate) port: u16,
    pub(crate) process: Process,
}

/// The newest of Debian's, or what is in the path.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |folder: &PathBuf| {
        folder.file_name().and_then(|name| name.to_string_lossy().parse::<u32>().ok())
    };
    let whole = versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists());
    whole.max_by_key(number).map_or_else(PathBuf::new, |folder| folder.join("bin"))
}

fn own(folder: &Path) -> Fallible {
    std::fs::create_dir_all(folder)?;
    if let Some(user) = not_root() {
        let given = std::process::Command::new("chown").arg(user).arg(folder).status()?;
        if !given.success() {
            return Err(format!("chown {user} {}", folder.display()).into());
        }
    }
    Ok(())
}

impl Postgres {
    fn at(name: &str, folder: &Path) -> Fallible<Self> {
        let (programs, data, port) = (programs(), folder.join("data"), free_port()?);
        own(folder)?;
        let mut line = command([programs.join("postgres")]);
        line.extend(command(["-D".into(), data.clone().into_os_string()]));
        line.extend(command(["-p".to_owned(), port.to_string()]));
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            "max_wal_size=128MB",
            "wal_keep_size=64MB",
            "timezone=UTC",
            "fsync=on",
            "log_line_prefix=%m [%p] ",
        ] {
            line.extend(command(["-c", setting]));
        }
        let process = Process::new(name, line, folder)?.user(not_root()).last_signal("QUIT");
        Ok(Self { programs, data, port, process })
    }

    /// Fills the disk that its data are on, which is its own.
    pub(crate) fn fill_disk(&self) -> Fallible {
        let folder = self.data.parent().unwrap_or(&self.data);
        let mounts = std::fs::read_to_string("/proc/mounts")?;
        let own = format!(" {} tmpfs ", folder.display());
        if !mounts.contains(&own) {
            return Err("its data have no disk of their own (that takes root)".into());
        }
        let mut fill = std::process::Command::new("dd");
        fill.args(["if=/dev/zero", "bs=64k", &format!("of={}", folder.join(FILLED).display())]);
        // It ends when nothing more fits in.
        fill.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status()?;
        Ok(())
    }

    /// There is room again; a server that has given up is started.
    pub(crate) async fn empty_disk(&mut self) -> Fallible {
        std::fs::remove_file(self.data.parent().unwrap_or(&self.data).join(FILLED))?;
        if self.process.ended().is_some() || self.process.pid().is_none() {
            self.start().await?;
        }
        Ok(())
    }

    /// Starts a new one, with the role and the database of the pipelines.
    pub(crate) async fn create(name: &str, folder: &Path) -> Fallible<Self> {
        let mut server = Self::at(name, folder)?;
        let mut line = command([server.programs.join("initdb")]);
        line.extend(command([
            "-U",
            "rtbflow",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
        ]));
        line.push(server.data.clone().into_os_string());
        run(not_root(), folder, &line).await?;
        server.start().await?;
        let admin = server.connect_to("postgres").await?;
        for statement in [
            &format!("create role {ROLE} login connection limit 200"),
            &format!("create database rtb owner {ROLE}"),
        ] {
            admin.batch_execute(statement).await?;
        }
        let admin = server.admin().await?;
        admin.batch_execute(CAMPAIGNS).await?;
        admin.batch_execute(&format!("grant select, update on campaigns to {ROLE}")).await?;
        Ok(server)
    }

    /// A copy of this server that follows it by the port of a line to it, under a name that commits can be made to
    /// wait for.
    pub(crate) async fn standby(&self, name: &str, line: u16, folder: &Path) -> Fallible<Self> {
        let mut server = Self::at(name, folder)?;
        let source = format!("host=127.0.0.1 port={line} user=rtbflow application_name={name}");
        let mut line = command([server.programs.join("pg_basebackup")]);
        line.extend(command(["-R", "-X", "stream", "-c", "fast", "-d", &source, "-D"]));
        line.push(server.data.clone().into_os_string());
        run(not_root(), folder, &line).await?;
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
        while self.connect_to("postgres").await.is_err() {
            if self.process.ended().is_some() {
                return Err(format!("Postgres ended at once: {}", self.process.last_words()).into());
            }
            if Instant::now() > deadline {
                return Err(
                    format!("Postgres does not answer: {}", self.process.last_words()).into()
                );
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Ends it as `pg_ctl stop -m immediate` does: without a checkpoint, and its sessions with it.
    pub(crate) async fn stop_immediately(&mut self) {
        self.process.stop("QUIT", LONGEST_STOP).await;
    }

    /// Freezes or thaws the server with all that it has started.
    pub(crate) fn signal_all(&self, name: &str) {
        let Some(pid) = self.process.pid() else { return };
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([pid]) {
            super::signal(pid, name);
        }
    }

    async fn connect_to(&self, database: &str) -> Fallible<Client> {
        connect(&format!("postgres://rtbflow@{}/{database}", self.address())).await
    }

    /// A session of the superuser in the pipelines' database.
    pub(crate) async fn admin(&self) -> Fallible<Client> {
        self.connect_to("rtb").await
    }

    /// Has commits wait for the standby of this name; for none if it is empty.
    pub(crate) async fn wait_for(&self, standby: &str) -> Fallible {
        let admin = self.connect_to("postgres").await?;
        // In a session that waits for nobody itself.
        admin.batch_execute("set synchronous_commit = local").await?;
        admin
            .batch_execute(&format!("alter system set synchronous_standby_names = '{standby}'"))
            .await?;
        admin.batch_execute("select pg_reload_conf()").await?;
        Ok(())
    }

    /// A standby becomes a server of its own.
    pub(crate) async fn promote(&self) -> Fallible {
        self.connect_to("postgres").await?.execute("select pg_promote(true, 30)", &[]).await?;
        Ok(())
    }
}

/// A session that ends when the client is dropped.
pub(crate) async fn connect(url: &str) -> Fallible<Client> {
    let connect = tokio_postgres::connect(url, NoTls);
    let (client, connection) = tokio::time::timeout(Duration::from_secs(5), connect).await??;
    // Whoever uses the client learns of its end.
    tokio::spawn(async { drop(connection.await) });
    Ok(client)
}
