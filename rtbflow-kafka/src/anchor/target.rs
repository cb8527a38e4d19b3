//! What one call goes to: a task of a job, its partition of the changelog, and the settings of the place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rtbflow::epoch::{JobName, Task};
use rtbflow::{Error, Partition, Result, Topic};
use tracing::warn;

use crate::anchor::replay::{OffsetClients, Replay};
use crate::client::create::Creation;
use crate::client::deadline::Deadline;
use crate::client::kafka::Kafka;
use crate::client::topic_spec::TopicSpec;
use crate::producer::result_topics::ResultTopics;

/// Where a call goes.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) kafka: &'a Kafka,
    pub(crate) results: &'a ResultTopics,
    pub(crate) offset_clients: &'a OffsetClients,
    pub(crate) job: &'a JobName,
    pub(crate) task: Task,
    pub(crate) creates_changelog: bool,
    /// How long a transaction may be open.
    pub(crate) transaction_timeout: Duration,
    /// Whether the changelog is known to be compacted only.
    pub(crate) is_compacted: &'a AtomicBool,
}

impl<'a> Target<'a> {
    /// The name of the changelog.
    pub(crate) fn changelog(&self) -> String {
        TopicSpec::changelog(self.job, 0).name().to_owned()
    }

    /// The task's partition of the changelog.
    pub(crate) fn partition(&self) -> Result<Partition> {
        let changelog = self.changelog();
        let number = i32::try_from(self.task.number).map_err(|_| {
            let number = self.task.number;
            Error::config(format!(
                "keep task {number} in topic {changelog}: Kafka has no partition of that number"
            ))
        })?;
        Ok(Partition::new(Topic::new(&changelog), number))
    }

    /// The reader of that partition.
    pub(crate) fn replay(&self) -> Result<Replay<'a>> {
        let Self { kafka, offset_clients, job, .. } = *self;
        Ok(Replay { kafka, offset_clients, job, partition: self.partition()? })
    }

    /// How many partitions the changelog has; `None` if there is none, even after a while: a broker that has
    /// just started may not know its topics yet.
    pub(crate) fn partitions(&self, patience: Duration) -> Result<Option<u32>> {
        self.kafka.partitions(self.offset_clients.any(), &self.changelog(), patience)
    }

    /// Sees to it that there is a changelog for this number of tasks.
    pub(crate) fn ensure_changelog(&self, deadline: Deadline) -> Result<()> {
        let (topic, task, of) = (self.changelog(), self.task, self.task.of);
        let partitions = match self.partitions(Duration::ZERO)? {
            Some(partitions) => partitions,
            None if self.creates_changelog => {
                let changelog = TopicSpec::changelog(self.job, of);
                Creation::new(self.kafka, deadline.left())?.make(&changelog, of)?
            }
            None => {
                return Err(Error::config(format!(
                    "claim task {task} of job {}: there is no topic {topic}; create it, compacted and with \
                     {of} partitions, or let the anchor do so",
                    self.job
                )));
            }
        };
        // The state of a task is in its partition: another number of tasks would find that of others.
        if partitions == of {
            return self.check_policy(&topic, deadline);
        }
        Err(task.laid_out_for(partitions, self.job, &format!("the topic {topic}")))
    }

    /// A changelog that retention shortens would lose positions and state: it has to be compacted only.
    fn check_policy(&self, topic: &str, deadline: Deadline) -> Result<()> {
        if self.is_compacted.load(Ordering::Relaxed) {
            return Ok(());
        }
        match Creation::new(self.kafka, deadline.left())?.setting(topic, "cleanup.policy") {
            Ok(policy) if policy.trim() == "compact" => {}
            Ok(policy) => {
                return Err(Error::config(format!(
                    "keep positions and state in topic {topic}: its cleanup.policy is {policy}, with which they \
                     would be lost one day; set it to compact"
                )));
            }
            Err(error) if error.is_transient() => return Err(error),
            // A user who may not ask has to see to it.
            Err(error) => warn!("{}; it has to be compact", error.report()),
        }
        self.is_compacted.store(true, Ordering::Relaxed);
        Ok(())
    }
}
