//! Topics as they are to be made, and as they turn out to be.

use std::time::Duration;

use rtbflow::epoch::JobName;

/// How long dead letters are kept.
const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// What every topic takes that is made here: more than any result has, and more than the largest record of the
/// source with the headers of a dead letter.
const MOST_BYTES: &str = "16777216";
/// The setting that limits how large a record a topic takes.
pub(crate) const MOST_BYTES_SETTING: &str = "max.message.bytes";
/// The newest part of a log is never compacted: it is kept small, since each commit rewrites positions.
const CHANGELOG_SEGMENT_BYTES: &str = "33554432";

/// The dead-letter topic of a topic.
pub(crate) fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dead-letter")
}

/// A topic as it is to be made if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    name: String,
    pub(crate) partitions: PartitionCount,
    retention: TopicRetention,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TopicRetention {
    For(Duration),
    NewestPerKey,
}

/// How many partitions a topic is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PartitionCount {
    Fixed(u32),
    /// As many as this topic has.
    SameAs(String),
}

impl TopicSpec {
    /// A topic with this many partitions that keeps its records for this long. As every topic that is made
    /// here it takes records of 16 MiB.
    #[must_use]
    pub fn new(name: impl Into<String>, partitions: u32, retention: Duration) -> Self {
        let retention = TopicRetention::For(retention);
        Self { name: name.into(), partitions: PartitionCount::Fixed(partitions), retention }
    }

    /// The dead-letter topic of a topic: as many partitions as that has, and 14 days.
    #[must_use]
    pub fn dead_letter(topic: &str) -> Self {
        let partitions = PartitionCount::SameAs(topic.to_owned());
        let name = dead_letter_topic(topic);
        Self { name, partitions, retention: TopicRetention::For(DEAD_LETTER_RETENTION) }
    }

    /// The changelog of a job whose place is Kafka: one partition per task, compacted. The
    /// [`KafkaAnchor`](crate::KafkaAnchor) makes it by itself unless asked not to.
    #[must_use]
    pub fn changelog(job: &JobName, tasks: u32) -> Self {
        let partitions = PartitionCount::Fixed(tasks);
        Self {
            name: format!("{job}.changelog"),
            partitions,
            retention: TopicRetention::NewestPerKey,
        }
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The topic's settings.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![(MOST_BYTES_SETTING, MOST_BYTES.to_owned())];
        settings.extend(match self.retention {
            TopicRetention::For(time) => [
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", time.as_millis().to_string()),
            ],
            // Nothing of it may end by its age: it is the state.
            TopicRetention::NewestPerKey => [
                ("cleanup.policy", "compact".to_owned()),
                ("segment.bytes", CHANGELOG_SEGMENT_BYTES.to_owned()),
            ],
        });
        settings
    }
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicCount {
    /// The topic's name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// How many it was to have.
    pub wanted: u32,
}
