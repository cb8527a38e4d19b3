//! What a pipeline has sent through Kafka, which nobody can take back.

use rtbflow::Result;
use rtbflow::epoch::{Anchor, JobName};
use rtbflow_kafka::KafkaAnchor;

use super::{Found, Resets};

/// A pipeline's results in Kafka: they stay.
#[derive(Debug)]
pub struct InKafka {
    anchor: KafkaAnchor,
    keeps: &'static str,
}

impl InKafka {
    /// Results that stay; `keeps` says what that means.
    #[must_use]
    pub fn new(anchor: &KafkaAnchor, keeps: &'static str) -> Self {
        Self { anchor: anchor.clone(), keeps }
    }
}

impl Resets for InKafka {
    async fn look(&self, job: &JobName) -> Result<Found> {
        Ok(Found { kept: self.anchor.kept(job).await?, results: Vec::new() })
    }

    async fn remove(&self, job: &JobName) -> Result<()> {
        self.anchor.forget(job).await
    }

    fn keeps(&self) -> Option<&'static str> {
        Some(self.keeps)
    }
}
