//! Options of librdkafka: which are the library's own, which are for which client, which are secret.

use std::borrow::Cow;
use std::sync::Arc;

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads, or asks for offsets.
    Consumer,
    /// Writes, or creates topics.
    Producer,
}

/// Options that mean something to consumers only; a producer would warn of them.
const CONSUMERS_ONLY: &[&str] = &[
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// Options that mean something to producers only; a consumer would warn of them.
const PRODUCERS_ONLY: &[&str] = &[
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "linger.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "partitioner",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
];

const NOT_RESET: &str = "a position outside of the log is an error, never a silent jump";
const POSITIONS: &str = "positions are kept where the results are, not by the consumer";
const COUNTED: &str = "every record has to be delivered and acknowledged";
const HASHED: &str = "keys are hashed as the Java client does";

/// Options that the library owns: the values it can live with, and why no other.
const OWNED: &[(&str, &[&str], &str)] = &[
    ("bootstrap.servers", &[], "the address is given to Kafka::new"),
    ("metadata.broker.list", &[], "the address is given to Kafka::new"),
    ("group.id", &[], "the job's name is the group"),
    ("group.instance.id", &[], "give the topic an instance name instead (KafkaTopic::instance)"),
    (
        "group.protocol",
        &["classic"],
        "with another protocol a restarted instance is kept out for long",
    ),
    ("group.remote.assignor", &[], "the classic group protocol is used"),
    ("enable.auto.commit", &["false"], POSITIONS),
    ("auto.commit.enable", &["false"], POSITIONS),
    ("auto.commit.interval.ms", &[], POSITIONS),
    ("enable.auto.offset.store", &["false"], POSITIONS),
    ("offset.store.method", &[], POSITIONS),
    ("offset.store.path", &[], POSITIONS),
    ("offset.store.sync.interval.ms", &[], POSITIONS),
    ("enable.partition.eof", &["false"], "with it records can be lost"),
    ("auto.offset.reset", &["error"], NOT_RESET),
    ("isolation.level", &["read_committed"], "records of aborted transactions are no records"),
    ("acks", &["all", "-1"], COUNTED),
    ("request.required.acks", &["all", "-1"], COUNTED),
    ("enable.idempotence", &["true"], COUNTED),
    ("delivery.report.only.error", &["false"], COUNTED),
    ("partitioner", &["murmur2_random"], HASHED),
    ("transactional.id", &[], "the library names its transactions itself"),
    ("log.queue", &[], "the library serves the log itself"),
    ("log.thread.name", &["true"], "the library serves the log itself"),
    ("enabled_events", &[], "the library serves the events itself"),
    ("opaque", &[], "it is the library's"),
];

/// Why the library does not let this option be set to this value.
pub(crate) fn refusal(key: &str, value: &str) -> Option<&'static str> {
    if key == "partition.assignment.strategy" {
        let cooperative = value.split(',').any(|name| name.trim().starts_with("cooperative"));
        return cooperative
            .then_some("tasks drop all their partitions in a rebalance: use range or roundrobin");
    }
    if key.ends_with("_cb") {
        return Some("callbacks are the library's");
    }
    let (_, fitting, reason) = OWNED.iter().find(|(owned, ..)| *owned == key)?;
    (!fitting.contains(&value)).then_some(*reason)
}

/// Whether the library sets the option itself, so that a fitting value need not be passed on.
pub(crate) fn is_owned(key: &str) -> bool {
    OWNED.iter().any(|(owned, ..)| *owned == key)
}

/// Whether an option means something to a client.
pub(crate) fn is_for(role: Role, key: &str) -> bool {
    let others = match role {
        Role::Consumer => PRODUCERS_ONLY,
        Role::Producer => CONSUMERS_ONLY,
    };
    !others.contains(&key)
}

/// Whether an option's value must never be printed.
pub(crate) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let words = ["password", "passphrase", "secret", "token", "pem", "jaas", "private"];
    key.starts_with("sasl.oauthbearer.") || words.iter().any(|word| key.contains(word))
}

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// The values that must never be printed.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<[String]>);

impl Secrets {
    /// The secrets among these options.
    pub(crate) fn of<'a>(options: impl Iterator<Item = (&'a String, &'a String)>) -> Self {
        let secret = options.filter(|(key, value)| is_secret(key) && !value.is_empty());
        Self(secret.map(|(_, value)| value.clone()).collect())
    }

    /// The text without any of the secrets.
    pub(crate) fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let found = self.0.iter().filter(|secret| text.contains(secret.as_str()));
        found.fold(Cow::Borrowed(text), |text, secret| Cow::Owned(text.replace(secret, REDACTED)))
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_records_is_refused() {
        for (key, value) in [
            ("enable.auto.commit", "true"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_uncommitted"),
            ("acks", "1"),
            ("partition.assignment.strategy", "range,cooperative-sticky"),
            ("group.protocol", "consumer"),
            ("rebalance_cb", "0x1"),
        ] {
            assert!(refusal(key, value).is_some(), "{key}={value}");
        }
    }

    #[test]
    fn the_rest_passes_to_the_client_that_knows_it() {
        for key in ["session.timeout.ms", "heartbeat.interval.ms", "fetch.wait.max.ms"] {
            assert!(refusal(key, "1").is_none());
            assert!(is_for(Role::Consumer, key) && !is_for(Role::Producer, key));
        }
        for key in ["transaction.timeout.ms", "linger.ms"] {
            assert!(refusal(key, "1").is_none());
            assert!(!is_for(Role::Consumer, key) && is_for(Role::Producer, key));
        }
        assert!(refusal("acks", "all").is_none());
        assert!(is_for(Role::Consumer, "sasl.username") && is_for(Role::Producer, "debug"));
    }

    #[test]
    fn a_secret_is_taken_out_of_every_text() {
        let options = [("sasl.password".to_owned(), "hunter2".to_owned())];
        let secrets = Secrets::of(options.iter().map(|(key, value)| (key, value)));
        assert_eq!(secrets.scrub("as a:hunter2 failed"), "as a:[redacted] failed");
        for key in ["ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.config", "my.token"] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("sasl.username") && !is_secret("session.timeout.ms"));
    }
}
