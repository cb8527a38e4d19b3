//! A Kafka cluster: its address and the options of its clients.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::MetadataTopic;
use rtbflow::{Error, Result};

use crate::client::blocking::blocking;
use crate::client::context::Callbacks;
use crate::client::deadline::Deadline;
use crate::client::failure::{answered, failure};
use crate::client::offsets::serve_events;
use crate::client::option::{self, REDACTED, Role, Secrets, is_secret};
use crate::client::outages::Outages;

/// What librdkafka takes its time for by default: it looks for new leaders each five minutes
/// where nothing reported one, believes an answer of a topic that it does not read or write for a quarter of
/// an hour, and waits a minute for a broker that is frozen. A client that only asks would keep asking the one
/// that died.
const PROMPT: &[(&str, &str)] = &[
    ("topic.metadata.refresh.interval.ms", "3000"),
    ("metadata.max.age.ms", "9000"),
    ("socket.timeout.ms", "6000"),
    ("socket.connection.setup.timeout.ms", "10000"),
    ("reconnect.backoff.max.ms", "1000"),
];

/// The longest time until the caller learns why no broker answers.
const REASON_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one request for a topic may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two requests for a topic that is not there yet.
const TOPIC_PAUSE: Duration = Duration::from_millis(50);

/// A Kafka cluster: its address and the options of its clients. Clones are cheap enough to pass around.
///
/// Nothing connects before it is used. Values of secret options (passwords, tokens, keys) are never
/// printed, neither here nor in logs and errors.
///
/// ```
/// use rtbflow_kafka::Kafka;
///
/// let kafka = Kafka::new("127.0.0.1:9092")
///     .option("security.protocol", "plaintext")
///     .option("sasl.password", "hunter2");
/// assert!(!format!("{kafka:?}").contains("hunter2"));
/// assert!(kafka.validate().is_ok());
/// assert!(kafka.option("enable.auto.commit", "true").validate().is_err());
/// ```
#[derive(Clone)]
pub struct Kafka {
    servers: String,
    options: BTreeMap<String, String>,
    outages: Arc<Outages>,
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redact = |(key, value): (&String, &String)| {
            let value = if is_secret(key) { REDACTED.to_owned() } else { value.clone() };
            (key.clone(), value)
        };
        let options: BTreeMap<_, _> = self.options.iter().map(redact).collect();
        f.debug_struct("Kafka").field("servers", &self.servers).field("options", &options).finish()
    }
}

impl Kafka {
    /// The cluster that these brokers belong to: `host:port`, several with commas between them.
    #[must_use]
    pub fn new(servers: impl Into<String>) -> Self {
        Self { servers: servers.into(), options: BTreeMap::new(), outages: Arc::default() }
    }

    /// Sets an option of librdkafka for all clients that know it, consumers and producers alike: TLS,
    /// SASL, time-outs, sizes. Options that the library relies on are refused when it is used; see
    /// [`validate`](Self::validate).
    /// <https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>
    #[must_use]
    pub fn option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(key.into().trim().to_owned(), value.into());
        self
    }

    /// The brokers' addresses.
    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    /// What must not be printed.
    pub(crate) fn secrets(&self) -> Secrets {
        Secrets::of(self.options.iter())
    }

    /// The time that an option in milliseconds was set to.
    pub(crate) fn millis(&self, key: &str) -> Option<Duration> {
        // What is no number is refused by librdkafka, as a client is made of it.
        let ms = self.value(key)?.trim().parse().ok().filter(|ms| *ms > 0)?;
        Some(Duration::from_millis(ms))
    }

    /// The value that an option was set to.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    /// Checks the address and the options, without connecting.
    ///
    /// # Errors
    /// A configuration error that names the option and says why: it is unknown, its value is not
    /// accepted, or the library needs it otherwise.
    pub fn validate(&self) -> Result<()> {
        for role in [Role::Consumer, Role::Producer] {
            let config = self.config(role, &[])?;
            let made = config.create_native_config();
            made.map_err(|error| failure("set the Kafka options", &error, &self.secrets()))?;
        }
        Ok(())
    }

    /// Checks the options and that a broker answers within this time.
    ///
    /// # Errors
    /// A configuration error if an option is wrong, or if the broker refuses user, password or
    /// certificate; transient, naming the address, if no broker answers.
    pub async fn check(&self, timeout: Duration) -> Result<()> {
        self.validate()?;
        let (kafka, deadline) = (self.clone(), Deadline::after(timeout));
        let attempt = format!("reach Kafka at {}", self.servers);
        let outer = timeout + Duration::from_secs(2);
        blocking(&attempt, outer, move || kafka.reach(deadline)).await
    }

    /// Asks for the brokers until one answers or the time is over.
    fn reach(&self, deadline: Deadline) -> Result<()> {
        let client = self.query_client("check")?;
        let reason_due = Deadline::after(REASON_TIMEOUT);
        loop {
            let wait = deadline.left().clamp(Duration::from_millis(10), Duration::from_secs(2));
            let answer = client.client().fetch_cluster_id(wait);
            serve_events(&client);
            if answer.is_some() {
                return Ok(());
            }
            let last = client.client().context().last_error();
            let refused = last.as_ref().is_some_and(|(code, _)| is_refusal(*code));
            // Once librdkafka has said why, waiting longer in here adds nothing.
            if refused || deadline.is_over() || (last.is_some() && reason_due.is_over()) {
                let attempt = format!("reach Kafka at {}", self.servers);
                let reason =
                    last.map_or_else(|| "no broker answers".to_owned(), |(_, reason)| reason);
                let error =
                    if refused { Error::config(attempt) } else { Error::transient(attempt) };
                return Err(error.because(self.secrets().scrub(&reason).into_owned()));
            }
        }
    }

    /// A client that reads nothing and belongs to no group.
    pub(crate) fn query_client(&self, purpose: &str) -> Result<BaseConsumer<Callbacks>> {
        let own = [("isolation.level", "read_committed"), ("enable.partition.eof", "false")];
        self.client(Role::Consumer, purpose, &own)
    }

    /// How many partitions a topic has; `None` if there is no such topic, even after a while.
    pub(crate) fn partitions(
        &self,
        client: &BaseConsumer<Callbacks>,
        topic: &str,
        patience: Duration,
    ) -> Result<Option<u32>> {
        let deadline = Deadline::after(patience);
        loop {
            let metadata = client.fetch_metadata(Some(topic), REQUEST_TIMEOUT);
            serve_events(client);
            let attempt = format!("ask Kafka at {} for topic {topic}", self.servers());
            let metadata = metadata.map_err(|error| failure(&attempt, &error, &self.secrets()))?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let code = found.and_then(MetadataTopic::error).map(Code::from);
            match (found, code) {
                (Some(found), None) if !found.partitions().is_empty() => {
                    let count = u32::try_from(found.partitions().len());
                    let beyond =
                        |_| Error::broken("a topic has more partitions than can be numbered");
                    return count.map(Some).map_err(beyond);
                }
                // A topic that was just made is known to one broker after the other, first without its partitions.
                (_, None | Some(Code::UnknownTopicOrPartition | Code::LeaderNotAvailable)) => {}
                (_, Some(code)) => return Err(answered(attempt, code)),
            }
            if deadline.is_over() {
                return Ok(None);
            }
            std::thread::park_timeout(TOPIC_PAUSE);
        }
    }

    /// A client with the user's options and these of our own, which win.
    pub(crate) fn client<C>(&self, role: Role, purpose: &str, own: &[(&str, &str)]) -> Result<C>
    where
        C: FromClientConfigAndContext<Callbacks>,
    {
        let config = self.config(role, own)?;
        let debugs = self.options.contains_key("debug");
        let context = Callbacks::new(purpose, self.secrets(), debugs, Arc::clone(&self.outages));
        let made = config.create_with_context(context);
        made.map_err(|error| {
            let attempt = format!("make a Kafka client for {}", self.servers);
            failure(attempt, &error, &self.secrets())
        })
    }

    /// The options of a client: ours that may be overridden come first in `own` as `?key`.
    pub(crate) fn config(&self, role: Role, own: &[(&str, &str)]) -> Result<ClientConfig> {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info).set("bootstrap.servers", &self.servers);
        // In this order, of which the last wins: what suits most clusters, what the user says, what we rely on.
        for (key, value) in PROMPT {
            config.set(*key, *value);
        }
        self.set_options(role, &mut config)?;
        self.set_own(own, &mut config);
        if config.get("debug").is_some() {
            config.set_log_level(RDKafkaLogLevel::Debug);
        }
        Ok(config)
    }

    fn set_options(&self, role: Role, config: &mut ClientConfig) -> Result<()> {
        for (key, value) in &self.options {
            if let Some(reason) = option::refusal(key, value) {
                let shown = if is_secret(key) { REDACTED } else { value };
                let option = format!("set the Kafka option {key}={shown}");
                return Err(Error::config(option).because(reason));
            }
            if option::is_for(role, key) && !option::is_owned(key) {
                config.set(key, value);
            }
        }
        Ok(())
    }

    fn set_own(&self, own: &[(&str, &str)], config: &mut ClientConfig) {
        for (key, value) in own {
            let (key, gives_way) = match key.strip_prefix('?') {
                Some(key) => (key, self.options.contains_key(key)),
                None => (*key, false),
            };
            match self.options.get(key).filter(|_| key == "debug") {
                // Both: the user's lines are shown, ours are read.
                Some(wanted) => drop(config.set(key, format!("{wanted},{value}"))),
                None if gives_way => {}
                None => drop(config.set(key, *value)),
            }
        }
    }
}

/// Whether the broker refuses who we are, which no retry will change.
fn is_refusal(code: Code) -> bool {
    matches!(code, Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_ours_wins_and_a_default_gives_way() {
        let kafka = Kafka::new("a:1").option("session.timeout.ms", "1234").option("acks", "all");
        let own = [("?session.timeout.ms", "6000"), ("?fetch.wait.max.ms", "10"), ("acks", "-1")];
        let config = kafka.config(Role::Consumer, &own).unwrap();
        assert_eq!(config.get("session.timeout.ms"), Some("1234"));
        assert_eq!(config.get("fetch.wait.max.ms"), Some("10"));
        assert_eq!(config.get("acks"), Some("-1"));
        assert_eq!(kafka.config(Role::Producer, &[]).unwrap().get("session.timeout.ms"), None);
    }

    #[test]
    fn every_client_finds_new_leaders_by_itself_and_soon_gives_up_a_broker_that_is_silent() {
        let kafka = Kafka::new("a:1");
        for role in [Role::Consumer, Role::Producer] {
            let config = kafka.config(role, &[]).unwrap();
            let ms = |key| config.get(key).unwrap().parse::<u64>().unwrap();
            // Together they are less than a task may be silent for: 35 s.
            assert!(ms("topic.metadata.refresh.interval.ms") <= 5_000);
            assert!(ms("metadata.max.age.ms") <= 10_000 && ms("socket.timeout.ms") <= 10_000);
        }
        let slow = kafka.option("socket.timeout.ms", "60000");
        let config = slow.config(Role::Consumer, &[]).unwrap();
        assert_eq!(
            config.get("socket.timeout.ms"),
            Some("60000"),
            "whoever says otherwise gets it"
        );
    }

    #[test]
    fn a_wrong_option_is_a_configuration_error_that_names_it() {
        for (key, value) in [("no.such.option", "1"), ("session.timeout.ms", "soon")] {
            let error = Kafka::new("a:1").option(key, value).validate().unwrap_err();
            assert!(error.is_config() && error.report().contains(key), "{error:?}");
        }
        let error =
            Kafka::new("a:1").option("enable.partition.eof", "true").validate().unwrap_err();
        assert!(error.report().contains("records can be lost"), "{error:?}");
    }
}
