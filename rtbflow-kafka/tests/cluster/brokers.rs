//! The three brokers: who kills or freezes one brings it back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rtbflow::clock::{Clock, SystemClock};
use rtbflow_kafka::{Kafka, TopicSpec};

pub(crate) const NODES: [i32; 3] = [1, 2, 3];
/// How long a broker may take to start and to catch up.
const LONGEST_RECOVERY: Duration = Duration::from_secs(90);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: the tests need three brokers; run ./dev test")
    })
}

pub(crate) fn addresses() -> String {
    variable("RTBFLOW_TEST_KAFKA_CLUSTER")
}

pub(crate) fn kafka() -> Kafka {
    Kafka::new(addresses())
}

/// A name that nothing in the cluster has.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-{name}-{}-{next}", SystemClock.now().as_millis())
}

/// A new topic with a copy on each broker.
pub(crate) async fn topic(name: &str, partitions: u32) -> String {
    let name = unique(name);
    let spec = TopicSpec::new(&name, partitions, Duration::from_secs(3600));
    kafka().create_topics(&[spec]).await.unwrap();
    name
}

/// The brokers, for one test at a time; all are well again when it is dropped.
#[expect(dead_code, reason = "held, so that no other test has the brokers")]
pub(crate) struct Brokers(MutexGuard<'static, ()>);

impl Brokers {
    pub(crate) fn take() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        Self(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn folder() -> PathBuf {
        PathBuf::from(variable("RTBFLOW_TEST_KAFKA_BROKERS"))
    }

    fn pid(node: i32) -> String {
        let pid = std::fs::read_to_string(Self::folder().join(format!("cluster-{node}.pid")));
        pid.unwrap().trim().to_owned()
    }

    /// Whether the process is there: it is known by the folder in which it runs.
    fn runs(node: i32) -> bool {
        let runs_in = std::fs::read_link(format!("/proc/{}/cwd", Self::pid(node)));
        runs_in.is_ok_and(|folder| folder == Self::folder().join(format!("cluster-{node}")))
    }

    fn signal(node: i32, signal: &str) -> bool {
        let mut kill = Command::new("kill");
        kill.args(["-s", signal, &Self::pid(node)]).stderr(Stdio::null());
        kill.status().unwrap().success()
    }

    /// Ends a broker at once.
    pub(crate) fn kill(&self, node: i32) {
        assert!(Self::signal(node, "KILL"), "broker {node} was not there");
        while Self::runs(node) {
            std::thread::yield_now();
        }
    }

    /// From now on it does nothing, and its connections stay.
    pub(crate) fn freeze(&self, node: i32) {
        assert!(Self::signal(node, "STOP"), "broker {node} was not there");
    }

    /// Starts a broker that was killed.
    #[expect(clippy::unused_self, reason = "who has the brokers may")]
    pub(crate) fn start(&self, node: i32) {
        // It outlives this test, and is nobody's child.
        let mut start = Command::new("sh");
        start.args(["-c", "setsid sh \"$0\" &"]);
        start.arg(Self::folder().join(format!("cluster/start-{node}")));
        start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(start.status().unwrap().success());
    }

    /// All brokers run, and every partition has a copy on each that is as far as its leader.
    pub(crate) fn recover(&self) {
        for node in NODES {
            if Self::runs(node) {
                assert!(Self::signal(node, "CONT"), "broker {node} went");
                continue;
            }
            self.start(node);
        }
        let deadline = SystemClock.now() + LONGEST_RECOVERY;
        // Each is asked: one that was frozen says for a while what was so before.
        while !addresses().split(',').all(sees_all_copies) {
            assert!(SystemClock.now() < deadline, "the brokers are not well again");
        }
    }

    /// The leaders of a topic's partitions.
    pub(crate) fn leaders(&self, topic: &str) -> Vec<i32> {
        let mut config = ClientConfig::new();
        let asking: BaseConsumer = config.set("bootstrap.servers", addresses()).create().unwrap();
        let metadata = asking.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions.map(|at| at.leader()).collect()
    }
}

/// Whether the broker at this address knows of all brokers, and of a copy of each partition on each that is as far
/// as its leader.
fn sees_all_copies(address: &str) -> bool {
    let mut config = ClientConfig::new();
    // A new client knows this one alone, and so asks this one.
    let asking: BaseConsumer = config.set("bootstrap.servers", address).create().unwrap();
    let Ok(metadata) = asking.fetch_metadata(None, Duration::from_secs(2)) else {
        return false;
    };
    let brokers: BTreeSet<i32> = metadata.brokers().iter().map(|broker| broker.id()).collect();
    let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    brokers.len() == NODES.len() && partitions.all(|at| at.isr().len() == at.replicas().len())
}

impl Drop for Brokers {
    fn drop(&mut self) {
        self.recover();
    }
}
