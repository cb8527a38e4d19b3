//! Whether a log was cut below a position: a leader that had fallen behind has taken over, and what it did not have
//! is gone. Offsets do not show it, once the log has grown beyond the position again; the leader epochs do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::Partition;

use crate::client::blocking::drop_elsewhere;
use crate::client::context::Context;
use crate::client::deadline::Deadline;
use crate::client::kafka::Kafka;
use crate::client::native::{Failure, OffsetRange, Queue, set_leader_epoch};
use crate::client::offsets::serve_events;
use crate::client::option::Role;

/// How long one validation may take.
const VALIDATION_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two polls.
const PAUSE: Duration = Duration::from_millis(5);
/// What librdkafka says before the offset at which the log was cut.
const CUT_AT: &str = "broker end offset is ";

/// A position that is to be validated: whether the log still holds what is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetAndEpoch {
    pub(crate) offset: i64,
    /// The leader epoch in which the last record before it was written, or a later one.
    pub(crate) leader_epoch: i32,
}

/// Where logs were cut below these positions.
///
/// # Errors
/// If a leader does not say.
pub(crate) fn cuts(
    kafka: &Kafka,
    positions: &BTreeMap<Partition, OffsetAndEpoch>,
) -> KafkaResult<BTreeMap<Partition, i64>> {
    let mut found = BTreeMap::new();
    for (partition, position) in positions {
        if let Some(cut) = validate(kafka, *partition, *position)? {
            found.insert(*partition, cut);
        }
    }
    Ok(found)
}

/// Lets librdkafka compare offset and leader epoch with what the leader knows, which it does where it seeks to them.
fn validate(
    kafka: &Kafka,
    partition: Partition,
    position: OffsetAndEpoch,
) -> KafkaResult<Option<i64>> {
    let failed = |_| KafkaError::Seek("no client".to_owned());
    let consumer: BaseConsumer<Context> =
        kafka.client(Role::Consumer, "leader epochs", OPTIONS).map_err(failed)?;
    let consumer = Arc::new(consumer);
    let (topic, number) = (partition.topic.name(), partition.number);
    let made = Queue::new(&consumer, thread::current(), 1);
    let mut queue = made.ok_or_else(|| KafkaError::Seek("no queue".to_owned()))?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, number, Offset::Offset(position.offset))?;
    queue.forward(topic, number);
    consumer.assign(&list)?;
    queue.forward(topic, number);
    set_leader_epoch(&mut list, partition, position.leader_epoch);
    let deadline = Deadline::after(VALIDATION_TIMEOUT);
    let validated = loop {
        serve_events(&consumer);
        if deadline.is_over() {
            break Err(KafkaError::MessageConsumption(Code::OperationTimedOut));
        }
        // A partition that is only being assigned cannot be sought in yet.
        let sought = consumer.seek_partitions(list.clone(), VALIDATION_TIMEOUT);
        let done = sought.is_ok_and(|list| list.elements().iter().all(|at| at.error().is_ok()));
        if done {
            break answer(&consumer, &mut queue, position, deadline);
        }
        thread::park_timeout(PAUSE);
    };
    queue.unforward(topic, number);
    drop(queue);
    drop_elsewhere(consumer);
    validated
}

/// What comes behind the seek: a record or the end of the log, or that the log was cut.
fn answer(
    consumer: &BaseConsumer<Context>,
    queue: &mut Queue,
    position: OffsetAndEpoch,
    deadline: Deadline,
) -> KafkaResult<Option<i64>> {
    loop {
        serve_events(consumer);
        let taken = queue.take(1, OffsetRange { from: position.offset, until: i64::MAX });
        match taken.failure {
            None if taken.records.is_some() => return Ok(None),
            Some(Failure { code: Code::PartitionEOF, .. }) => return Ok(None),
            Some(Failure { code: Code::AutoOffsetReset | Code::LogTruncation, reason }) => {
                return Ok(cut_at(&reason, position));
            }
            Some(Failure { code, .. }) => return Err(KafkaError::MessageConsumption(code)),
            None if deadline.is_over() => {
                return Err(KafkaError::MessageConsumption(Code::OperationTimedOut));
            }
            None => thread::park_timeout(PAUSE),
        }
    }
}

/// The offset that librdkafka names, if its words are about a log that was cut. A position beyond the log is seen
/// by its offset.
fn cut_at(reason: &str, position: OffsetAndEpoch) -> Option<i64> {
    let (_, behind) = reason.split_once(CUT_AT)?;
    let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    // Without an offset nothing of the leader epoch is left there.
    let cut = behind.get(..digits)?.parse().unwrap_or(0);
    (cut < position.offset).then_some(cut)
}

const OPTIONS: &[(&str, &str)] = &[
    // Assigning needs a name; nothing is joined and nothing committed.
    ("group.id", "rtbflow"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // Nothing is read here, so nothing can be lost by it.
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("?fetch.wait.max.ms", "10"),
    ("?fetch.error.backoff.ms", "100"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_the_cut_is_found_in_librdkafkas_words() {
        let position = OffsetAndEpoch { offset: 15, leader_epoch: 0 };
        let said = "Partition log truncation detected at offset 15 (leader epoch 0): broker end offset is 10 \
                    (offset leader epoch 0). Reset to INVALID.";
        assert_eq!(cut_at(said, position), Some(10));
        let said = "No epoch found less or equal to offset 15: broker end offset is -1 (offset leader epoch -1).";
        assert_eq!(cut_at(said, position), Some(0));
        assert_eq!(cut_at("fetch failed due to requested offset not available", position), None);
    }
}
