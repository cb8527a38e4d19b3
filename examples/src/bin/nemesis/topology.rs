//! What the pipelines run on.

use clap::ValueEnum;

use crate::pipelines::Keeps;

/// A combination of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topology {
    /// One broker, Postgres and Redis, reached directly
    One,
    /// Three brokers, each record on all, of which two have to have it
    Three,
    /// Postgres behind PgBouncer, which pools sessions
    Session,
    /// Postgres behind PgBouncer, which pools transactions
    Transaction,
    /// Postgres behind `HAProxy`, which ends connections that are idle for two seconds
    Haproxy,
    /// Postgres with a standby that each commit waits for, and that is promoted
    Synchronous,
    /// Postgres with a standby that is behind when it is promoted
    Asynchronous,
    /// Valkey in the place of Redis
    Valkey,
    /// Redis with a replica that Sentinel promotes
    Sentinel,
}

impl Topology {
    /// The name on the command line and in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Three => "three",
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Haproxy => "haproxy",
            Self::Synchronous => "synchronous",
            Self::Asynchronous => "asynchronous",
            Self::Valkey => "valkey",
            Self::Sentinel => "sentinel",
        }
    }

    /// Whether there are three brokers.
    pub(crate) fn has_cluster(self) -> bool {
        self == Self::Three
    }

    /// The place that loses what was committed last when a replica that is behind takes over.
    pub(crate) fn forgets(self) -> Option<Keeps> {
        match self {
            Self::Asynchronous => Some(Keeps::Postgres),
            Self::Sentinel => Some(Keeps::Redis),
            Self::One
            | Self::Three
            | Self::Session
            | Self::Transaction
            | Self::Haproxy
            | Self::Synchronous
            | Self::Valkey => None,
        }
    }

    /// Whether Postgres has a standby.
    pub(crate) fn has_standby(self) -> bool {
        matches!(self, Self::Synchronous | Self::Asynchronous)
    }
}

/// The brokers that these need, by the names that `./dev` knows.
pub(crate) fn brokers(topologies: &[Topology]) -> Vec<&'static str> {
    let mut names = Vec::new();
    if topologies.iter().any(|topology| topology.has_cluster()) {
        names.push("cluster");
    }
    if topologies.iter().any(|topology| !topology.has_cluster()) {
        names.push("kafka");
    }
    names
}
