//! Reads single records again, by a consumer of its own that belongs to no group: for dead letters of records that
//! were read in an earlier epoch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::epoch::{DeadLetter, Original};
use rtbflow::{BadRecord, Error, Origin, Partition, Result};

use crate::client::blocking::drop_elsewhere;
use crate::client::context::Context;
use crate::client::deadline::Deadline;
use crate::client::failure::{failure, kind};
use crate::client::kafka::Kafka;
use crate::client::native::{Failure, OffsetRange, Queue};
use crate::client::offsets::serve_events;
use crate::client::option::Role;

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
    let (Some(first), Some(last)) = (origins.first(), origins.last()) else { return Ok(()) };
    let Partition { topic, number } = first.partition();
    let attempt = || format!("read {first} again");
    let failed = |error| failure(attempt(), &error, &kafka.secrets());
    let consumer: BaseConsumer<Context> = kafka.client(Role::Consumer, "again", OPTIONS)?;
    let consumer = Arc::new(consumer);
    let made = Queue::new(&consumer, thread::current(), MOST_RECORDS);
    let mut queue =
        made.ok_or_else(|| Error::transient("create a queue of librdkafka for a partition"))?;
    let mut list = TopicPartitionList::new();
    let from = Offset::Offset(first.offset());
    list.add_partition_offset(topic.name(), number, from).map_err(failed)?;
    queue.forward(topic.name(), number);
    consumer.assign(&list).map_err(failed)?;
    queue.forward(topic.name(), number);
    let mut rest = OffsetRange { from: first.offset(), until: last.offset() + 1 };
    let mut silence = Deadline::after(LONGEST_SILENCE);
    let read = loop {
        serve_events(&consumer);
        let taken = queue.take(MOST_RECORDS, rest);
        for origin in origins {
            let (partition, offset) = (origin.partition(), origin.offset());
            let letter = taken.records.as_ref().and_then(|records| {
                records.dead_letter(partition, offset, BadRecord::new("read again"))
            });
            found.extend(letter.map(|DeadLetter { key, value, headers, .. }| {
                (*origin, Original::new(key, value, headers))
            }));
        }
        rest.from = taken.next;
        match taken.failure {
            // Retention has removed it, or the log ends before it.
            Some(Failure { code: Code::AutoOffsetReset | Code::PartitionEOF, .. }) => break Ok(()),
            Some(Failure { code, reason }) => {
                break Err(Error::new(kind(code), attempt()).because(format!("{code}: {reason}")));
            }
            None if taken.beyond || rest.from >= rest.until => break Ok(()),
            None if taken.count > 0 => silence = Deadline::after(LONGEST_SILENCE),
            None if silence.is_over() || deadline.is_over() => {
                break Err(Error::transient(attempt() + ": no record arrives"));
            }
            None => thread::park_timeout(PAUSE),
        }
    };
    queue.unforward(topic.name(), number);
    drop(queue);
    drop_elsewhere(consumer);
    read
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
