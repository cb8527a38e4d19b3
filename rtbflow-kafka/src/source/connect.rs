//! Opens topics: checks them, makes the clients, and joins the group.

use std::collections::BTreeSet;
use std::sync::{Arc, Once};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;
use rtbflow::source::{Context, Layout};
use rtbflow::{Error, Result, Topic};
use tokio::sync::mpsc;
use tracing::warn;

use crate::client::context;
use crate::client::failure::failure;
use crate::client::native::describe;
use crate::client::offsets::{Offsets, offsets};
use crate::client::option::Role;
use crate::source::end_offsets::{self, OffsetLookup};
use crate::source::mailbox::ReaderMailbox;
use crate::source::reader::{Event, ReaderSetup, ReaderThread};
use crate::source::topic::{KafkaTopic, TopicOptions};
use crate::source::topic_watch::{OpenedTopic, TopicWatch};

/// How long one request may take while a topic is opened.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a topic that was just made may be unknown to a broker.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(3);
/// How long it may take to create the coordination topic.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);
/// The session time-out, unless librdkafka's option of that name says otherwise, and the pause between two
/// checks of the topics.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
const CHECK_PAUSE: Duration = Duration::from_secs(2);
/// A fetch ahead for one partition is never smaller.
const LEAST_PREFETCH_BYTES: usize = 256 << 10;
/// The least and the most that is fetched at once of a partition.
const LEAST_FETCH_BYTES: usize = 64 << 10;
const MOST_FETCH_BYTES: usize = 1 << 20;
/// What a record takes that was fetched ahead, with what librdkafka keeps beside its bytes, which it does not count.
const MESSAGE_BYTES: usize = 1 << 10;
/// How often the ends are asked for at most, and at least.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
/// The same where a task waits for the partition that is behind, unless that one is proved to be quiet.
const LONGEST_COGROUP_INTERVAL: Duration = Duration::from_millis(100);

/// What the reading client is set to, whatever the topic.
const OPTIONS: &[(&str, &str)] = &[
    ("group.protocol", "classic"),
    ("?partition.assignment.strategy", "range"),
    ("?session.timeout.ms", "6000"),
    // Positions are in the place: what the group keeps is for tools, and is committed by hand.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "false"),
    // A position that the log does not hold is an error, never a jump.
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    // The only way to learn of a topic with another id before its records come.
    ("debug", "topic"),
    ("?check.crcs", "true"),
    // A broker that waits longer for more bytes holds up whoever waits for a window's last records.
    ("?fetch.wait.max.ms", "10"),
    ("?fetch.queue.backoff.ms", "10"),
    ("?fetch.error.backoff.ms", "100"),
];

impl KafkaTopic {
    /// Makes the clients and joins the group. Runs on the reading thread.
    pub(crate) fn reader(
        &self,
        context: &Context,
        mailbox: Arc<ReaderMailbox>,
        events: mpsc::Sender<Event>,
    ) -> Result<ReaderThread> {
        // In this order: the layout says which topic the group subscribes to, and the ends that reading is to stop at
        // are asked for before any record can come.
        self.check_topics()?;
        self.check_named_once(context)?;
        let client = self.kafka.query_client(end_offsets::CLIENT)?;
        let layout = self.layout(&client)?;
        let opened = self.opened_topics(&client, &layout)?;
        let group_topic = self.group_topic(&layout, context.job.as_str())?;
        let until = if context.until_end { self.ends(&client, &layout)? } else { Offsets::new() };
        let consumer = self.consumer(context, layout.partitions().len())?;
        let secrets = self.kafka.secrets();
        let failed = |error| failure(format!("subscribe to {group_topic}"), &error, &secrets);
        consumer.subscribe(&[&group_topic]).map_err(failed)?;
        let longest = match self.topics.len() {
            1 => LONGEST_INTERVAL,
            _ => LONGEST_COGROUP_INTERVAL,
        };
        let interval = (context.idle_timeout / 4).clamp(SHORTEST_INTERVAL, longest);
        let clock = Arc::clone(&context.clock);
        let watch = self.topic_watch(opened);
        let lookup = OffsetLookup::start(client, clock, interval, watch, Arc::clone(&mailbox))?;
        let plan = self.plan(context, layout, until, interval);
        Ok(ReaderThread::new(consumer, plan, mailbox, lookup, events))
    }

    fn plan(
        &self,
        context: &Context,
        layout: Layout,
        until: Offsets,
        interval: Duration,
    ) -> ReaderSetup {
        let answers = self.stall_timeout.as_millis() / interval.as_millis().max(1);
        ReaderSetup {
            job: context.job.clone(),
            layout,
            begins_anew: self.begins_anew,
            until,
            most_records: self.max_poll_records,
            // More answers than that take decades: such a partition is never assigned again, as was asked for.
            patience: u32::try_from(answers).unwrap_or(u32::MAX),
            grace: self.session_timeout().div_f32(2.0).min(Duration::from_secs(5)),
            named: self.instance_name(context).is_some(),
            secrets: self.kafka.secrets(),
        }
    }

    fn topic_watch(&self, topics: Vec<OpenedTopic>) -> TopicWatch {
        let pause = self.kafka.millis("topic.metadata.refresh.interval.ms");
        // As often as librdkafka looks, where it was set to look more often.
        let pause = pause.unwrap_or(CHECK_PAUSE).min(CHECK_PAUSE);
        TopicWatch { kafka: self.kafka.clone(), topics, pause }
    }

    /// The names of the topics, for messages.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.topics.iter().map(|topic| topic.name.as_str()).collect();
        names.join(" and ")
    }

    /// Whether all topics are in one cluster.
    pub(crate) fn check_cluster(&self) -> Result<()> {
        let Some(other_cluster) = &self.other_cluster else { return Ok(()) };
        let here = self.kafka.servers();
        Err(Error::config(format!("read {}", self.names())).because(format!(
            "topics that are read together are in one cluster, and these are at {here} and at \
             {other_cluster}"
        )))
    }

    /// Whether the job and the topic do not both name this instance.
    fn check_named_once(&self, context: &Context) -> Result<()> {
        let both = self.instance.as_ref().zip(context.instance.as_ref());
        both.map_or(Ok(()), |(own, of_the_job)| {
            Err(Error::config(format!(
                "read {} as instance {own}: the job's `instances` name it, too ({of_the_job}); leave out \
                 `KafkaTopic::instance`",
                self.names()
            )))
        })
    }

    fn check_topics(&self) -> Result<()> {
        self.check_cluster()?;
        let mut seen = BTreeSet::new();
        match self.topics.iter().find(|topic| !seen.insert(&topic.name)) {
            None => Ok(()),
            Some(TopicOptions { name, .. }) => Err(Error::config(format!("read {}", self.names()))
                .because(format!("{name} is named twice; read it once and split the flow"))),
        }
    }

    /// Asks how many partitions there are.
    fn layout(&self, client: &BaseConsumer<context::Callbacks>) -> Result<Layout> {
        let counted = |topic| self.count(client, topic);
        let topics: Vec<(Topic, u32)> = self.topics.iter().map(counted).collect::<Result<_>>()?;
        let layout = Layout::new(topics);
        let layout = layout.ok_or_else(|| {
            Error::transient(format!("read {}: Kafka lists no partitions of it yet", self.names()))
        })?;
        let counts = layout.topics().iter().map(|(_, count)| *count);
        if layout.tasks() == 1 && self.topics.len() > 1 && counts.max() > Some(1) {
            let counts: Vec<_> =
                layout.topics().iter().map(|(topic, count)| format!("{topic} {count}")).collect();
            warn!(
                "one task reads all partitions, since their counts have no common divisor: {}. More than \
                 one instance has nothing to do",
                counts.join(", ")
            );
        }
        Ok(layout)
    }

    fn count(
        &self,
        client: &BaseConsumer<context::Callbacks>,
        TopicOptions { name, expected_partitions }: &TopicOptions,
    ) -> Result<(Topic, u32)> {
        let count = self.kafka.partitions(client, name, PROPAGATION_TIMEOUT)?;
        let Some(count) = count else {
            return Err(Error::config(format!(
                "read topic {name}: Kafka at {} has no such topic; create it first",
                self.kafka.servers()
            )));
        };
        if let Some(expected) = expected_partitions.filter(|expected| *expected != count) {
            warn!("topic {name} has {count} partitions, {expected} were expected");
        }
        Ok((Topic::new(name), count))
    }

    /// The topics as they are now, with their ids where the brokers know ids.
    fn opened_topics(
        &self,
        client: &BaseConsumer<context::Callbacks>,
        layout: &Layout,
    ) -> Result<Vec<OpenedTopic>> {
        let names: Vec<&str> = layout.topics().iter().map(|(topic, _)| topic.name()).collect();
        let attempt =
            format!("ask Kafka at {} for the ids of {}", self.kafka.servers(), self.names());
        let found = describe(client, &names, REQUEST_TIMEOUT);
        let found = found.map_err(|error| failure(&attempt, &error, &self.kafka.secrets()))?;
        let opened = layout.topics().iter().map(|(topic, partitions)| {
            // It was there when its partitions were counted.
            let found = found.get(topic.name()).ok_or_else(|| {
                Error::transient(format!("{attempt}: topic {topic} is not there any more"))
            })?;
            Ok(OpenedTopic { topic: *topic, partitions: *partitions, id: found.id })
        });
        let opened = opened.collect::<Result<Vec<_>>>()?;
        if opened.iter().any(|opened| opened.id.is_none()) {
            warn_of_old_brokers(&self.names(), self.kafka.servers());
        }
        Ok(opened)
    }

    /// The topic that the group subscribes to: it has as many partitions as there are tasks.
    fn group_topic(&self, layout: &Layout, group: &str) -> Result<String> {
        let tasks = layout.tasks();
        let own = layout.topics().iter().find(|(_, count)| *count == tasks);
        if let Some((topic, _)) = own {
            return Ok(topic.name().to_owned());
        }
        // The count is in the name: partitions that are added to a topic may change it, and the
        // instances of before and after must not be assigned each other's tasks.
        let name = format!("{group}.coordination-{tasks}");
        let made = self.kafka.create_coordination_topic(&name, tasks, CREATE_TIMEOUT);
        let count = made.map_err(|error| {
            let attempt = format!("read {} as the group {group}", self.names());
            let advice = format!(
                "their {tasks} tasks are handed out on the topic {name}, which could not be made; create \
                 it with {tasks} partitions, it stays empty ({})",
                error.report()
            );
            Error::new(error.kind(), attempt).because(advice)
        })?;
        if count == tasks {
            return Ok(name);
        }
        Err(Error::config(format!("read {} as the group {group}", self.names())).because(format!(
            "their {tasks} tasks are handed out on the topic {name}, which has {count} partitions; delete \
             it, and it is made with {tasks}"
        )))
    }

    /// Asks where the partitions end.
    fn ends(&self, client: &BaseConsumer<context::Callbacks>, layout: &Layout) -> Result<Offsets> {
        let partitions = layout.partitions();
        let attempt = format!("ask where {} ends", self.names());
        let ends = offsets(client, &partitions, Offset::End, REQUEST_TIMEOUT);
        let ends = ends.map_err(|error| failure(&attempt, &error, &self.kafka.secrets()))?.offsets;
        let whole = partitions.iter().all(|partition| ends.contains_key(partition));
        if whole {
            Ok(ends)
        } else {
            Err(Error::transient(attempt + ": a partition has no leader at the moment"))
        }
    }

    fn session_timeout(&self) -> Duration {
        // A value that is no number is refused as the client is made.
        self.kafka.millis("session.timeout.ms").unwrap_or(SESSION_TIMEOUT)
    }

    /// What the group knows this instance by, if by a name.
    fn instance_name<'a>(&'a self, context: &'a Context) -> Option<&'a str> {
        context.instance.as_deref().or(self.instance.as_deref())
    }

    fn consumer(
        &self,
        context: &Context,
        partitions: usize,
    ) -> Result<Arc<BaseConsumer<context::Callbacks>>> {
        let share = (self.prefetch_bytes / partitions.max(1)).max(LEAST_PREFETCH_BYTES);
        let (kbytes, fetch) = ((share / 1024).to_string(), fetch_bytes(share).to_string());
        let messages = (share / MESSAGE_BYTES).to_string();
        let heartbeat = (self.session_timeout().as_millis() / 3).min(300).to_string();
        let mut own = vec![
            ("?client.id", context.job.as_str()),
            ("group.id", context.job.as_str()),
            ("?heartbeat.interval.ms", &heartbeat),
            ("?queued.max.messages.kbytes", &kbytes),
            ("?fetch.message.max.bytes", &fetch),
            ("?queued.min.messages", &messages),
        ];
        own.extend_from_slice(OPTIONS);
        if let Some(instance) = self.instance_name(context) {
            own.push(("group.instance.id", instance));
        }
        let mut consumer: BaseConsumer<context::Callbacks> =
            self.kafka.client(Role::Consumer, "reader", &own)?;
        let reader = std::thread::current();
        consumer.set_nonempty_callback(move || reader.unpark());
        Ok(Arc::new(consumer))
    }
}

/// How much is fetched at once of a partition that may fetch this much ahead. Small pieces: they come compressed, and
/// what they are made of is in memory as a whole for as long as one record of it is.
fn fetch_bytes(share: usize) -> usize {
    (share / 8).clamp(LEAST_FETCH_BYTES, MOST_FETCH_BYTES)
}

/// Says once what cannot be noticed.
fn warn_of_old_brokers(topics: &str, servers: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        warn!(
            "Kafka at {servers} gives its topics no ids (it is older than 2.8): if {topics} is deleted and made \
             anew, that can only be noticed while the new topic is shorter than what was read"
        );
    });
}
