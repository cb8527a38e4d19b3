//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::figures::Build;

/// What a round measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    /// A backlog from its start to its end: processor time, wall time, peak memory, threads, commits
    Cost,
    /// A process with nothing to do: share of a core, threads, memory
    Idle,
    /// A process that stays after a backlog: its peak memory, and what it holds a minute later
    Backlog,
    /// Open clicks of conversion-matching: bytes for each in memory, after a restart and in Postgres, and the
    /// first new row after a kill
    Clicks,
    /// Clicks at a fixed rate: from the time that each was due, and from its acknowledgement, to its commit by
    /// balance-worker as a reader sees it
    Latency,
    /// Snapshots of one group that wait for rtb-ranking: as cost
    Snapshots,
}

/// Compares the pipelines of two builds on the same topics, in turn
#[derive(Debug, Parser)]
#[command(name = "./dev compare REV", max_term_width = 100)]
pub(crate) struct Options {
    /// The pipelines, by their binaries' names; some are chosen if none is named
    pipelines: Vec<String>,

    /// What to measure
    #[arg(long, value_enum, default_value = "cost")]
    pub(crate) measure: Measure,

    /// How often each build has its turn
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,

    /// How many ad-events, clicks or snapshots there are; the default is that of the measure
    #[arg(long)]
    records: Option<u64>,

    /// Clicks a second, for the latency
    #[arg(long, default_value_t = 5_000)]
    pub(crate) rate: u32,

    /// For how long a process that has nothing to do is watched, in seconds; before that, after a backlog, as long
    /// again is waited
    #[arg(long, default_value_t = 30)]
    seconds: u64,

    /// The binaries of the revision
    #[arg(long, hide = true)]
    before: PathBuf,

    /// Its name
    #[arg(long, hide = true)]
    pub(crate) before_name: String,

    /// The binaries of the working tree
    #[arg(long, hide = true)]
    after: PathBuf,

    /// Its name
    #[arg(long, hide = true)]
    pub(crate) after_name: String,

    /// The file of the raw figures
    #[arg(long, hide = true)]
    pub(crate) raw: PathBuf,

    #[arg(long, hide = true, env = "RTBFLOW_KAFKA")]
    pub(crate) kafka: String,

    #[arg(long, hide = true, env = "RTBFLOW_REDIS")]
    pub(crate) redis: String,

    #[arg(long, hide = true, env = "RTBFLOW_POSTGRES")]
    pub(crate) postgres: String,
}

impl Options {
    pub(crate) fn records(&self) -> u64 {
        self.records.unwrap_or(match self.measure {
            Measure::Cost | Measure::Backlog | Measure::Clicks => 2_000_000,
            Measure::Idle => 0,
            Measure::Latency => u64::from(self.rate) * 30,
            Measure::Snapshots => 10_000,
        })
    }

    /// How long a process is watched.
    pub(crate) fn watched(&self) -> Duration {
        Duration::from_secs(self.seconds.max(1))
    }

    pub(crate) fn pipelines(&self) -> Vec<String> {
        let chosen: &[&str] = match self.measure {
            Measure::Cost | Measure::Idle | Measure::Backlog => &[
                "performance",
                "duplicate-clicks",
                "conversion-matching",
                "balance-worker",
                "budget-worker",
            ],
            Measure::Clicks => &["conversion-matching"],
            Measure::Latency => &["balance-worker"],
            Measure::Snapshots => &["rtb-ranking"],
        };
        let may_choose = matches!(self.measure, Measure::Cost | Measure::Idle | Measure::Backlog);
        if may_choose && !self.pipelines.is_empty() {
            return self.pipelines.clone();
        }
        chosen.iter().map(|&name| name.to_owned()).collect()
    }

    /// The folder with the binaries of a build.
    pub(crate) fn binaries(&self, build: Build) -> &Path {
        match build {
            Build::Before => &self.before,
            Build::After => &self.after,
        }
    }
}
