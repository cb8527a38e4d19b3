//! Offsets of partitions, asked of a client that reads nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::{Partition, Topic};

use crate::client::context::Callbacks;
use crate::client::native::leader_epoch_of;

/// An offset for each partition.
pub(crate) type Offsets = BTreeMap<Partition, i64>;

/// Offsets of one kind, and the leader epochs that they are of.
#[derive(Debug, Default)]
pub(crate) struct ListedOffsets {
    pub(crate) offsets: Offsets,
    pub(crate) leader_epochs: BTreeMap<Partition, i32>,
}

/// Asks for one kind of offset of these partitions, in one request.
pub(crate) fn offsets(
    client: &BaseConsumer<Callbacks>,
    partitions: &[Partition],
    kind: Offset,
    longest: Duration,
) -> KafkaResult<ListedOffsets> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition_offset(partition.topic.name(), partition.number, kind)?;
    }
    let list = client.offsets_for_times(list, longest).inspect_err(|_| {
        // A client that only asks believes in the leader that it knows, even one that is dead.
        let topics: BTreeSet<Topic> = partitions.iter().map(|partition| partition.topic).collect();
        for topic in topics {
            drop(client.fetch_metadata(Some(topic.name()), longest));
        }
    })?;
    let mut found = ListedOffsets::default();
    for partition in partitions {
        let element = list.find_partition(partition.topic.name(), partition.number);
        let offset = element.filter(|element| element.error().is_ok());
        let offset = offset.and_then(|element| element.offset().to_raw()).filter(|at| *at >= 0);
        // Without a leader there is no answer: such a partition is left out, and whoever asked asks again.
        let Some(offset) = offset else { continue };
        found.offsets.insert(*partition, offset);
        found
            .leader_epochs
            .extend(leader_epoch_of(&list, *partition).map(|epoch| (*partition, epoch)));
    }
    Ok(found)
}

/// What came out of the native queues so far, markers and aborted records included; a local call. Partitions that
/// nothing came from yet are not in it.
pub(crate) fn positions(consumer: &BaseConsumer<Callbacks>) -> KafkaResult<Offsets> {
    let list = consumer.position()?;
    let known = list.elements().into_iter().filter_map(|element| {
        // Nothing came yet: librdkafka has no offset to say then.
        let Offset::Offset(offset) = element.offset() else { return None };
        Some((Partition::new(Topic::new(element.topic()), element.partition()), offset))
    });
    Ok(known.collect())
}

/// Serves the log lines and errors that wait at a client that nobody polls.
pub(crate) fn serve_events(client: &BaseConsumer<Callbacks>) {
    const MOST_EVENTS: usize = 100;
    for _ in 0..MOST_EVENTS {
        let before = client.client().context().served();
        let event = client.poll(Duration::ZERO);
        if event.is_none() && client.client().context().served() == before {
            return;
        }
    }
}
