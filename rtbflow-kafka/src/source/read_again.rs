//! Reads single records again, by a consumer of its own that belongs to no group: for dead letters of records that
//! were read in an earlier epoch.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rtbflow::epoch::{DeadLetter, Original};
use rtbflow::source::RawBatch;
use rtbflow::{BadRecord, Error, Origin, Result};

use crate::client::deadline::Deadline;
use crate::client::failure::{failure, kind};
use crate::client::kafka::Kafka;
use crate::client::native::{OffsetRange, PartitionFailure};
use crate::client::option::Role;
use crate::client::partition_consumer::PartitionConsumer;

/// How long nothing may come while there is something to read.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// The pause between two polls.
const PAUSE: Duration = Duration::from_millis(2);
/// Records taken at a time.
const MOST_RECORDS: usize = 100;
/// Records that are nearer to each other are read in one go.
const NEAR: i64 = 1_000;

/// The records at these places, where they are still there. Blocking.
///
/// # Errors
/// Transient if a broker is away.
pub(crate) fn read_again(
    kafka: &Kafka,
    origins: &[Origin],
    deadline: Deadline,
) -> Result<BTreeMap<Origin, Original>> {
    let mut sorted = origins.to_vec();
    sorted.sort_unstable_by_key(|origin| (origin.partition(), origin.offset()));
    let near = |a: &Origin, b: &Origin| {
        a.partition() == b.partition() && b.offset().saturating_sub(a.offset()) <= NEAR
    };
    let mut found = BTreeMap::new();
    for some in sorted.chunk_by(near) {
        read(kafka, some, deadline, &mut found)?;
    }
    Ok(found)
}

/// Reads from the first of these records, all of one partition, to the last.
fn read(
    kafka: &Kafka,
    origins: &[Origin],
    deadline: Deadline,
    found: &mut BTreeMap<Origin, Original>,
) -> Result<()> {
    // Chunks are never empty.
    let (Some(first), Some(last)) = (origins.first(), origins.last()) else { return Ok(()) };
    let attempt = format!("read {first} again from Kafka at {}", kafka.servers());
    let failed = |error| failure(&*attempt, &error, &kafka.secrets());
    let consumer = kafka.client(Role::Consumer, "again", OPTIONS)?;
    let mut consumer = PartitionConsumer::assign(
        consumer,
        first.partition(),
        first.offset(),
        MOST_RECORDS,
        failed,
    )?;
    let range = OffsetRange { from: first.offset(), until: last.offset().saturating_add(1) };
    let read = read_range(&mut consumer, range, deadline, &attempt, |records| {
        found.extend(originals(records, origins));
    });
    consumer.end();
    read
}

/// Hands over what there is of a range, batch by batch.
fn read_range(
    consumer: &mut PartitionConsumer,
    mut rest: OffsetRange,
    deadline: Deadline,
    attempt: &str,
    mut take: impl FnMut(&RawBatch),
) -> Result<()> {
    let mut silence = Deadline::after(LONGEST_SILENCE);
    loop {
        let taken = consumer.take(rest);
        if let Some(records) = &taken.records {
            take(records);
        }
        rest.from = taken.next;
        match taken.failure {
            // Retention has removed it, or the log ends before it.
            Some(PartitionFailure { code: Code::AutoOffsetReset | Code::PartitionEOF, .. }) => {
                return Ok(());
            }
            Some(PartitionFailure { code, reason }) => {
                return Err(Error::new(kind(code), attempt).because(format!("{code}: {reason}")));
            }
            None if taken.beyond || rest.from >= rest.until => return Ok(()),
            None if taken.count > 0 => silence = Deadline::after(LONGEST_SILENCE),
            None if silence.is_over() || deadline.is_over() => {
                return Err(Error::transient(format!("{attempt}: no record arrives")));
            }
            None => thread::park_timeout(PAUSE),
        }
    }
}

/// Those of the records that are in this batch, as they were written.
fn originals(records: &RawBatch, origins: &[Origin]) -> impl Iterator<Item = (Origin, Original)> {
    origins.iter().filter_map(|origin| {
        let reason = BadRecord::new("read again");
        let letter = records.dead_letter(origin.partition(), origin.offset(), reason)?;
        let DeadLetter { key, value, headers, .. } = letter;
        Some((*origin, Original::new(key, value, headers)))
    })
}

const OPTIONS: &[(&str, &str)] = &[
    // Assigning needs a name; nothing is joined and nothing committed.
    ("group.id", "rtbflow"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // Nothing of it is a position, so nothing can be lost by it.
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("?fetch.wait.max.ms", "10"),
    ("?fetch.error.backoff.ms", "100"),
    ("?queued.max.messages.kbytes", "1024"),
];
