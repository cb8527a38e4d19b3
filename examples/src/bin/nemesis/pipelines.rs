//! The pipelines as the nemesis runs them: in which order they depend on each other, and their options.

use rtbflow_examples::pipeline::{self, Pipeline};

/// How far event times may be out of order where time decides what is late: more than two of the four sources lag.
pub(crate) const OUT_OF_ORDERNESS_MS: i64 = 10 * 60 * 1_000;
/// Where no record is to be late: more than any source lags.
const LONGEST_LAG: &str = "6h";
/// Each window takes records for this much longer.
pub(crate) const ALLOWED_LATENESS_MS: i64 = 60 * 1_000;
/// How soon the group notices that an instance is gone.
pub(crate) const SESSION_MS: u64 = 6_000;

/// A pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// S2.
    Performance,
    /// S4.
    Duplicates,
    /// W1.
    Balance,
    /// W2.
    Budget,
    /// S3.
    Matching,
    /// W3, which reads what S4 writes.
    Compensation,
    /// S1, which reads what S2 writes.
    Ranking,
}

/// Where a pipeline keeps its positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    Postgres,
    Redis,
    Kafka,
}

impl Kind {
    /// Each behind those whose results it reads.
    pub(crate) const ALL: [Self; 7] = [
        Self::Performance,
        Self::Duplicates,
        Self::Balance,
        Self::Budget,
        Self::Matching,
        Self::Compensation,
        Self::Ranking,
    ];

    pub(crate) fn pipeline(self) -> Pipeline {
        match self {
            Self::Performance => pipeline::PERFORMANCE,
            Self::Duplicates => pipeline::DUPLICATES,
            Self::Balance => pipeline::BALANCE,
            Self::Budget => pipeline::BUDGET,
            Self::Matching => pipeline::MATCHING,
            Self::Compensation => pipeline::COMPENSATION,
            Self::Ranking => pipeline::RANKING,
        }
    }

    /// The name of its binary, which its dead letters carry.
    pub(crate) fn name(self) -> &'static str {
        self.pipeline().name
    }

    pub(crate) fn keeps(self) -> Keeps {
        match self {
            Self::Performance | Self::Ranking => Keeps::Redis,
            Self::Duplicates => Keeps::Kafka,
            Self::Balance | Self::Budget | Self::Matching | Self::Compensation => Keeps::Postgres,
        }
    }

    /// Whether it is given the URLs of Postgres and of Redis.
    fn needs(self) -> (bool, bool) {
        match self {
            Self::Performance | Self::Ranking => (false, true),
            Self::Duplicates => (false, false),
            Self::Balance | Self::Matching | Self::Compensation => (true, false),
            Self::Budget => (true, true),
        }
    }
}

/// Where the instances of one run read and write.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) kafka: String,
    pub(crate) postgres: String,
    pub(crate) redis: String,
    /// Begins the names of the consumer groups, which no other run has.
    pub(crate) prefix: String,
    /// What goes into the environment of each instance besides.
    pub(crate) environment: Vec<(String, String)>,
    /// How many names the instances of a pipeline have, where its place can hold them; none if 0.
    pub(crate) names: u8,
}

impl Places {
    /// The same for instances without names.
    pub(crate) fn without_names(&self) -> Self {
        Self { names: 0, ..self.clone() }
    }

    /// The consumer group of a pipeline.
    pub(crate) fn group(&self, kind: Kind) -> String {
        format!("{}-{}", self.prefix, kind.name())
    }

    /// The command line of an instance. No partition is ever idle for long enough: event time stands where the
    /// records are, and results are a function of them.
    pub(crate) fn arguments(&self, kind: Kind) -> Vec<String> {
        let lag = match kind {
            Kind::Performance | Kind::Duplicates => format!("{OUT_OF_ORDERNESS_MS}ms"),
            Kind::Balance | Kind::Budget | Kind::Matching | Kind::Compensation | Kind::Ranking => {
                LONGEST_LAG.to_owned()
            }
        };
        let session = format!("session.timeout.ms={SESSION_MS}");
        let mut arguments: Vec<String> = [
            ("--kafka", self.kafka.as_str()),
            ("--group", &self.group(kind)),
            ("--idle-timeout", "24h"),
            ("--out-of-orderness", &lag),
            ("--kafka-option", &session),
            ("--kafka-option", "heartbeat.interval.ms=1000"),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value.to_owned()])
        .collect();
        arguments.push("--create-topics".to_owned());
        if self.has_tables(kind) {
            arguments.push("--create-tables".to_owned());
        }
        if self.names > 0 && kind.keeps() != Keeps::Kafka {
            let names: Vec<String> =
                (0..self.names).map(|number| format!("name-{number}")).collect();
            arguments.extend(["--instances".to_owned(), names.join(",")]);
        }
        arguments
    }

    fn has_tables(&self, kind: Kind) -> bool {
        kind.needs().0
    }

    /// What is in its environment, where no list of processes shows it.
    pub(crate) fn environment(&self, kind: Kind) -> Vec<(String, String)> {
        let (postgres, redis) = kind.needs();
        let mut environment = self.environment.clone();
        if postgres {
            environment.push(("RTBFLOW_POSTGRES".to_owned(), self.postgres.clone()));
        }
        if redis {
            environment.push(("RTBFLOW_REDIS".to_owned(), self.redis.clone()));
        }
        environment
    }
}
