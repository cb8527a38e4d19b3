//! The terms of leaders in a list of partitions: rdkafka hands on offsets only.

use std::ffi::CString;
use std::ptr::NonNull;

use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka_sys as sys;
use rtbflow::Partition;

fn find(
    list: &TopicPartitionList,
    partition: Partition,
) -> Option<NonNull<sys::rd_kafka_topic_partition_t>> {
    let topic = CString::new(partition.topic.name()).ok()?;
    // SAFETY: the list is alive and the name a C string; what is found belongs to the list.
    let found = unsafe {
        sys::rd_kafka_topic_partition_list_find(list.ptr(), topic.as_ptr(), partition.number)
    };
    NonNull::new(found)
}

/// The term in which the record before the offset of this partition was written, or a later one, if it is known.
pub(crate) fn term_of(list: &TopicPartitionList, partition: Partition) -> Option<i32> {
    let found = find(list, partition)?;
    // SAFETY: the list is borrowed, and with it what was found in it.
    let term = unsafe { sys::rd_kafka_topic_partition_get_leader_epoch(found.as_ptr()) };
    (term >= 0).then_some(term)
}

/// Says in which term the record before the offset of this partition was written.
pub(crate) fn set_term(list: &mut TopicPartitionList, partition: Partition, term: i32) {
    if let Some(found) = find(list, partition) {
        // SAFETY: the list is borrowed by nobody else, and what was found belongs to it.
        unsafe { sys::rd_kafka_topic_partition_set_leader_epoch(found.as_ptr(), term) };
    }
}
