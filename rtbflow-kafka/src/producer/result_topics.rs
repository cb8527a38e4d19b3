//! The topics that results are written to: noted as their sinks are made, checked as the job starts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rtbflow::{Error, Result};
use tracing::warn;

use crate::client::blocking::blocking;
use crate::client::create::Creation;
use crate::client::kafka::Kafka;
use crate::client::topic_spec::MOST_BYTES_SETTING;

/// What a topic takes that sets no limit.
const MOST_BYTES: usize = 1 << 20;
/// What a producer puts into one batch at most, and what it leaves free of what a topic takes.
const MOST_BATCH_BYTES: usize = 500_000;
const BESIDE_BATCH_BYTES: usize = 1_000;

/// How large a record may be that a topic takes.
pub(crate) type Limit = Arc<AtomicUsize>;

/// The topics, each with its limit. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResultTopics(Arc<Mutex<BTreeMap<Arc<str>, Limit>>>);

impl ResultTopics {
    /// The limit of a topic, which is noted by this.
    pub(crate) fn limit(&self, topic: &Arc<str>) -> Limit {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = || Arc::new(AtomicUsize::new(MOST_BYTES));
        Arc::clone(topics.entry(Arc::clone(topic)).or_insert_with(limit))
    }

    fn all(&self) -> Vec<(Arc<str>, Limit)> {
        let topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        topics.iter().map(|(topic, limit)| (Arc::clone(topic), Arc::clone(limit))).collect()
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.all().into_iter().map(|(topic, _)| topic.to_string()).collect()
    }

    /// How large a batch may be that all of them take.
    pub(crate) fn most_batch_bytes(&self) -> usize {
        let limits = self.all().into_iter().map(|(_, limit)| limit.load(Ordering::Relaxed));
        // Without topics it is that of one which sets no limit.
        let least = limits.min().unwrap_or(MOST_BYTES).saturating_sub(BESIDE_BATCH_BYTES);
        least.clamp(BESIDE_BATCH_BYTES, MOST_BATCH_BYTES)
    }

    /// Asks what each of them takes.
    ///
    /// # Errors
    /// Transient if no broker answers.
    pub(crate) async fn refresh_limits(&self, kafka: &Kafka, longest: Duration) -> Result<()> {
        let topics = self.all();
        if topics.is_empty() {
            return Ok(());
        }
        let attempt = format!("ask what the topics of the results take at {}", kafka.servers());
        let kafka = kafka.clone();
        let refresh = move || {
            let creation = Creation::new(&kafka, longest)?;
            topics.iter().try_for_each(|(topic, limit)| refresh_limit(&creation, topic, limit))
        };
        blocking(&attempt, longest * 2, refresh).await
    }
}

/// Asks what a topic takes now. A user who may not ask has to see to it.
pub(crate) fn refresh_limit(
    creation: &Creation<'_>,
    topic: &str,
    limit: &AtomicUsize,
) -> Result<()> {
    match creation.setting(topic, MOST_BYTES_SETTING) {
        Ok(value) => {
            let bytes = value.trim().parse().map_err(|_| {
                Error::permanent(format!(
                    "ask for the {MOST_BYTES_SETTING} of topic {topic}: {value:?} is no number"
                ))
            })?;
            limit.store(bytes, Ordering::Relaxed);
            Ok(())
        }
        Err(error) if error.is_transient() => Err(error),
        Err(error) => {
            let bytes = limit.load(Ordering::Relaxed);
            warn!("{}; it is taken for {bytes} bytes", error.report());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_fits_into_the_topic_that_takes_the_least() {
        let results = ResultTopics::default();
        assert_eq!(results.most_batch_bytes(), MOST_BATCH_BYTES);
        results.limit(&"large".into()).store(16 << 20, Ordering::Relaxed);
        assert_eq!(results.most_batch_bytes(), MOST_BATCH_BYTES);
        results.limit(&"small".into()).store(100_000, Ordering::Relaxed);
        assert_eq!(results.most_batch_bytes(), 99_000);
        assert_eq!(results.names(), ["large", "small"]);
    }
}
