//! The command line that all pipelines share.
//!
//! An option can also come from the environment where the help says so; the option wins. Everything that
//! may hold a secret (URLs, options of the Kafka client) is a [`Secret`]: no `Debug`, help or error
//! message shows it.

mod duration;
mod refusal;
mod secret;
mod share;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use rtbflow::{Error, Result};
use rtbflow_sinks::postgres::{self, Postgres};
use rtbflow_sinks::redis::{self, Redis};

pub use duration::{ParseDurationError, parse_duration, positive_duration};
pub use refusal::Refusal;
pub use secret::Secret;
pub use share::{ParseShareError, parse_share};

use crate::process::Probed;

/// What becomes of a record that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeadLetterChoice {
    /// It goes to the dead-letter topic.
    Topic,
    /// It is counted, nothing more.
    Skip,
    /// The pipeline ends there, with exit code 1, and commits nothing beyond it.
    Fail,
}

/// What to do instead of running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Command {
    /// Removes what the pipeline keeps and what it has written, so that it can begin anew
    Reset,
}

/// The options that every pipeline has.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// What to do instead of running; says what that would be unless --confirm is given
    #[arg(value_enum, value_name = "COMMAND")]
    pub command: Option<Command>,

    /// Does what the command would do
    #[arg(long, requires = "command")]
    pub confirm: bool,

    /// For results that a reset cannot take back: they stay, and are written again by the next run
    #[arg(long, requires = "command")]
    pub keep_results: bool,

    /// For a reset though the first records are gone: results of them are lost for good
    #[arg(long, requires = "command")]
    pub accept_loss: bool,

    /// Kafka's bootstrap servers, host:port[,host:port...]
    #[arg(long, value_name = "HOST:PORT", env = "RTBFLOW_KAFKA", hide_env_values = true)]
    kafka: Option<Secret>,

    /// The URL of Redis, redis://host:port/database (rediss:// with TLS)
    #[arg(long, value_name = "URL", env = "RTBFLOW_REDIS", hide_env_values = true)]
    redis: Option<Secret>,

    /// The URL of Postgres, postgres://user@host:port/database
    #[arg(long, value_name = "URL", env = "RTBFLOW_POSTGRES", hide_env_values = true)]
    postgres: Option<Secret>,

    /// A file of certificate authorities (PEM) that Redis's certificate must come from, instead of those that
    /// browsers trust
    #[arg(long, value_name = "FILE")]
    redis_ca: Option<PathBuf>,

    /// A file of certificate authorities (PEM) that Postgres's certificate must come from, instead of those
    /// that browsers trust
    #[arg(long, value_name = "FILE")]
    postgres_ca: Option<PathBuf>,

    /// The consumer group, and the name of all that the pipeline keeps
    #[arg(long, default_value = "")]
    pub group: String,

    /// A name of this instance, different for each: restarted before its session runs out, it gets its
    /// partitions back and the others are not disturbed
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,

    /// The names of all instances, the same list for each process: it takes one that nobody has, or stands by until
    /// the heartbeat of one stops (not with Kafka as the place)
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', conflicts_with = "instance")]
    pub instances: Vec<String>,

    /// How long an instance's heartbeat must be missing until another process takes its name
    #[arg(long, value_name = "TIME", default_value = "600ms", value_parser = positive_duration)]
    pub failover_after: Duration,

    /// Reads on where a log does not hold the position (made anew, cut, or shortened by retention), which keeps
    /// what was made of what was read before; without it that is an error
    #[arg(long)]
    pub begin_anew: bool,

    /// Creates the topics that are missing
    #[arg(long)]
    pub create_topics: bool,

    /// Creates the tables that are missing
    #[arg(long)]
    pub create_tables: bool,

    /// The longest time between two commits
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = positive_duration)]
    pub commit_interval: Duration,

    /// By how much the event times of a partition may be out of order
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub out_of_orderness: Duration,

    /// How long a partition must stand at its end before its event time ticks on by the clock
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = positive_duration)]
    pub idle_timeout: Duration,

    /// How far a record may be ahead of the clock; beyond it is a dead letter
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub max_ahead: Duration,

    /// What becomes of records that cannot be used
    #[arg(long, value_enum, value_name = "CHOICE", default_value = "topic")]
    pub dead_letter: DeadLetterChoice,

    /// Ends with exit code 1 if a larger share of the input is late, such as 5%: at the end of a run, and
    /// while live each minute by the last ten minutes
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true, value_parser = parse_share)]
    pub max_late: Option<f64>,

    /// Ends with exit code 1 if a larger share of the input is bad, as --max-late
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true, value_parser = parse_share)]
    pub max_bad: Option<f64>,

    /// An option of the Kafka client (TLS, SASL, anything of librdkafka); can be given many times
    #[arg(long = "kafka-option", value_name = "KEY=VALUE")]
    kafka_options: Vec<Secret>,

    /// Serves /metrics (for Prometheus), /health/live and /health/ready at this address, such as
    /// 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,

    /// How long to wait for a server at the start
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = positive_duration)]
    pub connect_timeout: Duration,

    /// Reads what is there now, closes all windows, commits and ends
    #[arg(long)]
    pub until_end: bool,

    /// Prints what the pipeline consists of and ends; no server is asked
    #[arg(long)]
    pub print_topology: bool,

    /// Says more on stderr; twice, even more (RUST_LOG decides in detail)
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// The job that the health endpoint answers for.
    #[arg(skip)]
    pub probed: Probed,
}

impl Common {
    /// A server's address; one that nobody named does for a topology, which asks no server.
    fn server<'a>(
        &self,
        given: Option<&'a Secret>,
        flag: &str,
        anywhere: &'static str,
    ) -> Result<&'a str> {
        match given {
            Some(server) => Ok(server.expose()),
            None if self.print_topology => Ok(anywhere),
            None => Err(Error::config(format!(
                "start without a server: give --{flag} or set RTBFLOW_{}",
                flag.to_uppercase()
            ))),
        }
    }

    /// Kafka's bootstrap servers.
    ///
    /// # Errors
    /// If neither the option nor the variable is given.
    pub fn kafka(&self) -> Result<&str> {
        self.server(self.kafka.as_ref(), "kafka", "127.0.0.1:9092")
    }

    /// The URL of Redis.
    ///
    /// # Errors
    /// If neither the option nor the variable is given.
    pub fn redis(&self) -> Result<&str> {
        self.server(self.redis.as_ref(), "redis", "redis://127.0.0.1/")
    }

    /// The URL of Postgres.
    ///
    /// # Errors
    /// If neither the option nor the variable is given.
    pub fn postgres(&self) -> Result<&str> {
        self.server(self.postgres.as_ref(), "postgres", "postgres://127.0.0.1/")
    }

    /// How Redis is reached: its URL, and the authorities of its certificate.
    ///
    /// # Errors
    /// As [`redis`](Self::redis).
    pub fn to_redis(&self) -> Result<redis::Options> {
        let options = Redis::connect_to(self.redis()?);
        Ok(match &self.redis_ca {
            Some(path) => options.ca_file(path),
            None => options,
        })
    }

    /// How Postgres is reached: its URL, the authorities of its certificate, and whether tables are made.
    ///
    /// # Errors
    /// As [`postgres`](Self::postgres).
    pub fn to_postgres(&self) -> Result<postgres::Options> {
        let options = Postgres::connect_to(self.postgres()?).create_tables(self.create_tables);
        Ok(match &self.postgres_ca {
            Some(path) => options.ca_file(path),
            None => options,
        })
    }

    /// The options of the Kafka client, in order.
    ///
    /// # Errors
    /// If one has no `=`; the message does not repeat it. If one has a flag of its own.
    pub fn kafka_options(&self) -> Result<Vec<(&str, &str)>> {
        let pairs = self.kafka_options.iter().zip(1..);
        let pairs =
            pairs.map(|(option, number)| pair(option, number)).collect::<Result<Vec<_>>>()?;
        for (key, _) in &pairs {
            if let Some((_, flag)) = OWN_FLAGS.iter().find(|(owned, _)| owned == key) {
                return Err(Error::config(format!(
                    "read --kafka-option {key}: give {flag} instead"
                )));
            }
        }
        Ok(pairs)
    }
}

/// Options of the Kafka client that have a flag of their own.
const OWN_FLAGS: [(&str, &str); 4] = [
    ("bootstrap.servers", "--kafka"),
    ("metadata.broker.list", "--kafka"),
    ("group.id", "--group"),
    ("group.instance.id", "--instance"),
];

fn pair(option: &Secret, number: usize) -> Result<(&str, &str)> {
    match option.expose().split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim(), value)),
        Some(_) | None => Err(Error::config(format!(
            "read --kafka-option number {number}: it must be KEY=VALUE (it may be a secret and is not shown)"
        ))),
    }
}

/// The options of a pipeline: those of all, and its own.
#[derive(Debug, Clone, Parser)]
#[command(version, max_term_width = 100)]
pub struct Options<P: Args> {
    /// Those that every pipeline has.
    #[command(flatten)]
    pub common: Common,
    /// Its own.
    #[command(flatten)]
    pub pipeline: P,
}

/// A pipeline that has no options of its own.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct NoMore {}

impl<P: Args> Options<P> {
    /// Reads the options of the pipeline `name`, whose consumer group is `group` unless they say another.
    ///
    /// # Errors
    /// [`Refusal`] for a wrong option, and for `--help` and `--version` as well.
    pub fn read(
        name: &'static str,
        about: &'static str,
        group: &'static str,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, Refusal> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let command = Self::command().name(name).about(about);
        let mut command = command.mut_arg("group", |arg| arg.default_value(group));
        command
            .try_get_matches_from_mut(&arguments)
            .and_then(|mut matches| Self::from_arg_matches_mut(&mut matches))
            .map_err(|error| Refusal::new(error.format(&mut command), &arguments))
            .and_then(|options| {
                options.common.kafka_options().map_err(|error| Refusal::of(&error))?;
                Ok(options)
            })
    }
}

#[cfg(test)]
mod tests;
