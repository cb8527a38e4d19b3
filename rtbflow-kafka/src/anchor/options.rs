//! How a Kafka is used as the place: its settings, and how long its calls may take.

use std::time::Duration;

/// How long a call may take by default, unless it has much to write or to read.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How many times longer than a call a transaction may be open.
const TRANSACTION_PER_CALL: u32 = 3;
/// How long brokers allow a transaction to be open, by default.
pub(crate) const LONGEST_TRANSACTION: Duration = Duration::from_mins(15);
/// How long a claim may take: it may have to wait for the end of another's transaction.
pub(crate) const CLAIM_TIMEOUT: Duration = Duration::from_secs(30);
/// How long reading the whole state may take. It is given up much earlier when nothing comes.
pub(crate) const RESTORE_TIMEOUT: Duration = Duration::from_secs(600);
/// How long reading waits for the open transactions of other instances.
pub(crate) const OPEN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an open transaction, or a changelog that is not found, is waited for before a new producer is made.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// What a call may take beside its own deadline until it counts as stuck.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How long clients are kept by default that nobody uses: each has threads and connections of its own.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The settings of a [`KafkaAnchor`](crate::KafkaAnchor).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Whether a changelog that is missing is made.
    pub(crate) creates_changelog: bool,
    pub(crate) call_timeout: Duration,
    /// How long clients are kept that nobody uses.
    pub(crate) idle_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let (call_timeout, idle_timeout) = (CALL_TIMEOUT, IDLE_TIMEOUT);
        Self { creates_changelog: true, call_timeout, idle_timeout }
    }
}

impl Options {
    /// How long a transaction may be open whose calls may take this many times longer than usual.
    pub(crate) fn transaction_timeout(self, times: u32) -> Duration {
        let timeout = self.call_timeout.saturating_mul(TRANSACTION_PER_CALL * times);
        timeout.min(LONGEST_TRANSACTION)
    }
}
