//! What an error of a transaction asks for.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rtbflow::Error;

use crate::anchor::target::Target;
use crate::client::failure::{code, failure};
use crate::producer::produce::producer_kind;

impl Target<'_> {
    /// The error of an attempt. Being fenced as a producer says that another one was made, not who owns the
    /// positions: that is read.
    #[cold]
    pub(crate) fn failure(&self, attempt: &str, error: &KafkaError) -> Error {
        let attempt = format!("{attempt} at {}", self.kafka.servers());
        let code = error.rdkafka_error_code();
        let failed = failure(attempt.clone(), error, &self.kafka.secrets());
        match code {
            Some(code) if producer_kind(code) != failed.kind() => {
                Error::new(producer_kind(code), attempt).because(error.to_string())
            }
            Some(_) | None => failed,
        }
    }
}

/// Whether the same call may succeed when it is made again.
pub(crate) fn may_be_repeated(error: &KafkaError) -> bool {
    // Of anything else librdkafka does not say whether it may be.
    let KafkaError::Transaction(error) = error else { return false };
    error.is_retriable() || error.code() == Code::OperationTimedOut
}

/// What it means for a refused record that an abort failed, where the brokers do not know how a producer goes on
/// after that (KIP-360).
#[cold]
pub(crate) fn without_kip_360(error: &KafkaError) -> Option<Error> {
    (code(error) == Some(Code::UnsupportedFeature)).then(|| {
        Error::config(
            "the brokers are older than Kafka 2.5, whose transactions cannot go on behind a refused record: it \
             cannot be made a dead letter",
        )
    })
}
