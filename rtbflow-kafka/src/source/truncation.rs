//! Whether a log was cut below a position: a leader that had fallen behind has taken over, and what it did not have
//! is gone. Offsets do not show it, once the log has grown beyond the position again; the leader epochs do.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::TopicPartitionList;
use rtbflow::{Partition, Result};

use crate::client::deadline::Deadline;
use crate::client::failure::failure;
use crate::client::kafka::Kafka;
use crate::client::native::{OffsetRange, PartitionFailure, set_leader_epoch};
use crate::client::offsets::serve_events;
use crate::client::option::Role;
use crate::client::partition_consumer::PartitionConsumer;

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
) -> Result<BTreeMap<Partition, i64>> {
    let mut found = BTreeMap::new();
    for (partition, position) in positions {
        if let Some(cut) = validate(kafka, *partition, *position)? {
            found.insert(*partition, cut);
        }
    }
    Ok(found)
}

/// Lets librdkafka compare offset and leader epoch with what the leader knows, which it does where it seeks to them.
fn validate(kafka: &Kafka, partition: Partition, position: OffsetAndEpoch) -> Result<Option<i64>> {
    let OffsetAndEpoch { offset, leader_epoch } = position;
    let failed = |error| {
        let attempt =
            format!("ask Kafka whether the log of {partition} was cut below offset {offset}");
        failure(attempt, &error, &kafka.secrets())
    };
    let consumer = kafka.client(Role::Consumer, "leader epochs", OPTIONS)?;
    let mut consumer = PartitionConsumer::assign(consumer, partition, offset, 1, failed)?;
    let deadline = Deadline::after(VALIDATION_TIMEOUT);
    let validated = consumer.at(offset).and_then(|mut list| {
        set_leader_epoch(&mut list, partition, leader_epoch)?;
        seek(&consumer, &list, deadline)?;
        answer(&mut consumer, position, deadline)
    });
    consumer.end();
    validated.map_err(failed)
}

/// Seeks, as soon as that is possible: a partition that is only being assigned cannot be sought in yet.
fn seek(
    consumer: &PartitionConsumer,
    list: &TopicPartitionList,
    deadline: Deadline,
) -> KafkaResult<()> {
    while !deadline.is_over() {
        serve_events(consumer.client());
        let sought = consumer.client().seek_partitions(list.clone(), VALIDATION_TIMEOUT);
        if sought.is_ok_and(|list| list.elements().iter().all(|at| at.error().is_ok())) {
            return Ok(());
        }
        thread::park_timeout(PAUSE);
    }
    Err(KafkaError::MessageConsumption(Code::OperationTimedOut))
}

/// What comes behind the seek: a record or the end of the log, or that the log was cut.
fn answer(
    consumer: &mut PartitionConsumer,
    position: OffsetAndEpoch,
    deadline: Deadline,
) -> KafkaResult<Option<i64>> {
    loop {
        let taken = consumer.take(OffsetRange { from: position.offset, until: i64::MAX });
        match taken.failure {
            None if taken.records.is_some() => return Ok(None),
            Some(PartitionFailure { code: Code::PartitionEOF, .. }) => return Ok(None),
            Some(PartitionFailure {
                code: Code::AutoOffsetReset | Code::LogTruncation,
                reason,
            }) => {
                return cut_at(&reason, position);
            }
            Some(PartitionFailure { code, .. }) => {
                return Err(KafkaError::MessageConsumption(code));
            }
            None if deadline.is_over() => {
                return Err(KafkaError::MessageConsumption(Code::OperationTimedOut));
            }
            None => thread::park_timeout(PAUSE),
        }
    }
}

/// The offset that librdkafka names, if its words are about a log that was cut. A position beyond the log is seen
/// by its offset.
fn cut_at(reason: &str, position: OffsetAndEpoch) -> KafkaResult<Option<i64>> {
    // About something else: of what the log does not hold its start and its end say more.
    let Some((_, behind)) = reason.split_once(CUT_AT) else { return Ok(None) };
    let offset = behind.split(|c: char| c != '-' && !c.is_ascii_digit()).next();
    let offset: Option<i64> = offset.and_then(|offset| offset.parse().ok());
    // An offset that cannot be read is no offset: where the log was cut is asked for again.
    let offset = offset.ok_or_else(|| KafkaError::Seek(reason.to_owned()))?;
    // Below 0 nothing of the leader epoch is left there.
    let cut = offset.max(0);
    Ok((cut < position.offset).then_some(cut))
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
        assert_eq!(cut_at(said, position), Ok(Some(10)));
        let said = "No epoch found less or equal to offset 15: broker end offset is -1 (offset leader epoch -1).";
        assert_eq!(cut_at(said, position), Ok(Some(0)));
        let beyond = "fetch failed due to requested offset not available";
        assert_eq!(cut_at(beyond, position), Ok(None));
        let unreadable = format!("{CUT_AT}99999999999999999999.");
        assert!(cut_at(&unreadable, position).is_err(), "no offset turns into another one");
    }
}
