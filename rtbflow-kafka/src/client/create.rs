//! Topics made on demand: safe when all instances start at once, and never altering one that exists.

use std::collections::BTreeMap;
use std::iter::once;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::{Metadata, MetadataBroker};
use rtbflow::{Error, Result};
use tracing::info;

use crate::client::blocking::blocking;
use crate::client::context::Callbacks;
use crate::client::deadline::Deadline;
use crate::client::failure::{answered, failure};
use crate::client::kafka::Kafka;
use crate::client::option::Role;
use crate::client::topic_spec::{PartitionCount, TopicCount, TopicSpec};

/// Nothing is ever written there.
const COORDINATION_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// How long creating topics may take.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a broker may wait for the others until it answers.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a topic that was created may be unknown to the broker that is asked.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a topic is looked for that exists already, as a broker says, before it is asked for again.
const EXISTS_PATIENCE: Duration = Duration::from_millis(500);
/// The pause between two checks whether a topic is deleted.
const DELETE_PAUSE: Duration = Duration::from_millis(50);

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
    admin: AdminClient<Callbacks>,
    query: rdkafka::consumer::BaseConsumer<Callbacks>,
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
        let is_plain = |spec: &TopicSpec| matches!(spec.partitions, PartitionCount::Fixed(_));
        let mut in_turn: Vec<(usize, &TopicSpec)> = topics.iter().enumerate().collect();
        in_turn.sort_by_key(|(_, spec)| !is_plain(spec));
        let mut made = BTreeMap::new();
        for (number, spec) in in_turn {
            let wanted = self.wanted(spec)?;
            let partitions = self.make(spec, wanted)?;
            made.insert(number, TopicCount { name: spec.name().to_owned(), partitions, wanted });
        }
        // By their numbers: in the order in which they were asked for.
        Ok(made.into_values().collect())
    }

    fn wanted(&self, spec: &TopicSpec) -> Result<u32> {
        match &spec.partitions {
            PartitionCount::Fixed(count) => Ok(*count),
            PartitionCount::SameAs(topic) => {
                self.count(topic, Duration::ZERO)?.ok_or_else(|| {
                    let (name, servers) = (spec.name(), self.kafka.servers());
                    Error::config(format!(
                        "create topic {name} at {servers}, with as many partitions as {topic}: there is no \
                         topic {topic}; create that one first"
                    ))
                })
            }
        }
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
            // The client drops the broker's reason. One that has just described the topic knows it.
            Some(Ok(resource)) if resource.entries.is_empty() && knows(&metadata, topic) => {
                Err(Error::config(
                    attempt + ": the broker refuses; grant the user DescribeConfigs on it",
                ))
            }
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
            .operation_timeout(Some(OPERATION_TIMEOUT));
        let deleted = block_on(self.admin.delete_topics(&[topic], &options));
        let deleted = deleted.map_err(|error| failure(&attempt, &error, &self.kafka.secrets()))?;
        for result in deleted {
            match result {
                Ok(name) => info!("deleted topic {name}"),
                // Somebody else has deleted it, or an earlier attempt whose answer did not come.
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
    pub(crate) fn make(&self, spec: &TopicSpec, wanted: u32) -> Result<u32> {
        if let Some(count) = self.count(spec.name(), Duration::ZERO)? {
            return Ok(count);
        }
        let attempt = format!("create topic {} with {wanted} partitions", spec.name());
        let partitions = i32::try_from(wanted).map_err(|_| {
            Error::config(format!("{attempt}: Kafka's limit is {} partitions", i32::MAX))
        })?;
        let settings = spec.settings();
        // As many replicas as the brokers give a topic by default.
        let topic = NewTopic::new(spec.name(), partitions, TopicReplication::Fixed(-1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let ask = || self.ask(&topic, &attempt);
        let count = |patience| self.count(spec.name(), patience);
        let visible = create_until_visible(ask, count, || self.deadline.is_over())?;
        visible
            .ok_or_else(|| Error::transient(attempt.clone() + ": the brokers do not list it yet"))
    }

    fn ask(&self, topic: &NewTopic<'_>, attempt: &str) -> Result<CreateAnswer> {
        let options = AdminOptions::new()
            .request_timeout(Some(self.deadline.left()))
            .operation_timeout(Some(OPERATION_TIMEOUT));
        let made = block_on(self.admin.create_topics([topic], &options));
        let made = made.map_err(|error| failure(attempt, &error, &self.kafka.secrets()))?;
        match made.into_iter().next() {
            Some(Err((_, Code::TopicAlreadyExists))) => Ok(CreateAnswer::Exists),
            Some(Err((_, code))) => Err(answered(attempt, code)),
            // An answer that leaves it out says as little as one that came too early: it is looked for next.
            Some(Ok(_)) | None => {
                info!("{attempt}: created");
                Ok(CreateAnswer::Created)
            }
        }
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

/// Whether the broker that answered has such a topic.
fn knows(metadata: &Metadata, topic: &str) -> bool {
    metadata.topics().iter().any(|known| known.name() == topic && known.error().is_none())
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
