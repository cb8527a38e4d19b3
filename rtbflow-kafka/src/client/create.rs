//! Topics made on demand: safe when all instances start at once, and never altering one that exists.

use std::collections::BTreeMap;
use std::iter::once;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::MetadataBroker;
use rtbflow::epoch::JobName;
use rtbflow::{Error, Result};
use tracing::info;

use crate::client::blocking::blocking;
use crate::client::context::Context;
use crate::client::deadline::Deadline;
use crate::client::failure::{answered, failure};
use crate::client::kafka::Kafka;
use crate::client::option::Role;

/// The setting that limits how large a record a topic takes.
pub(crate) const MOST_BYTES_SETTING: &str = "max.message.bytes";
/// What every topic takes that is made here: more than any result has, and more than the largest record of the
/// source with the headers of a dead letter.
const MOST_BYTES: &str = "16777216";
/// How long dead letters are kept.
const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// Nothing is ever written there.
const COORDINATION_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// The newest part of a log is never compacted: it is kept small, since each commit rewrites positions.
const CHANGELOG_SEGMENT_BYTES: &str = "33554432";
/// How long creating topics may take.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a topic that was created may be unknown to the broker that is asked.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a topic is looked for that exists already, as a broker says, before it is asked for again.
const EXISTS_PATIENCE: Duration = Duration::from_millis(500);
/// The pause between two checks whether a topic is deleted.
const DELETE_PAUSE: Duration = Duration::from_millis(50);

/// The dead-letter topic of a topic.
pub(crate) fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dead-letter")
}

/// A topic as it is to be made if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    name: String,
    partitions: PartitionCount,
    retention: Retention,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Retention {
    For(Duration),
    NewestPerKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PartitionCount {
    Fixed(u32),
    SameAs(String),
}

impl TopicSpec {
    /// A topic with this many partitions that keeps its records for this long. As every topic that is made
    /// here it takes records of 16 MiB.
    #[must_use]
    pub fn new(name: impl Into<String>, partitions: u32, retention: Duration) -> Self {
        let retention = Retention::For(retention);
        Self { name: name.into(), partitions: PartitionCount::Fixed(partitions), retention }
    }

    /// The dead-letter topic of a topic: as many partitions as that has, and 14 days.
    #[must_use]
    pub fn dead_letter(topic: &str) -> Self {
        let partitions = PartitionCount::SameAs(topic.to_owned());
        let name = dead_letter_topic(topic);
        Self { name, partitions, retention: Retention::For(DEAD_LETTER_RETENTION) }
    }

    /// The changelog of a job whose place is Kafka: one partition per task, compacted. The
    /// [`KafkaAnchor`](crate::KafkaAnchor) makes it by itself unless asked not to.
    #[must_use]
    pub fn changelog(job: &JobName, tasks: u32) -> Self {
        let partitions = PartitionCount::Fixed(tasks);
        Self { name: format!("{job}.changelog"), partitions, retention: Retention::NewestPerKey }
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicCount {
    /// The topic's name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// How many it was to have.
    pub wanted: u32,
}

impl Kafka {
    /// Makes the topics that do not exist yet, and returns all of them as they are. One that exists is
    /// left as it is, whatever its partitions and retention; any number of instances may call this at
    /// once.
    ///
    /// # Errors
    /// Transient if the server is away; a configuration error if a topic cannot be made like that.
    pub async fn create_topics(&self, topics: &[TopicSpec]) -> Result<Vec<TopicCount>> {
        self.validate()?;
        let (kafka, topics) = (self.clone(), topics.to_vec());
        let attempt = format!("create topics at {}", self.servers());
        let outer = CREATE_TIMEOUT + PROPAGATION_TIMEOUT;
        let run = move || Creation::new(&kafka, CREATE_TIMEOUT)?.run(&topics);
        blocking(&attempt, outer, run).await
    }

    /// Creates the topic that the group of a co-group subscribes to, unless it exists; returns how many
    /// partitions it has. Blocking.
    ///
    /// # Errors
    /// As [`create_topics`](Self::create_topics).
    pub(crate) fn create_coordination_topic(
        &self,
        name: &str,
        partitions: u32,
        longest: Duration,
    ) -> Result<u32> {
        let spec = TopicSpec::new(name, partitions, COORDINATION_RETENTION);
        Creation::new(self, longest)?.make(&spec, partitions)
    }
}

/// The clients that create topics and describe them.
pub(crate) struct Creation<'a> {
    kafka: &'a Kafka,
    admin: AdminClient<Context>,
    query: rdkafka::consumer::BaseConsumer<Context>,
    deadline: Deadline,
}

impl<'a> Creation<'a> {
    pub(crate) fn new(kafka: &'a Kafka, longest: Duration) -> Result<Self> {
        Ok(Self {
            kafka,
            admin: kafka.client(Role::Producer, "create topics", &[])?,
            query: kafka.query_client("create topics")?,
            deadline: Deadline::after(longest),
        })
    }

    /// Plain topics first: dead-letter topics take their count from them as they are then.
    pub(crate) fn run(&self, topics: &[TopicSpec]) -> Result<Vec<TopicCount>> {
        let mut found = BTreeMap::new();
        let plain = |spec: &&TopicSpec| matches!(spec.partitions, PartitionCount::Fixed(_));
        for spec in topics.iter().filter(plain).chain(topics.iter().filter(|spec| !plain(spec))) {
            let wanted = match &spec.partitions {
                PartitionCount::Fixed(count) => *count,
                PartitionCount::SameAs(topic) => {
                    self.count(topic, Duration::ZERO)?.ok_or_else(|| {
                        let name = &spec.name;
                        Error::config(format!("create topic {name}: there is no topic {topic}"))
                    })?
                }
            };
            let partitions = self.make(spec, wanted)?;
            let name = spec.name.clone();
            found.insert(spec.name.clone(), TopicCount { name, partitions, wanted });
        }
        Ok(topics.iter().filter_map(|spec| found.get(&spec.name).cloned()).collect())
    }

    pub(crate) fn count(&self, topic: &str, patience: Duration) -> Result<Option<u32>> {
        self.kafka.partitions(&self.query, topic, patience)
    }

    /// What a topic's setting is.
    ///
    /// # Errors
    /// If the brokers do not say.
    pub(crate) fn setting(&self, topic: &str, name: &str) -> Result<String> {
        let attempt = format!("ask for the {name} of topic {topic}");
        let failed = |error| failure(&attempt, &error, &self.kafka.secrets());
        // Any broker knows, first of all the one that answers. Else the controller is asked, which may be away.
        let metadata = self.query.fetch_metadata(Some(topic), self.deadline.left());
        let metadata = metadata.map_err(failed)?;
        let brokers = metadata.brokers().iter().map(MetadataBroker::id);
        let broker = once(metadata.orig_broker_id()).chain(brokers).find(|id| *id >= 0);
        let options = AdminOptions::new().broker_id(broker);
        let options = options.request_timeout(Some(self.deadline.left()));
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = block_on(self.admin.describe_configs(&asked, &options)).map_err(failed)?;
        match answers.into_iter().next() {
            Some(Ok(resource)) => {
                let value = resource.get(name).and_then(|entry| entry.value.clone());
                value.ok_or_else(|| Error::transient(attempt + ": it has none"))
            }
            Some(Err(code)) => Err(answered(attempt, code)),
            None => Err(Error::transient(attempt + ": the brokers answered without it")),
        }
    }

    /// Deletes a topic, if there is one, and waits until it is gone.
    ///
    /// # Errors
    /// If the broker does not let us, or it stays.
    pub(crate) fn delete(&self, topic: &str) -> Result<()> {
        let attempt = format!("delete topic {topic}");
        let options = AdminOptions::new()
            .request_timeout(Some(self.deadline.left()))
            .operation_timeout(Some(Duration::from_secs(5)));
        let deleted = block_on(self.admin.delete_topics(&[topic], &options));
        let deleted = deleted.map_err(|error| failure(&attempt, &error, &self.kafka.secrets()))?;
        for result in deleted {
            match result {
                Ok(name) => info!("deleted topic {name}"),
                Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {}
                Err((_, code)) => {
                    return Err(answered(attempt, code));
                }
            }
        }
        while self.count(topic, Duration::ZERO)?.is_some() {
            if self.deadline.is_over() {
                return Err(Error::transient(attempt + ": it is still there"));
            }
            std::thread::park_timeout(DELETE_PAUSE);
        }
        Ok(())
    }

    /// Makes one topic unless it exists, and returns its count as it is.
    fn make(&self, spec: &TopicSpec, wanted: u32) -> Result<u32> {
        if let Some(count) = self.count(&spec.name, Duration::ZERO)? {
            return Ok(count);
        }
        let attempt = format!("create topic {} with {wanted} partitions", spec.name);
        let partitions = i32::try_from(wanted).map_err(|_| {
            Error::config(format!("{attempt}: Kafka's limit is {} partitions", i32::MAX))
        })?;
        let retention;
        let mut topic = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(-1));
        topic = match spec.retention {
            Retention::For(time) => {
                retention = time.as_millis().to_string();
                topic.set("retention.ms", &retention).set("cleanup.policy", "delete")
            }
            Retention::NewestPerKey => {
                topic.set("cleanup.policy", "compact").set("segment.bytes", CHANGELOG_SEGMENT_BYTES)
            }
        };
        topic = topic.set(MOST_BYTES_SETTING, MOST_BYTES);
        let ask = || {
            let options = AdminOptions::new()
                .request_timeout(Some(self.deadline.left()))
                .operation_timeout(Some(Duration::from_secs(5)));
            let made = block_on(self.admin.create_topics([&topic], &options));
            let made = made.map_err(|error| failure(&attempt, &error, &self.kafka.secrets()))?;
            match made.into_iter().next() {
                Some(Err((_, Code::TopicAlreadyExists))) => Ok(CreateAnswer::Exists),
                Some(Err((_, code))) => Err(answered(&attempt, code)),
                Some(Ok(_)) | None => {
                    info!("created topic {} with {wanted} partitions", spec.name);
                    Ok(CreateAnswer::Created)
                }
            }
        };
        let count = |patience| self.count(&spec.name, patience);
        let visible = create_until_visible(ask, count, || self.deadline.is_over())?;
        visible.ok_or_else(|| Error::transient(attempt + ": the brokers do not list it yet"))
    }
}

/// What a broker answers that is asked to create a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CreateAnswer {
    Created,
    Exists,
}

/// Asks for a topic until it is there, and returns its count. One that exists, as the broker says, but is not to be
/// seen may be on its way, or was deleted a moment ago: brokers with `ZooKeeper` say so until its last trace is
/// gone, and then it has to be asked for again.
fn create_until_visible(
    mut ask: impl FnMut() -> Result<CreateAnswer>,
    mut count: impl FnMut(Duration) -> Result<Option<u32>>,
    is_over: impl Fn() -> bool,
) -> Result<Option<u32>> {
    loop {
        let asked = ask()?;
        let patience =
            if asked == CreateAnswer::Created { PROPAGATION_TIMEOUT } else { EXISTS_PATIENCE };
        let found = count(patience)?;
        if found.is_some() || asked == CreateAnswer::Created || is_over() {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers to being asked and to being looked for, in turn; how often it was asked then.
    fn check(asked: &[CreateAnswer], counts: &[Option<u32>], expected: Option<u32>) {
        let (mut asked, mut counts) = (asked.iter(), counts.iter());
        let is_over = counts.len();
        let counted = std::cell::Cell::new(0);
        let found = create_until_visible(
            || Ok(*asked.next().expect("asked too often")),
            |_| {
                counted.set(counted.get() + 1);
                Ok(*counts.next().expect("looked for too often"))
            },
            || counted.get() == is_over,
        );
        assert_eq!(found.unwrap(), expected);
        assert_eq!(asked.len(), 0, "asked too seldom");
    }

    #[test]
    fn a_topic_that_was_deleted_a_moment_ago_is_asked_for_again() {
        use CreateAnswer::{Created, Exists};
        check(&[Created], &[Some(4)], Some(4));
        check(&[Exists], &[Some(4)], Some(4));
        // As Kafka 2.4 with ZooKeeper answered after a deletion.
        check(&[Exists, Exists, Created], &[None, None, Some(4)], Some(4));
        check(&[Exists, Exists], &[None, None], None);
        check(&[Created], &[None], None);
    }
}
