//! Reads a partition of the changelog: its end, or all of it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::epoch::JobName;
use rtbflow::source::RawRecord;
use rtbflow::{Error, Partition, Result};

use crate::anchor::changelog::Scan;
use crate::anchor::positions::{Positions, read_positions};
use crate::client::blocking::drop_elsewhere;
use crate::client::context::Context;
use crate::client::deadline::Deadline;
use crate::client::failure::{failure, kind};
use crate::client::kafka::Kafka;
use crate::client::native::{OffsetRange, Queue};
use crate::client::offsets::{offsets, serve_events};
use crate::client::option::Role;

/// How long nothing may come while there is something to read.
const LONGEST_SILENCE: Duration = Duration::from_secs(15);
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two polls.
const PAUSE: Duration = Duration::from_millis(5);
/// Records taken at a time.
const MOST_RECORDS: usize = 500;
/// Offsets from the end where the positions are looked for first: they and the marker of their
/// transaction are mostly the last two.
const FIRST_TAIL: i64 = 4;

/// Clients that ask where partitions end. They read nothing.
pub(crate) struct OffsetClients {
    /// Asks for last stable offsets: all before them is decided.
    committed: BaseConsumer<Context>,
    /// Asks for high watermarks: what open transactions have written is before them, too.
    uncommitted: BaseConsumer<Context>,
}

impl OffsetClients {
    pub(crate) fn new(kafka: &Kafka) -> Result<Self> {
        let own = [("isolation.level", "read_uncommitted"), ("enable.partition.eof", "false")];
        let uncommitted = kafka.client(Role::Consumer, "changelog", &own)?;
        Ok(Self { committed: kafka.query_client("changelog")?, uncommitted })
    }

    /// A client for other requests.
    pub(crate) fn any(&self) -> &BaseConsumer<Context> {
        &self.committed
    }
}

/// A partition of a changelog, to be read.
pub(crate) struct Replay<'a> {
    pub(crate) kafka: &'a Kafka,
    pub(crate) offset_clients: &'a OffsetClients,
    pub(crate) job: &'a JobName,
    pub(crate) partition: Partition,
}

impl Replay<'_> {
    fn offset(&self, client: &BaseConsumer<Context>, kind: Offset) -> Result<i64> {
        let attempt = || format!("ask Kafka where {} ends", self.partition);
        let found = offsets(client, &[self.partition], kind, REQUEST_TIMEOUT);
        serve_events(client);
        let found = found.map_err(|error| failure(attempt(), &error, &self.kafka.secrets()))?;
        found
            .offsets
            .get(&self.partition)
            .copied()
            .ok_or_else(|| Error::transient(attempt() + ": it has no leader"))
    }

    /// The range to be read, from where the partition begins to where all transactions are decided that are open
    /// now; `None` if one is not decided within the patience.
    pub(crate) fn range(&self, patience: Duration) -> Result<Option<OffsetRange>> {
        let deadline = Deadline::after(patience);
        let end = self.offset(&self.offset_clients.uncommitted, Offset::End)?;
        loop {
            let until = self.offset(&self.offset_clients.committed, Offset::End)?;
            if until >= end {
                let from = self.offset(&self.offset_clients.committed, Offset::Beginning)?;
                return Ok(Some(OffsetRange { from, until }));
            }
            if deadline.is_over() {
                return Ok(None);
            }
            thread::park_timeout(PAUSE);
        }
    }

    /// As [`range`](Self::range).
    ///
    /// # Errors
    /// Transient if a transaction is not decided in time.
    pub(crate) fn decided_range(&self, deadline: Deadline) -> Result<OffsetRange> {
        self.range(deadline.left())?.ok_or_else(|| {
            let partition = self.partition;
            Error::transient(format!(
                "read {partition}: a transaction of another instance is not decided yet"
            ))
        })
    }

    /// The newest positions. Every commit ends with them, so they are looked for from the end.
    pub(crate) fn positions(&self, range: OffsetRange) -> Result<Positions> {
        let mut tail = FIRST_TAIL;
        loop {
            let from = range.from.max(range.until.saturating_sub(tail));
            let mut found = None;
            self.read(OffsetRange { from, ..range }, |record| {
                found = read_positions(record)?.or(found.take());
                Ok(())
            })?;
            if found.is_some() || from == range.from {
                return Ok(found.unwrap_or_default());
            }
            tail = tail.saturating_mul(8);
        }
    }

    /// All of it.
    pub(crate) fn scan(&self, range: OffsetRange) -> Result<Scan> {
        let mut scan = Scan::default();
        self.read(range, |record| scan.take(record))?;
        Ok(scan)
    }

    /// Passes on every record of a range. The consumer is a new one: one that read before would know a
    /// position that is not of this reading.
    fn read(
        &self,
        range: OffsetRange,
        mut take: impl FnMut(&RawRecord<'_>) -> Result<()>,
    ) -> Result<()> {
        if range.from >= range.until {
            return Ok(());
        }
        let attempt = || format!("read {} from offset {}", self.partition, range.from);
        let failed = |error| failure(attempt(), &error, &self.kafka.secrets());
        let consumer = Arc::new(self.consumer()?);
        let (topic, number) = (self.partition.topic.name(), self.partition.number);
        let made = Queue::new(&consumer, thread::current(), MOST_RECORDS);
        let mut queue =
            made.ok_or_else(|| Error::transient("create a librdkafka queue for a changelog"))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, number, Offset::Offset(range.from)).map_err(failed)?;
        queue.forward(topic, number);
        consumer.assign(&list).map_err(failed)?;
        queue.forward(topic, number);
        let mut rest = range;
        let mut silence = Deadline::after(LONGEST_SILENCE);
        let read = loop {
            serve_events(&consumer);
            let taken = queue.take(MOST_RECORDS, rest);
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
            rest.from = taken.next;
            if taken.beyond || position(&consumer).max(rest.from) >= range.until {
                break Ok(());
            }
            if taken.count > 0 {
                silence = Deadline::after(LONGEST_SILENCE);
            } else if silence.is_over() {
                let last = consumer.client().context().last_error();
                let reason = last
                    .map_or_else(|| "no record arrived in time".to_owned(), |(_, reason)| reason);
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
