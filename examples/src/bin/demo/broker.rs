//! The Kafka of the demonstration: one that lives in this process, or a real one.
//!
//! The one in this process is librdkafka's mock. It keeps a few megabytes per partition and then forgets
//! the oldest records without a word, so whoever sends must not run far ahead of the readers.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rtbflow::{Error, Result};
use rtbflow_examples::topics::{SystemTopic, specs};
use rtbflow_kafka::Kafka;

/// Just above the three seconds for which the one in this process lets the first of a group wait.
const SHORT_SESSION: &str = "session.timeout.ms=3100";

/// Where records go through.
pub(crate) enum Broker {
    /// In this process, for as long as this value lives.
    Mock {
        /// Keeps it alive.
        cluster: MockCluster<'static, DefaultProducerContext>,
    },
    /// Somewhere else.
    Real {
        /// Its bootstrap servers.
        servers: String,
    },
}

impl Broker {
    /// Starts a Kafka in this process, with the topics of the system.
    pub(crate) fn mock() -> Result<Self> {
        let failed = |error| Error::permanent("start a Kafka in this process").because(error);
        let cluster = MockCluster::new(1).map_err(failed)?;
        for topic in SystemTopic::ALL {
            let partitions = i32::try_from(topic.partitions()).unwrap_or(1);
            cluster.create_topic(topic.name(), partitions, 1).map_err(failed)?;
            let dead_letters = format!("{}.dead-letter", topic.name());
            cluster.create_topic(&dead_letters, partitions, 1).map_err(failed)?;
        }
        Ok(Self::Mock { cluster })
    }

    /// A Kafka that runs already; makes the topics that are missing there.
    pub(crate) async fn real(servers: &str) -> Result<Self> {
        Kafka::new(servers).create_topics(&specs(&SystemTopic::ALL, &[])).await?;
        Ok(Self::Real { servers: servers.to_owned() })
    }

    /// Its bootstrap servers.
    pub(crate) fn servers(&self) -> String {
        match self {
            Self::Mock { cluster } => cluster.bootstrap_servers(),
            Self::Real { servers } => servers.clone(),
        }
    }

    /// Whether it has transactions: the one in this process takes the calls and does nothing.
    pub(crate) fn has_transactions(&self) -> bool {
        matches!(self, Self::Real { .. })
    }

    /// The options that a pipeline needs beside the servers, so that one that was killed comes back soon: a
    /// real Kafka knows it by its name, the one in this process waits until the session of the dead is over.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let options: &[&str] = match self {
            Self::Mock { .. } => &["--kafka-option", SHORT_SESSION],
            Self::Real { .. } => &["--instance", "demo"],
        };
        options.iter().copied().map(str::to_owned).collect()
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({})", self.servers())
    }
}
