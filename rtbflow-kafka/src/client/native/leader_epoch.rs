//! The leader epochs in a list of partitions: rdkafka has offsets only.

use std::ffi::CString;
use std::ptr::NonNull;

use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka_sys as sys;
use rtbflow::Partition;

fn find(
    list: &TopicPartitionList,
    partition: Partition,
) -> Option<NonNull<sys::rd_kafka_topic_partition_t>> {
    // A name with a NUL is that of no topic, and in no list.
    let topic = CString::new(partition.topic.name()).ok()?;
    // SAFETY: the list is alive and the name a C string; what is found belongs to the list.
    let found = unsafe {
        sys::rd_kafka_topic_partition_list_find(list.ptr(), topic.as_ptr(), partition.number)
    };
    NonNull::new(found)
}

/// The leader epoch in which the record before the offset of this partition was written, or a later one, if it is
/// known.
pub(crate) fn leader_epoch_of(list: &TopicPartitionList, partition: Partition) -> Option<i32> {
    let found = find(list, partition)?;
    // SAFETY: the list is borrowed, and with it what was found in it.
    let leader_epoch = unsafe { sys::rd_kafka_topic_partition_get_leader_epoch(found.as_ptr()) };
    (leader_epoch >= 0).then_some(leader_epoch)
}

/// Says in which leader epoch the record before the offset of this partition was written.
///
/// # Errors
/// If the partition is not in the list: without a leader epoch nothing would be compared with it.
pub(crate) fn set_leader_epoch(
    list: &mut TopicPartitionList,
    partition: Partition,
    leader_epoch: i32,
) -> KafkaResult<()> {
    let missing = || KafkaError::Seek(format!("{partition} is not in the list"));
    let found = find(list, partition).ok_or_else(missing)?;
    // SAFETY: the list is borrowed by nobody else, and what was found belongs to it.
    unsafe { sys::rd_kafka_topic_partition_set_leader_epoch(found.as_ptr(), leader_epoch) };
    Ok(())
}
