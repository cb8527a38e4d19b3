//! A partition that is read by a consumer of its own, which joins no group: for what is read beside the source.

use std::sync::Arc;
use std::thread;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::{Error, Partition, Result};

use crate::client::blocking::drop_elsewhere;
use crate::client::context::Callbacks;
use crate::client::native::{OffsetRange, Queue, Taken};
use crate::client::offsets::{positions, serve_events};

/// A consumer, and the partition that it reads. The consumer is a new one each time: one that has read before knows a
/// position that is not of this reading.
pub(crate) struct PartitionConsumer {
    queue: Queue,
    partition: Partition,
    /// Messages that are taken at a time.
    most: usize,
    consumer: Arc<BaseConsumer<Callbacks>>,
}

impl PartitionConsumer {
    /// Reads a partition from an offset on, at most this many messages at a time.
    ///
    /// # Errors
    /// What `failed` makes of one of rdkafka's.
    pub(crate) fn assign(
        consumer: BaseConsumer<Callbacks>,
        partition: Partition,
        from: i64,
        most: usize,
        failed: impl Fn(KafkaError) -> Error,
    ) -> Result<Self> {
        let consumer = Arc::new(consumer);
        let queue = Queue::new(&consumer, thread::current(), most)?;
        let this = Self { queue, partition, most, consumer };
        let list = this.at(from).map_err(&failed)?;
        // Before, so that no record goes to the consumer's own queue; and after, since assigning forgets it.
        this.forward();
        this.consumer.assign(&list).map_err(failed)?;
        this.forward();
        Ok(this)
    }

    fn forward(&self) {
        self.queue.forward(self.partition.topic.name(), self.partition.number);
    }

    /// The partition at an offset.
    pub(crate) fn at(&self, offset: i64) -> KafkaResult<TopicPartitionList> {
        let Partition { topic, number } = self.partition;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic.name(), number, Offset::Offset(offset))?;
        Ok(list)
    }

    pub(crate) fn client(&self) -> &BaseConsumer<Callbacks> {
        &self.consumer
    }

    /// Takes what is there of a range, without waiting.
    pub(crate) fn take(&mut self, range: OffsetRange) -> Taken {
        serve_events(&self.consumer);
        self.queue.take(self.most, range)
    }

    /// What came out of the native queue so far, markers and aborted records included; `None` before the first.
    pub(crate) fn position(&self) -> KafkaResult<Option<i64>> {
        Ok(positions(&self.consumer)?.get(&self.partition).copied())
    }

    /// Ends the reading. Not a `drop`: the queue goes before its client, and the client where it may wait for its
    /// broker.
    pub(crate) fn end(self) {
        let Self { queue, partition, consumer, .. } = self;
        queue.unforward(partition.topic.name(), partition.number);
        drop(queue);
        drop_elsewhere(consumer);
    }
}
