//! The pipelines of the demonstration: where each reads, where it keeps its positions, and its command line.

use std::process::Command;

use rtbflow_examples::pipeline::{
    BALANCE, BUDGET, COMPENSATION, DUPLICATES, MATCHING, PERFORMANCE, Pipeline, RANKING,
};

use crate::progress::{At, Ends};

/// Where the pipelines read and write.
#[derive(Clone)]
pub(crate) struct Places {
    /// Kafka's bootstrap servers.
    pub(crate) kafka: String,
    /// Whether that Kafka has transactions.
    pub(crate) has_transactions: bool,
    /// The pipelines' options beside the servers.
    pub(crate) arguments: Vec<String>,
    /// The URL of Redis.
    pub(crate) redis: String,
    /// The URL of Postgres.
    pub(crate) postgres: String,
    /// Makes groups of their own where the servers are somebody else's.
    pub(crate) group_prefix: Option<String>,
    /// How often the pipelines say more.
    pub(crate) verbose: u8,
}

/// Where a pipeline keeps its positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    Postgres,
    Redis,
    /// Its group's offsets.
    Kafka,
}

/// A pipeline that takes part.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    /// What is known of it.
    pub(crate) pipeline: Pipeline,
    /// Where it keeps its positions.
    pub(crate) keeps: Keeps,
    /// Its consumer group.
    pub(crate) group: String,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    is_quiet: bool,
}

/// What a pipeline is given in its environment, where no list of processes shows it, and nothing else of it.
const VARIABLES: [&str; 3] = ["RTBFLOW_KAFKA", "RTBFLOW_REDIS", "RTBFLOW_POSTGRES"];
/// Says in detail what is logged.
const LOGS: &str = "RUST_LOG";

/// All pipelines.
pub(crate) fn all(places: &Places) -> Vec<Role> {
    let [_, redis, postgres] = VARIABLES;
    let (in_redis, in_postgres) = ((redis, &places.redis), (postgres, &places.postgres));
    let duplicates = if places.has_transactions {
        Role::new(places, (DUPLICATES, Keeps::Kafka), &[], &[])
    } else {
        Role::new(places, (DUPLICATES, Keeps::Postgres), &[], &[in_postgres])
    };
    vec![
        Role::new(places, (RANKING, Keeps::Redis), &[], &[in_redis]),
        Role::new(places, (PERFORMANCE, Keeps::Redis), &["--early=1s"], &[in_redis]),
        Role::new(places, (MATCHING, Keeps::Postgres), &[], &[in_postgres]),
        duplicates,
        Role::new(places, (BALANCE, Keeps::Postgres), &[], &[in_postgres]),
        Role::new(places, (BUDGET, Keeps::Postgres), &[], &[in_postgres, in_redis]),
        Role::new(places, (COMPENSATION, Keeps::Postgres), &[], &[in_postgres]),
    ]
}

impl Role {
    fn new(
        places: &Places,
        (pipeline, keeps): (Pipeline, Keeps),
        more: &[&str],
        servers: &[(&'static str, &String)],
    ) -> Self {
        let group = match &places.group_prefix {
            Some(prefix) => format!("{prefix}-{}", pipeline.name),
            None => pipeline.group.to_owned(),
        };
        let [kafka, ..] = VARIABLES;
        let servers = servers.iter().copied().chain([(kafka, &places.kafka)]);
        let environment = servers.map(|(variable, url)| (variable, url.clone())).collect();
        // A step quieter than they are by themselves, as the demonstration is.
        let verbose = (1..places.verbose).map(|_| "--verbose");
        let arguments = ["--create-tables", "--group", &group]
            .into_iter()
            .chain(places.arguments.iter().map(String::as_str))
            .chain(more.iter().copied())
            .chain(verbose)
            .map(str::to_owned)
            .collect();
        let is_quiet = places.verbose == 0;
        Self { pipeline, keeps, group, arguments, environment, is_quiet }
    }

    /// One that nobody has given anything.
    #[cfg(test)]
    pub(crate) fn of(pipeline: Pipeline) -> Self {
        let (arguments, environment) = Default::default();
        let group = pipeline.group.to_owned();
        Self { pipeline, keeps: Keeps::Kafka, group, arguments, environment, is_quiet: true }
    }

    /// The name.
    pub(crate) fn name(&self) -> &'static str {
        self.pipeline.name
    }

    /// Of all partitions those that it reads.
    pub(crate) fn own(&self, ends: &Ends) -> Ends {
        let is_own = |(topic, _): &At| self.pipeline.reads.contains(topic);
        ends.iter().filter(|(at, _)| is_own(at)).map(|(at, end)| (*at, *end)).collect()
    }

    /// Gives a command what the pipeline needs to know.
    pub(crate) fn instruct(&self, command: &mut Command) {
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        let environment = self.environment.iter().map(|(variable, url)| (variable, url));
        command.args(&self.arguments).envs(environment);
        if self.is_quiet && std::env::var_os(LOGS).is_none() {
            // That it was looked for in vain while another was killed is no news.
            command.env(LOGS, "error");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places {
            kafka: "127.0.0.1:9092".to_owned(),
            has_transactions: false,
            arguments: vec!["--instance=demo".to_owned()],
            redis: "redis://:secret@127.0.0.1/".to_owned(),
            postgres: "postgres://me:secret@127.0.0.1/".to_owned(),
            group_prefix: None,
            verbose: 3,
        }
    }

    #[test]
    fn no_list_of_processes_shows_a_secret() {
        for role in all(&places()) {
            let mut command = Command::new(role.name());
            role.instruct(&mut command);
            let shown: Vec<_> = command.get_args().filter_map(|shown| shown.to_str()).collect();
            assert!(!shown.iter().any(|shown| shown.contains("secret")), "{shown:?}");
            assert!(shown.contains(&"--instance=demo"), "{shown:?}");
            assert_eq!(shown.iter().filter(|shown| **shown == "--verbose").count(), 2);
        }
    }

    #[test]
    fn a_pipeline_knows_the_servers_that_it_needs_and_no_other() {
        let servers = |role: &Role| {
            let mut command = Command::new(role.name());
            role.instruct(&mut command);
            let given = command.get_envs().filter_map(|(name, value)| value.and(name.to_str()));
            let given: Vec<_> = given.filter_map(|name| name.strip_prefix("RTBFLOW_")).collect();
            given.join(" ")
        };
        let with_transactions = Places { has_transactions: true, ..places() };
        let duplicates = |places: &Places| {
            let roles = all(places);
            let role = roles.iter().find(|role| role.pipeline == DUPLICATES).unwrap();
            (role.keeps, servers(role))
        };
        assert_eq!(duplicates(&places()), (Keeps::Postgres, "KAFKA POSTGRES".to_owned()));
        assert_eq!(duplicates(&with_transactions), (Keeps::Kafka, "KAFKA".to_owned()));
        let roles = all(&places());
        let budget = roles.iter().find(|role| role.pipeline == BUDGET).unwrap();
        assert_eq!(servers(budget), "KAFKA POSTGRES REDIS");
    }
}
