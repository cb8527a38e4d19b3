//! Makes the library's errors of rdkafka's.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rtbflow::{Error, ErrorKind};

use crate::client::option::{REDACTED, Secrets, is_secret};

/// Answers that somebody has to change something for.
const CONFIG: &[Code] = &[
    Code::TopicAuthorizationFailed,
    Code::GroupAuthorizationFailed,
    Code::ClusterAuthorizationFailed,
    Code::TransactionalIdAuthorizationFailed,
    Code::SaslAuthenticationFailed,
    Code::UnsupportedSASLMechanism,
    Code::InvalidTopic,
    Code::InvalidGroupId,
    Code::InvalidSessionTimeout,
    Code::InvalidConfig,
    Code::InvalidPartitions,
    Code::PolicyViolation,
    Code::InconsistentGroupProtocol,
    Code::UnsupportedVersion,
    Code::UnsupportedFeature,
    Code::InvalidTransactionTimeout,
    Code::InvalidArgument,
];

/// Answers that would come again.
const PERMANENT: &[Code] = &[
    Code::MessageSizeTooLarge,
    Code::InvalidMessageSize,
    Code::InvalidMessage,
    Code::InvalidRecord,
    Code::MessageBatchTooLarge,
    Code::InvalidTimestamp,
];

/// Answers that say that another instance has taken this one's place.
const FENCED: &[Code] = &[Code::FencedInstanceId, Code::Fenced, Code::ProducerFenced];

/// The kind of answer that a code asks for.
pub(crate) fn kind(code: Code) -> ErrorKind {
    if CONFIG.contains(&code) {
        ErrorKind::Config
    } else if PERMANENT.contains(&code) {
        ErrorKind::Permanent
    } else if FENCED.contains(&code) {
        ErrorKind::Fenced
    } else {
        ErrorKind::Transient
    }
}

/// The code that an error carries. rdkafka gives it for all but of administrative requests that failed as a whole,
/// such as one that the broker is too old for.
pub(crate) fn code(error: &KafkaError) -> Option<Code> {
    if let KafkaError::AdminOp(code) = error { Some(*code) } else { error.rdkafka_error_code() }
}

/// The error of an attempt that a broker answers so.
#[cold]
pub(crate) fn answered(attempt: impl Into<String>, code: Code) -> Error {
    Error::new(kind(code), attempt).because(code.to_string() + too_old(Some(code)))
}

/// The error of an attempt that failed so. No secret is in it.
#[cold]
pub(crate) fn failure(attempt: impl Into<String>, error: &KafkaError, secrets: &Secrets) -> Error {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "two of many say what is wrong with an option"
    )]
    match error {
        KafkaError::ClientConfig(_, reason, key, value) => {
            let (attempt, reason) = wrong_option(key, value, reason);
            Error::config(attempt).because(secrets.scrub(reason).into_owned() + hint(error))
        }
        KafkaError::ClientCreation(reason) => {
            let reason = secrets.scrub(reason).into_owned();
            Error::config(attempt).because(reason + hint(error))
        }
        other => {
            // One without a code is none of a broker's, such as a request that was not answered: it may pass.
            let code = code(other);
            let reason = secrets.scrub(&other.to_string()).into_owned();
            Error::new(code.map_or(ErrorKind::Transient, kind), attempt)
                .because(reason + too_old(code))
        }
    }
}

/// What was attempted with an option that is refused, and why; neither says a value that is secret.
fn wrong_option<'a>(key: &str, value: &str, reason: &'a str) -> (String, &'a str) {
    if is_secret(key) {
        return (format!("set the Kafka option {key}={REDACTED}"), "its value is not accepted");
    }
    (format!("set the Kafka option {key}={value}"), reason)
}

/// What to do where a broker does not know what it is asked.
fn too_old(code: Option<Code>) -> &'static str {
    if code.is_some_and(|code| [Code::UnsupportedFeature, Code::UnsupportedVersion].contains(&code))
    {
        ": the brokers are too old, the oldest that are known to work are those of Kafka 2.4"
    } else {
        ""
    }
}

/// What to do where librdkafka was built without TLS or SASL.
fn hint(error: &KafkaError) -> &'static str {
    let text = error.to_string();
    let missing = text.contains("not available at build time") || text.contains("not supported");
    if missing || text.contains("OpenSSL not available") || text.contains("libsasl2") {
        " (build with the feature `tls`, `tls-vendored` or `gssapi` of rtbflow-kafka)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaConfRes;

    use super::*;

    #[test]
    fn a_secret_option_is_named_but_not_shown() {
        let secrets = Secrets::default();
        let (key, value) = ("sasl.password".to_owned(), "hunter2".to_owned());
        let invalid = RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
        let error = KafkaError::ClientConfig(invalid, "Invalid value hunter2".into(), key, value);
        let error = failure("connect", &error, &secrets);
        assert!(error.is_config());
        assert!(!error.report().contains("hunter2") && error.report().contains("sasl.password"));
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn a_broker_that_is_too_old_is_an_error_that_names_one_that_is_not() {
        let failed = |error| failure("ask", &error, &Secrets::default());
        for error in [
            failed(KafkaError::OffsetFetch(Code::UnsupportedFeature)),
            // What brokers of Kafka 1.1 and 2.2 answer who is to make a topic with their own replication.
            failed(KafkaError::AdminOp(Code::UnsupportedFeature)),
            answered("ask", Code::UnsupportedVersion),
        ] {
            assert!(error.is_config() && error.report().contains("Kafka 2.4"), "{error:?}");
        }
        assert!(failed(KafkaError::AdminOp(Code::OperationTimedOut)).is_transient());
    }

    #[test]
    fn what_may_pass_is_transient() {
        assert_eq!(kind(Code::BrokerTransportFailure), ErrorKind::Transient);
        assert_eq!(kind(Code::TopicAuthorizationFailed), ErrorKind::Config);
        assert_eq!(kind(Code::FencedInstanceId), ErrorKind::Fenced);
        // A cluster that has just been started does not know all its brokers yet.
        assert_eq!(kind(Code::InvalidReplicationFactor), ErrorKind::Transient);
    }
}
