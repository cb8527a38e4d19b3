//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::topology::Topology;

/// Runs the seven pipelines on generated traffic while everything around them goes wrong, and checks to the record
/// and to the won what they leave. The same seed gives the same traffic and the same order of faults.
#[derive(Debug, Clone, Parser)]
#[command(name = "nemesis", version)]
pub(crate) struct NemesisOptions {
    /// Decides the traffic, and which faults come when
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,

    /// For how long faults are done, all topologies together; what they leave is checked behind that
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0)]
    pub(crate) minutes: f64,

    /// What the pipelines run on, one after the other; can be given many times
    #[arg(
        long = "topology",
        value_enum,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "one"
    )]
    pub(crate) topologies: Vec<Topology>,

    /// Only these faults, by their names in the report; all that the topology has unless given
    #[arg(long = "fault", value_name = "NAME", value_delimiter = ',')]
    pub(crate) faults: Vec<String>,

    /// How many records of ad-events are sent in a second
    #[arg(long, value_name = "RECORDS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(8..=5_000))]
    pub(crate) rate: u32,

    /// How many instances of each pipeline run
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) instances: u8,

    /// How many names these instances have, but for those whose place is Kafka: the others stand by. Without names
    /// unless given
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub(crate) names: u8,

    /// Where the report is written (Markdown), besides the standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// For how many seconds a pipeline may be silent once a fault has ended
    #[arg(long, value_name = "SECONDS", default_value_t = 35)]
    pub(crate) silence: u64,

    /// The folder of the run: data of its servers, logs of all; a new one in the system's temporary folder unless
    /// given. It is removed unless something was violated
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,

    /// Says which brokers the topologies need, and ends
    #[arg(long)]
    pub(crate) servers: bool,
}
