//! Reads a partition of the changelog: its end, or all of it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::epoch::JobName;
use rtbflow::source::RawRecord;
use rtbflow::{Error, Partition, Result};

use crate::anchor::changelog::{Positions, Scan, read_positions};
use crate::client::blocking::drop_elsewhere;
use crate::client::context::Context;
use crate::client::deadline::Deadline;
use crate::client::failure::{failure, kind};
use crate::client::kafka::Kafka;
use crate::client::native::{Door, Queue};
use crate::client::offsets::{offsets, serve_events};
use crate::client::option::Role;

/// How long reading may stand still.
const LONGEST_SILENCE: Duration = Duration::from_secs(15);
/// How long one question may take.
const LONGEST_QUESTION: Duration = Duration::from_secs(5);
/// The pause between two looks at what comes.
const PAUSE: Duration = Duration::from_millis(5);
/// Records taken at a time.
const MOST_RECORDS: usize = 500;
/// Offsets from the end where the positions are looked for first: they and the marker of their
/// transaction are mostly the last two.
const FIRST_LOOK: i64 = 4;

/// Clients that ask where partitions end. They read nothing.
pub(crate) struct OffsetClients {
    /// Sees what is decided.
    decided: BaseConsumer<Context>,
    /// Sees what open transactions have written, too.
    written: BaseConsumer<Context>,
}

impl OffsetClients {
    pub(crate) fn new(kafka: &Kafka) -> Result<Self> {
        let own = [("isolation.level", "read_uncommitted"), ("enable.partition.eof", "false")];
        let written = kafka.client(Role::Consumer, "changelog", &own)?;
        Ok(Self { decided: kafka.asking_client("changelog")?, written })
    }

    /// A client for other questions.
    pub(crate) fn any(&self) -> &BaseConsumer<Context> {
        &self.decided
    }
}

/// Where a partition of the changelog begins and ends, all transactions up to its end being decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    from: i64,
    until: i64,
}

/// A partition of a changelog, to be read.
pub(crate) struct Replay<'a> {
    pub(crate) kafka: &'a Kafka,
    pub(crate) offset_clients: &'a OffsetClients,
    pub(crate) job: &'a JobName,
    pub(crate) partition: Partition,
}

impl Replay<'_> {
    fn ask(&self, client: &BaseConsumer<Context>, what: Offset) -> Result<i64> {
        let attempt = || format!("ask Kafka where {} ends", self.partition);
        let found = offsets(client, &[self.partition], what, LONGEST_QUESTION);
        serve_events(client);
        let found = found.map_err(|error| failure(attempt(), &error, &self.kafka.secrets()))?;
        found
            .offsets
            .get(&self.partition)
            .copied()
            .ok_or_else(|| Error::transient(attempt() + ": it has no leader"))
    }

    /// The range to be read; `None` if a transaction is not decided within the patience.
    pub(crate) fn range(&self, patience: Duration) -> Result<Option<Range>> {
        let deadline = Deadline::after(patience);
        let end = self.ask(&self.offset_clients.written, Offset::End)?;
        loop {
            let until = self.ask(&self.offset_clients.decided, Offset::End)?;
            if until >= end {
                let from = self.ask(&self.offset_clients.decided, Offset::Beginning)?;
                return Ok(Some(Range { from, until }));
            }
            if deadline.is_over() {
                return Ok(None);
            }
            thread::park_timeout(PAUSE);
        }
    }

    /// The newest positions. Every commit ends with them, so they are looked for from the end.
    pub(crate) fn positions(&self, range: Range) -> Result<Positions> {
        let mut look = FIRST_LOOK;
        loop {
            let from = range.from.max(range.until.saturating_sub(look));
            let mut found = None;
            self.read(Range { from, ..range }, |record| {
                found = read_positions(record)?.or(found.take());
                Ok(())
            })?;
            if found.is_some() || from == range.from {
                return Ok(found.unwrap_or_default());
            }
            look = look.saturating_mul(8);
        }
    }

    /// All of it.
    pub(crate) fn scan(&self, range: Range) -> Result<Scan> {
        let mut scan = Scan::default();
        self.read(range, |record| scan.take(record))?;
        Ok(scan)
    }

    /// Hands over every record of a range. The consumer is a new one: one that read before would know a
    /// position that is not of this reading.
    fn read(&self, range: Range, mut take: impl FnMut(&RawRecord<'_>) -> Result<()>) -> Result<()> {
        if range.from >= range.until {
            return Ok(());
        }
        let attempt = || format!("read {} from offset {}", self.partition, range.from);
        let failed = |error| failure(attempt(), &error, &self.kafka.secrets());
        let consumer = Arc::new(self.consumer()?);
        let (topic, number) = (self.partition.topic.name(), self.partition.number);
        let made = Queue::new(&consumer, thread::current(), MOST_RECORDS);
        let mut queue = made.ok_or_else(|| Error::transient("make a native queue of Kafka's"))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, number, Offset::Offset(range.from)).map_err(failed)?;
        queue.forward(topic, number);
        consumer.assign(&list).map_err(failed)?;
        queue.forward(topic, number);
        let mut door = Door { from: range.from, until: range.until };
        let mut silence = Deadline::after(LONGEST_SILENCE);
        let read = loop {
            serve_events(&consumer);
            let taken = queue.take(MOST_RECORDS, door);
            let records = taken.records.iter();
            let records = records.flat_map(|all| (0..all.len()).filter_map(|index| all.get(index)));
            let handed = records.map(|record| {
                take(&record).map_err(|error| {
                    let at = format!("read {} at offset {}", self.partition, record.offset);
                    Error::new(error.kind(), at).because(error)
                })
            });
            if let Err(error) = handed.collect::<Result<()>>() {
                break Err(error);
            }
            if let Some(failure) = taken.failure {
                let reason = format!("{}: {}", failure.code, failure.reason);
                break Err(Error::new(kind(failure.code), attempt()).because(reason));
            }
            door.from = taken.next;
            if taken.beyond || position(&consumer).max(door.from) >= range.until {
                break Ok(());
            }
            if taken.count > 0 {
                silence = Deadline::after(LONGEST_SILENCE);
            } else if silence.is_over() {
                let last = consumer.client().context().last_error();
                let reason = last.map_or_else(|| "nothing comes".to_owned(), |(_, reason)| reason);
                let attempt = format!("{} to {}", attempt(), range.until);
                break Err(Error::transient(attempt).because(reason));
            } else {
                thread::park_timeout(PAUSE);
            }
        };
        queue.unforward(topic, number);
        drop(queue);
        drop_elsewhere(consumer);
        read
    }

    fn consumer(&self) -> Result<BaseConsumer<Context>> {
        let own = [
            ("?client.id", self.job.as_str()),
            // Assigning needs a name; nothing is joined and nothing committed.
            ("group.id", self.job.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("?check.crcs", "true"),
            ("?fetch.wait.max.ms", "10"),
            ("?fetch.queue.backoff.ms", "10"),
            ("?fetch.error.backoff.ms", "100"),
            ("?queued.max.messages.kbytes", "16384"),
        ];
        self.kafka.client(Role::Consumer, "changelog", &own)
    }
}

/// What came out of the native queue so far, markers and aborted records included.
fn position(consumer: &BaseConsumer<Context>) -> i64 {
    let list = consumer.position().ok();
    let first = list.iter().flat_map(TopicPartitionList::elements).next();
    first.and_then(|element| element.offset().to_raw()).unwrap_or(-1)
}
