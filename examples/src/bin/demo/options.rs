//! The command line of the demonstration.

use std::time::Duration;

use clap::Parser;
use rtbflow_examples::options::{Secret, parse_duration};

/// Generates seeded traffic of the system, runs the pipelines, kills one of them, and proves the money.
///
/// Each pipeline is a process of its own, so that a kill is one: SIGKILL, in the middle of whatever it does.
/// Without URLs it starts a private Redis and a private Postgres, which end with it, and a Kafka that
/// lives in this process.
#[derive(Debug, Clone, Parser)]
#[command(name = "demo", version, max_term_width = 100)]
pub(crate) struct DemoOptions {
    /// Decides the traffic
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,

    /// Records of ad-events in a second
    #[arg(long, value_name = "RECORDS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=200_000))]
    pub(crate) rate: u64,

    /// How long traffic is generated
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(crate) duration: Duration,

    /// Kills the pipelines again and again, as long as there is traffic; otherwise one of them, once
    #[arg(long)]
    pub(crate) chaos: bool,

    /// How many times faster than the clock event time runs; it ends at the present
    #[arg(long, value_name = "TIMES", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) speed: u32,

    /// A real Kafka instead of the one in this process
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) real_kafka: Option<String>,

    /// A Redis of yours instead of a private one
    #[arg(long, value_name = "URL", env = "RTBFLOW_REDIS", hide_env_values = true)]
    pub(crate) redis: Option<Secret>,

    /// A Postgres of yours instead of a private one; tables are made in a schema of their own
    #[arg(long, value_name = "URL", env = "RTBFLOW_POSTGRES", hide_env_values = true)]
    pub(crate) postgres: Option<Secret>,

    /// Says more on stderr; twice, even more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}
