//! The brokers, which `./dev` has started: each is known by its folder, and started again by its script.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::process::{Process, command, signal};
use crate::Fallible;
use crate::load::stretched;

const LONGEST_RECOVERY: Duration = Duration::from_secs(120);
const LONGEST_ANSWER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// One broker or three.
#[derive(Debug)]
pub(crate) struct Brokers {
    addresses: String,
    folder: PathBuf,
    /// What they are called there.
    names: Vec<String>,
    /// Those that were started again.
    again: Vec<Process>,
    /// One that may write no more.
    full: Option<usize>,
}

fn variable(name: &str) -> Fallible<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| format!("{name} is not set: run ./dev nemesis").into())
}

impl Brokers {
    /// Those that the environment names.
    pub(crate) fn find(are_three: bool) -> Fallible<Self> {
        let folder = PathBuf::from(variable("RTBFLOW_TEST_KAFKA_BROKERS")?);
        let (addresses, names) = if are_three {
            (
                variable("RTBFLOW_TEST_KAFKA_CLUSTER")?,
                ["cluster-1", "cluster-2", "cluster-3"].as_slice(),
            )
        } else {
            (variable("RTBFLOW_TEST_KAFKA")?, ["kafka"].as_slice())
        };
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Ok(Self { addresses, folder, names, again: Vec::new(), full: None })
    }

    /// Their addresses.
    pub(crate) fn addresses(&self) -> &str {
        &self.addresses
    }

    /// Their numbers among each other, from 0 on.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.names.len()).collect()
    }

    fn name(&self, node: usize) -> &str {
        self.names.get(node).map_or("", String::as_str)
    }

    fn pid(&self, node: usize) -> Option<u32> {
        let name = self.name(node);
        let pid = std::fs::read_to_string(self.folder.join(format!("{name}.pid"))).ok()?;
        let pid = pid.trim().parse().ok()?;
        // It is known by the folder in which it runs: no other process with its number has that.
        let runs_in = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        (runs_in == self.folder.join(name)).then_some(pid)
    }

    /// Sends a broker a signal.
    pub(crate) fn signal(&self, node: usize, name: &str) -> Fallible {
        match self.pid(node) {
            Some(pid) if signal(pid, name) => Ok(()),
            Some(_) | None => Err(format!("broker {} is not there", self.name(node)).into()),
        }
    }

    /// From now on a broker cannot write beyond this size of a file: to it, its disk is full.
    pub(crate) fn fill_disk(&mut self, node: usize) -> Fallible {
        self.full = Some(node);
        let pid = self.pid(node).ok_or("the broker is not there")?;
        limit_files(pid, "4096")
    }

    /// Ends a broker by this signal, and waits until it is gone.
    pub(crate) async fn stop(&mut self, node: usize, name: &str) -> Fallible {
        self.signal(node, name)?;
        let deadline = Instant::now() + stretched(LONGEST_RECOVERY);
        while self.pid(node).is_some() {
            self.again.retain_mut(|process| process.ended().is_none());
            if Instant::now() > deadline {
                return Err(format!("broker {} does not end", self.name(node)).into());
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts a broker that has ended.
    pub(crate) fn start(&mut self, node: usize) -> Fallible {
        let script = if self.names.len() > 1 {
            self.folder.join(format!("cluster/start-{}", node + 1))
        } else {
            self.folder.join("start-kafka")
        };
        let folder = self.folder.join(format!("again-{}", self.name(node)));
        let line = command(["/bin/sh".into(), script.into_os_string()]);
        let mut process = Process::new(self.name(node), line, &folder)?;
        process.start()?;
        self.again.push(process);
        Ok(())
    }

    /// Waits until all are there, and each partition has all its copies.
    pub(crate) async fn recover(&mut self) -> Fallible {
        if let Some(node) = self.full.take().filter(|node| self.pid(*node).is_some()) {
            self.stop(node, "KILL").await?;
        }
        for node in self.all() {
            if self.pid(node).is_some() {
                self.signal(node, "CONT")?;
            } else {
                self.start(node)?;
            }
        }
        let deadline = Instant::now() + stretched(LONGEST_RECOVERY);
        while !self.are_well().await {
            if Instant::now() > deadline {
                return Err("the brokers are not well again".into());
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn are_well(&self) -> bool {
        let (addresses, count) = (self.addresses.clone(), self.names.len());
        let look = move || {
            let mut config = ClientConfig::new();
            let asking: BaseConsumer = config.set("bootstrap.servers", addresses).create().ok()?;
            let metadata = asking.fetch_metadata(None, LONGEST_ANSWER).ok()?;
            let brokers: BTreeSet<i32> = metadata.brokers().iter().map(|at| at.id()).collect();
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            let are_whole =
                partitions.all(|at| at.isr().len() == at.replicas().len() && at.leader() >= 0);
            Some(brokers.len() == count && are_whole)
        };
        tokio::task::spawn_blocking(look).await.ok().flatten().unwrap_or(false)
    }

    /// Which broker leads a partition.
    pub(crate) async fn leader(&self, topic: &str, partition: i32) -> Fallible<usize> {
        let (addresses, topic) = (self.addresses.clone(), topic.to_owned());
        let look = move || -> Fallible<usize> {
            let mut config = ClientConfig::new();
            let asking: BaseConsumer = config.set("bootstrap.servers", addresses).create()?;
            let metadata = asking.fetch_metadata(Some(&topic), LONGEST_ANSWER)?;
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            let leader = partitions.find(|at| at.id() == partition).map_or(-1, |at| at.leader());
            Ok(usize::try_from(leader - 1)?)
        };
        tokio::task::spawn_blocking(look).await?
    }

    /// Has each partition led by the first of those that have it again, as an operator does after a restart.
    pub(crate) async fn elect_preferred(&self) -> Fallible {
        let address = self.addresses.split(',').next().unwrap_or_default();
        let mut broker = TcpStream::connect(address).await?;
        // ElectLeaders in its first version: of all partitions, within 30 s.
        let mut request: Vec<u8> = vec![0, 43, 0, 0, 0, 0, 0, 1, 0, 7];
        request.extend(b"nemesis");
        request.extend((-1_i32).to_be_bytes());
        request.extend(30_000_i32.to_be_bytes());
        let length = u32::try_from(request.len())?;
        broker.write_all(&[&length.to_be_bytes(), request.as_slice()].concat()).await?;
        let answer = tokio::time::timeout(LONGEST_RECOVERY, broker.read_u32()).await??;
        if answer > 4 { Ok(()) } else { Err("no leaders were elected".into()) }
    }
}

/// The bytes that a process may write into one file, from now on.
pub(crate) fn limit_files(pid: u32, bytes: &str) -> Fallible {
    let mut limit = std::process::Command::new("prlimit");
    limit.args(["--pid", &pid.to_string(), &format!("--fsize={bytes}")]);
    if limit.status()?.success() { Ok(()) } else { Err("prlimit is refused".into()) }
}
