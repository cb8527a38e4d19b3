//! All servers of one run, and the lines by which the pipelines reach them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rtbflow::testing::Proxy;
use tokio::time::{Instant, sleep};

use super::front::Front;
use super::postgres::ROLE;
use super::process::{command, free_port};
use super::relay::Relay;
use super::{Brokers, Postgres, Process, Redis};
use crate::Fallible;
use crate::faults::clock_file;
use crate::pipelines::Places;
use crate::topology::Topology;

const LONGEST_FAILOVER: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// The servers of one run.
pub(crate) struct World {
    pub(crate) topology: Topology,
    pub(crate) folder: PathBuf,
    pub(crate) places: Places,
    pub(crate) brokers: Brokers,
    /// The lines between the pipelines and the servers. The one to Kafka is for one broker.
    pub(crate) kafka_line: Option<Proxy>,
    pub(crate) postgres_line: Proxy,
    pub(crate) redis_line: Proxy,
    pub(crate) front: Option<Front>,
    pub(crate) postgres: Postgres,
    pub(crate) standby: Option<Postgres>,
    /// The line between the two.
    standby_line: Option<Proxy>,
    postgres_relay: Relay,
    /// The first is the primary.
    pub(crate) redis: Vec<Redis>,
    sentinel: Option<(u16, Process)>,
    redis_relay: Relay,
    copies: u32,
    /// Of Postgres; the last to go.
    _disk: Option<Disk>,
}

/// A small disk of a server's own, in memory.
struct Disk(PathBuf);

impl Disk {
    /// None where we may not make one.
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).ok()?;
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=700m", "tmpfs"]).arg(folder);
        let mounted = mount.stderr(std::process::Stdio::null()).status().ok()?;
        mounted.success().then(|| Self(folder.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is mounted for good is seen in the system's list of mounts.
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

impl World {
    /// Starts them. What is beside the nemesis's own folder are the brokers.
    pub(crate) async fn start(
        topology: Topology,
        folder: &Path,
        prefix: &str,
        has_clock: bool,
    ) -> Fallible<Self> {
        std::fs::create_dir_all(folder)?;
        let brokers = Brokers::find(topology.has_cluster())?;
        let kafka_line =
            if topology.has_cluster() { None } else { Some(kafka_line(&brokers).await?) };
        let disk =
            (topology == Topology::One).then(|| Disk::mount(&folder.join("postgres"))).flatten();
        let postgres = Postgres::create("postgres", &folder.join("postgres")).await?;
        let postgres_relay = Relay::to(&postgres.address()).await?;
        let front = Front::of(topology, postgres_relay.port(), &folder.join("front")).await?;
        let before = front.as_ref().map_or_else(|| postgres_relay.address(), Front::address);
        let postgres_line = Proxy::to(before).await?;
        let program = if topology == Topology::Valkey {
            std::env::var("RTBFLOW_NEMESIS_VALKEY")?
        } else {
            "redis-server".to_owned()
        };
        let redis = vec![Redis::create(&program, "redis", &folder.join("redis-0")).await?];
        let address = redis.first().map(Redis::address).unwrap_or_default();
        let redis_relay = Relay::to(&address).await?;
        let redis_line = Proxy::to(redis_relay.address()).await?;
        let kafka = kafka_line
            .as_ref()
            .map_or_else(|| brokers.addresses().to_owned(), |line| line.address().to_string());
        let places = Places {
            kafka,
            postgres: format!("postgres://{ROLE}@{}/rtb", postgres_line.address()),
            redis: format!("redis://{}/", redis_line.address()),
            prefix: prefix.to_owned(),
            environment: if has_clock { clock(folder)? } else { Vec::new() },
            names: 0,
        };
        let mut world = Self {
            topology,
            folder: folder.to_owned(),
            places,
            brokers,
            kafka_line,
            postgres_line,
            redis_line,
            front,
            postgres,
            standby: None,
            standby_line: None,
            postgres_relay,
            redis,
            sentinel: None,
            redis_relay,
            copies: 0,
            _disk: disk,
        };
        if topology.has_standby() {
            world.follow().await?;
        }
        if topology == Topology::Sentinel {
            world.guard(&program).await?;
        }
        Ok(world)
    }

    /// Gives Postgres a standby.
    async fn follow(&mut self) -> Fallible {
        self.copies += 1;
        let folder = self.folder.join(format!("postgres-{}", self.copies));
        let line = Proxy::to(self.postgres.address()).await?;
        let standby = self.postgres.standby("follower", line.address().port(), &folder).await?;
        (self.standby, self.standby_line) = (Some(standby), Some(line));
        if self.topology == Topology::Synchronous {
            self.postgres.wait_for("follower").await?;
        }
        Ok(())
    }

    /// Loses the primary, and goes on with its standby, which then gets one of its own. One that commits do not wait
    /// for has missed what was last written.
    pub(crate) async fn fail_over(&mut self, behind: Duration) -> Fallible {
        let standby = self.standby.take().ok_or("there is no standby")?;
        if let Some(line) = self.standby_line.take() {
            if self.topology == Topology::Asynchronous {
                line.freeze();
                sleep(behind).await;
            }
            self.postgres.stop_immediately().await;
            line.cut();
        }
        standby.promote().await?;
        self.postgres = standby;
        // The name of a standby came with the copy of the settings.
        self.postgres.wait_for("").await?;
        self.postgres_relay.turn_to(&self.postgres.address());
        self.follow().await
    }

    /// Gives Redis a replica, and a Sentinel that promotes it.
    async fn guard(&mut self, program: &str) -> Fallible {
        let replica = Redis::create(program, "replica", &self.folder.join("redis-1")).await?;
        let primary = self.primary()?.port;
        replica.say(&["REPLICAOF", "127.0.0.1", &primary.to_string()]).await?;
        self.redis.push(replica);
        let (port, folder) = (free_port()?, self.folder.join("sentinel"));
        std::fs::create_dir_all(&folder)?;
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor rtb 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds rtb 2000\nsentinel failover-timeout rtb 6000\n"
        );
        let file = folder.join("sentinel.conf");
        std::fs::write(&file, config)?;
        let line = command([program.into(), file.into_os_string(), "--sentinel".into()]);
        let mut sentinel = Process::new("sentinel", line, &folder)?;
        sentinel.start()?;
        self.sentinel = Some((port, sentinel));
        Ok(())
    }

    /// The Redis that takes writes.
    pub(crate) fn primary(&self) -> Fallible<&Redis> {
        self.redis.first().ok_or_else(|| "there is no Redis".into())
    }

    /// As [`primary`](Self::primary), to be killed and started.
    pub(crate) fn primary_mut(&mut self) -> Fallible<&mut Redis> {
        self.redis.first_mut().ok_or_else(|| "there is no Redis".into())
    }

    /// Waits until Sentinel has named another primary, and turns to it.
    pub(crate) async fn turn_to_promoted(&mut self) -> Fallible {
        let port = self.sentinel.as_ref().map_or(0, |(port, _)| *port);
        let old = self.primary()?.port;
        let deadline = Instant::now() + LONGEST_FAILOVER;
        loop {
            let named = super::redis::ask_at::<Vec<String>>(
                &format!("127.0.0.1:{port}"),
                redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg("rtb"),
            )
            .await;
            let named = named.ok().and_then(|named| named.get(1)?.parse::<u16>().ok());
            if let Some(port) = named.filter(|port| *port != old) {
                self.redis.sort_by_key(|server| server.port != port);
                self.redis_relay.turn_to(&self.primary()?.address());
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err("Sentinel has promoted nobody".into());
            }
            sleep(POLL).await;
        }
    }
}

/// A line to the one broker, which names itself by the line's address.
async fn kafka_line(brokers: &Brokers) -> Fallible<Proxy> {
    let server = brokers.addresses().to_owned();
    let named = |address: &str| -> Vec<u8> {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
        let port: i32 = port.parse().unwrap_or(0);
        [host.as_bytes(), &port.to_be_bytes()].concat()
    };
    let line = Proxy::to(server.clone()).await?;
    line.translate(named(&server), named(&line.address().to_string()));
    Ok(line)
}

/// Has instances go by a clock of their own, which faults set; nothing where that is not installed.
fn clock(folder: &Path) -> Fallible<Vec<(String, String)>> {
    let found =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"].iter().find_map(|libraries| {
            let library = format!("{libraries}/faketime/libfaketimeMT.so.1");
            Path::new(&library).exists().then_some(library)
        });
    let Some(library) = found else { return Ok(Vec::new()) };
    let file = clock_file(folder);
    std::fs::write(&file, "+0")?;
    let file = file.display().to_string();
    let variables = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_CACHE_DURATION", "1"),
        // Only the wall clock jumps.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    Ok(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}
