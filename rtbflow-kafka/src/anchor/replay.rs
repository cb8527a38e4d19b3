//! Reads a partition of the changelog: its end, or all of it.

use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use rtbflow::epoch::JobName;
use rtbflow::source::{RawBatch, RawRecord};
use rtbflow::{Error, Partition, Result};

use crate::anchor::changelog::Scan;
use crate::anchor::positions::{Positions, read_positions};
use crate::client::context::Callbacks;
use crate::client::deadline::Deadline;
use crate::client::failure::{failure, kind};
use crate::client::kafka::Kafka;
use crate::client::native::OffsetRange;
use crate::client::offsets::{offsets, serve_events};
use crate::client::option::Role;
use crate::client::partition_consumer::PartitionConsumer;

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
    committed: BaseConsumer<Callbacks>,
    /// Asks for high watermarks: what open transactions have written is before them, too.
    uncommitted: BaseConsumer<Callbacks>,
}

impl OffsetClients {
    pub(crate) fn new(kafka: &Kafka) -> Result<Self> {
        let own = [("isolation.level", "read_uncommitted"), ("enable.partition.eof", "false")];
        let uncommitted = kafka.client(Role::Consumer, "changelog", &own)?;
        Ok(Self { committed: kafka.query_client("changelog")?, uncommitted })
    }

    /// A client for other requests.
    pub(crate) fn any(&self) -> &BaseConsumer<Callbacks> {
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
    fn offset(&self, client: &BaseConsumer<Callbacks>, kind: Offset) -> Result<i64> {
        let attempt = || format!("ask Kafka where {} ends", self.partition);
        let found = offsets(client, &[self.partition], kind, REQUEST_TIMEOUT);
        serve_events(client);
        let found = found.map_err(|error| failure(attempt(), &error, &self.kafka.secrets()))?;
        found
            .offsets
            .get(&self.partition)
            .copied()
            .ok_or_else(|| Error::transient(attempt() + ": it has no leader at the moment"))
    }

    /// The range to be read, from where the partition begins to where all transactions are decided that are open
    /// now; `None` if one is not decided within the patience.
    pub(crate) fn range(&self, patience: Duration) -> Result<Option<OffsetRange>> {
        let deadline = Deadline::after(patience);
        // Asked once: transactions that begin later are none of those that have to be decided.
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
                "read {partition}: a transaction of another instance is not decided yet, and is waited for"
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
                // Without any nothing was claimed yet.
                return Ok(found.unwrap_or_default());
            }
            // Aborted transactions lie before the end, by the thousand where a producer was restarted again and again.
            tail = tail.saturating_mul(8);
        }
    }

    /// All of it.
    pub(crate) fn scan(&self, range: OffsetRange) -> Result<Scan> {
        let mut scan = Scan::default();
        self.read(range, |record| scan.take(record))?;
        Ok(scan)
    }

    /// Passes on every record of a range.
    fn read(
        &self,
        range: OffsetRange,
        mut take: impl FnMut(&RawRecord<'_>) -> Result<()>,
    ) -> Result<()> {
        if range.from >= range.until {
            return Ok(());
        }
        let mut consumer = PartitionConsumer::assign(
            self.consumer()?,
            self.partition,
            range.from,
            MOST_RECORDS,
            |error| self.failure(range, &error),
        )?;
        let read = self.read_from(&mut consumer, range, &mut take);
        consumer.end();
        read
    }

    fn read_from(
        &self,
        consumer: &mut PartitionConsumer,
        range: OffsetRange,
        take: &mut impl FnMut(&RawRecord<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut rest = range;
        let mut silence = Deadline::after(LONGEST_SILENCE);
        loop {
            let taken = consumer.take(rest);
            self.take_all(taken.records.as_ref(), take)?;
            // Behind the records: what came before the error was read.
            if let Some(failure) = taken.failure {
                let reason = format!("{}: {}", failure.code, failure.reason);
                return Err(Error::new(kind(failure.code), self.attempt(range)).because(reason));
            }
            rest.from = taken.next;
            // The end may be a marker or an aborted record, which never comes as a record.
            let position = consumer.position().map_err(|error| self.failure(range, &error))?;
            if taken.beyond || position.max(Some(rest.from)) >= Some(range.until) {
                return Ok(());
            }
            if taken.count > 0 {
                silence = Deadline::after(LONGEST_SILENCE);
            } else if silence.is_over() {
                return Err(self.silent(consumer, range));
            } else {
                thread::park_timeout(PAUSE);
            }
        }
    }

    /// The error of a range of which nothing has come for too long.
    #[cold]
    fn silent(&self, consumer: &PartitionConsumer, range: OffsetRange) -> Error {
        let last = consumer.client().client().context().last_error();
        let none = || "no record arrived in time".to_owned();
        let reason = last.map_or_else(none, |(_, reason)| reason);
        Error::transient(self.attempt(range)).because(reason)
    }

    fn take_all(
        &self,
        records: Option<&RawBatch>,
        take: &mut impl FnMut(&RawRecord<'_>) -> Result<()>,
    ) -> Result<()> {
        let records = records.into_iter();
        // Below the length each number is that of a record.
        let mut all = records.flat_map(|all| (0..all.len()).filter_map(|index| all.get(index)));
        all.try_for_each(|record| {
            take(&record).map_err(|error| {
                let at = format!("read {} at offset {}", self.partition, record.offset);
                Error::new(error.kind(), at).because(error)
            })
        })
    }

    fn attempt(&self, OffsetRange { from, until }: OffsetRange) -> String {
        format!("read {} from offset {from} to {until}", self.partition)
    }

    fn failure(&self, range: OffsetRange, error: &KafkaError) -> Error {
        failure(self.attempt(range), error, &self.kafka.secrets())
    }

    fn consumer(&self) -> Result<BaseConsumer<Callbacks>> {
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
