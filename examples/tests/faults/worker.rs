//! A pipeline's process: its log, its signals and its end.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use rtbflow_examples::pipeline::{self, Pipeline};

use crate::stage::{SOON, Stage, kafka};

/// The pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// W1, `balance-worker`.
    Balance,
    /// S2, `performance`.
    Performance,
    /// S3, `conversion-matching`.
    Matching,
    /// S4, `duplicate-clicks`.
    Duplicates,
    /// W3, `compensation-worker`.
    Compensation,
    /// W2, `budget-worker`.
    Budget,
    /// S1, `rtb-ranking`.
    Ranking,
}

/// How a process is to be started.
pub(crate) struct Start {
    kind: Kind,
    arguments: Vec<String>,
    /// What `RUST_LOG` is to be.
    logs: Option<&'static str>,
}

impl Kind {
    /// All of them, each behind those whose results it reads.
    pub(crate) const ALL: [Self; 7] = [
        Self::Balance,
        Self::Duplicates,
        Self::Compensation,
        Self::Matching,
        Self::Budget,
        Self::Ranking,
        Self::Performance,
    ];

    /// What is known of it.
    pub(crate) fn pipeline(self) -> Pipeline {
        match self {
            Self::Balance => pipeline::BALANCE,
            Self::Performance => pipeline::PERFORMANCE,
            Self::Matching => pipeline::MATCHING,
            Self::Duplicates => pipeline::DUPLICATES,
            Self::Compensation => pipeline::COMPENSATION,
            Self::Budget => pipeline::BUDGET,
            Self::Ranking => pipeline::RANKING,
        }
    }

    /// The name that its dead letters carry.
    pub(crate) fn name(self) -> &'static str {
        self.pipeline().name
    }
}

impl Stage {
    /// A process with this stage's places. No partition is taken for idle, so that event
    /// time stands where the records are.
    pub(crate) fn start(&self, kind: Kind) -> Start {
        let start = Start::bare(kind)
            .with("--kafka", kafka())
            .with("--idle-timeout", "10m")
            .with("--kafka-option", "session.timeout.ms=3000");
        match kind {
            Kind::Balance | Kind::Matching | Kind::Compensation => start
                .with("--group", &self.ledger.group)
                .with("--postgres", self.ledger.url())
                .flag("--create-tables"),
            Kind::Budget => start
                .with("--group", &self.ledger.group)
                .with("--postgres", self.ledger.url())
                .with("--redis", self.cache.url())
                .flag("--create-tables"),
            Kind::Performance | Kind::Ranking => {
                start.with("--group", &self.cache.group).with("--redis", self.cache.url())
            }
            Kind::Duplicates => start.with("--group", &self.ledger.group),
        }
    }
}

impl Start {
    /// A process of which nothing is said yet.
    pub(crate) fn bare(kind: Kind) -> Self {
        Self { kind, arguments: Vec::new(), logs: None }
    }

    /// Without a flag that was given.
    pub(crate) fn without(mut self, flag: &str) -> Self {
        self.arguments.retain(|argument| argument != flag);
        self
    }

    /// With as many logs as this filter lets through.
    pub(crate) fn logging(self, filter: &'static str) -> Self {
        Self { logs: Some(filter), ..self }
    }

    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.arguments.push(flag.to_owned());
        self
    }

    /// An option; it takes the place of an earlier one, but for options of Kafka.
    pub(crate) fn with(mut self, option: &str, value: impl Into<String>) -> Self {
        let earlier = self.arguments.iter().position(|argument| argument == option);
        if let Some(at) = earlier.filter(|_| option != "--kafka-option") {
            self.arguments.drain(at..at + 2);
        }
        self.arguments.extend([option.to_owned(), value.into()]);
        self
    }

    pub(crate) fn run(self) -> Worker {
        let program = match self.kind {
            Kind::Balance => env!("CARGO_BIN_EXE_balance-worker"),
            Kind::Performance => env!("CARGO_BIN_EXE_performance"),
            Kind::Matching => env!("CARGO_BIN_EXE_conversion-matching"),
            Kind::Duplicates => env!("CARGO_BIN_EXE_duplicate-clicks"),
            Kind::Compensation => env!("CARGO_BIN_EXE_compensation-worker"),
            Kind::Budget => env!("CARGO_BIN_EXE_budget-worker"),
            Kind::Ranking => env!("CARGO_BIN_EXE_rtb-ranking"),
        };
        let mut child = Command::new(program)
            .args(self.arguments)
            .env_remove("RUST_LOG")
            .envs(self.logs.map(|filter| ("RUST_LOG", filter)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (write, log) = watch::channel(String::new());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut stdout = child.stdout.take().unwrap();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                write.send_modify(|log| *log += &format!("{line}\n"));
            }
        });
        let said = tokio::spawn(async move {
            let mut text = String::new();
            stdout.read_to_string(&mut text).await.unwrap();
            text
        });
        Worker { kind: self.kind, child, log, said }
    }
}

/// A process that is killed with this value.
pub(crate) struct Worker {
    kind: Kind,
    child: Child,
    log: watch::Receiver<String>,
    said: JoinHandle<String>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
    /// What it wrote to stdout.
    pub(crate) said: String,
    /// The last line of that.
    accounting: Option<Value>,
}

impl Ended {
    /// A number of the accounting line, whose classes must add up.
    pub(crate) fn count(&self, class: &str) -> i64 {
        let accounting = self.accounting.as_ref().unwrap_or_else(|| panic!("no account: {self:?}"));
        let count = |class: &str| accounting[class].as_i64().unwrap();
        let classes =
            ["decoded", "filtered", "late", "duplicates", "dead_lettered", "skipped", "pending"];
        let sum: i64 = classes.into_iter().map(count).sum();
        assert_eq!(count("records_in"), sum, "{accounting}");
        count(class)
    }
}

impl Worker {
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What was logged by now.
    pub(crate) fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// How often this was logged.
    pub(crate) fn said(&self, text: &str) -> usize {
        self.log.borrow().matches(text).count()
    }

    /// Waits until the log is so.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&str) -> bool) {
        let mut log = self.log.clone();
        let seen = timeout(SOON, log.wait_for(|log| holds(log))).await;
        if !matches!(seen, Ok(Ok(_))) {
            let log = self.log();
            panic!("{:?} does not say {what:?} within {SOON:?} or has ended:\n{log}", self.kind);
        }
    }

    /// Waits until it has logged this text as often as `times` says.
    pub(crate) async fn until_said(&self, text: &str, times: usize) {
        self.until(text, |log| log.matches(text).count() >= times).await;
    }

    /// Waits until it has tasks.
    pub(crate) async fn until_assigned(&self) {
        self.until("assigned", |log| !tasks(log).is_empty()).await;
    }

    /// The tasks that were assigned to it last.
    pub(crate) fn tasks(&self) -> Vec<u32> {
        tasks(&self.log.borrow())
    }

    /// Sends a signal by its short name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it has ended");
        // The shell's own `kill`: a program of that name is not on every machine.
        let kill = format!("kill -{name} {pid}");
        let sent = std::process::Command::new("/bin/sh").args(["-c", &kill]).status();
        assert!(sent.unwrap().success(), "{kill}");
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let pid = self.child.id().expect("it has ended");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    /// Waits for its end.
    pub(crate) async fn end(self) -> Ended {
        self.end_within(SOON).await
    }

    /// Asks it to end, and waits as long as is promised.
    pub(crate) async fn stop(self) -> Ended {
        self.signal("TERM");
        self.end_within(Duration::from_secs(10)).await
    }

    async fn end_within(mut self, patience: Duration) -> Ended {
        let Ok(status) = timeout(patience, self.child.wait()).await else {
            panic!("{:?} has not ended within {patience:?}:\n{}", self.kind, self.log());
        };
        let code = status.as_ref().ok().and_then(ExitStatus::code);
        let mut log = self.log.clone();
        // An error says that the log is complete.
        let _ = log.wait_for(|_| false).await;
        let said = (&mut self.said).await.unwrap();
        let accounting = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
        Ended { code, log: self.log.borrow().clone(), said, accounting }
    }
}

impl Drop for Worker {
    /// A test that fails says what its processes have said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}:\n{}", self.kind, self.log());
        }
    }
}

/// The tasks of the last assignment in a log.
fn tasks(log: &str) -> Vec<u32> {
    let assigned = log.lines().rev().find(|line| line.contains("assigned job="));
    let Some((_, tasks)) = assigned.and_then(|line| line.split_once("tasks=[")) else {
        return Vec::new();
    };
    let tasks = tasks.trim_end().trim_end_matches(']').split(", ");
    tasks.filter_map(|task| task.split_once('/')?.0.parse().ok()).collect()
}
