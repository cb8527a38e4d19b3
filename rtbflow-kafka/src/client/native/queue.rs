//! A native queue that partitions are forwarded to, and what comes out of it.

use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::thread::Thread;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka_sys as sys;
use rtbflow::source::RawBatch;
use rtbflow::{Error, Result};

use crate::client::context::Callbacks;
use crate::client::native::message::{Message, PartitionFailure, messages};

/// A native queue that partitions are forwarded to.
pub(crate) struct Queue {
    native: NonNull<sys::rd_kafka_queue_t>,
    buffer: Vec<*mut sys::rd_kafka_message_t>,
    /// Whom to wake when the queue is no longer empty. Boxed: librdkafka keeps its address.
    _reader: Box<Thread>,
    /// Declared last, so that the client outlives the queue.
    consumer: Arc<BaseConsumer<Callbacks>>,
}

/// The offsets of the records that are wanted: from the first one on, up to the one behind the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OffsetRange {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

/// What one call took out of a queue.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The records within the range, if there are any.
    pub(crate) records: Option<RawBatch>,
    /// The offset behind the last of them.
    pub(crate) next: i64,
    /// How many messages there were, whatever became of them.
    pub(crate) count: usize,
    /// A record at or beyond the range's end was seen: all before it were taken.
    pub(crate) beyond: bool,
    /// The leader epoch in which the last of the records was written, if the broker says so.
    pub(crate) leader_epoch: Option<i32>,
    /// An error of the partition.
    pub(crate) failure: Option<PartitionFailure>,
}

impl Queue {
    /// A queue that wakes `reader` when it is no longer empty, for batches of at most `most` messages.
    ///
    /// # Errors
    /// If librdkafka makes none.
    pub(crate) fn new(
        consumer: &Arc<BaseConsumer<Callbacks>>,
        reader: Thread,
        most: usize,
    ) -> Result<Self> {
        let reader = Box::new(reader);
        // SAFETY: the client is alive, since `consumer` is borrowed; the new queue is ours.
        let native = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let native = NonNull::new(native)
            .ok_or_else(|| Error::transient("create a queue of librdkafka for a partition"))?;
        let opaque = ptr::from_ref::<Thread>(&reader).cast_mut().cast::<c_void>();
        // SAFETY: the queue is ours; the address stays valid until the callback is taken away again in
        // `drop`, because the box moves into the `Queue` and its content does not move with it.
        unsafe { sys::rd_kafka_queue_cb_event_enable(native.as_ptr(), Some(wake), opaque) };
        let (buffer, consumer) = (vec![ptr::null_mut(); most], Arc::clone(consumer));
        Ok(Self { native, buffer, _reader: reader, consumer })
    }

    /// Sends the records of a partition here. To be called before *and* after `assign`: before, so that
    /// no record goes to the consumer's queue; after, since a partition that stops forgets its
    /// forwarding. May be called at any time.
    pub(crate) fn forward(&self, topic: &str, number: i32) {
        with_partition(&self.consumer, topic, number, |partition| {
            // SAFETY: both queues are alive for the call; librdkafka keeps references of its own.
            unsafe { sys::rd_kafka_queue_forward(partition, self.native.as_ptr()) };
        });
    }

    /// Stops sending the records of a partition here.
    pub(crate) fn unforward(&self, topic: &str, number: i32) {
        with_partition(&self.consumer, topic, number, |partition| {
            // SAFETY: the queue is alive for the call; null means nowhere.
            unsafe { sys::rd_kafka_queue_forward(partition, ptr::null_mut()) };
        });
    }

    /// Takes what is there, at most this many messages, without waiting.
    pub(crate) fn take(&mut self, most: usize, range: OffsetRange) -> Taken {
        let mut taken = Taken::none(range);
        match self.fill(most) {
            Ok(count) => taken.count = count,
            Err(failure) => taken.failure = Some(failure),
        }
        let (list, bytes) = self.wanted(&mut taken, range);
        if let Some(last) = list.last() {
            taken.leader_epoch = last.leader_epoch();
            taken.records = Some(messages(list, bytes, Arc::clone(&self.consumer)));
        }
        taken
    }

    /// The messages in the buffer that are records within the range, and their bytes; notes what follows from all.
    fn wanted(&mut self, taken: &mut Taken, range: OffsetRange) -> (Vec<Message>, usize) {
        let (mut list, mut bytes) = (Vec::with_capacity(taken.count), 0);
        for slot in self.buffer.iter_mut().take(taken.count) {
            // SAFETY: librdkafka wrote `count` messages, which are ours; each pointer is taken out of the
            // buffer, so that each message has one owner.
            match unsafe { Message::own(std::mem::replace(slot, ptr::null_mut())) } {
                Some(message) if taken.is_wanted(&message, range) => {
                    bytes += message.bytes();
                    list.push(message);
                }
                // Destroyed here: an error of the partition, or a record before or behind the range.
                Some(_) => {}
                // One that is missing may be any: the partition is read again from what was delivered.
                None => {
                    taken.failure =
                        Some(PartitionFailure::of("a batch call has left a message out"))
                }
            }
        }
        (list, bytes)
    }

    /// Lets librdkafka write messages into the buffer; says how many.
    fn fill(&mut self, most: usize) -> Result<usize, PartitionFailure> {
        let most = most.min(self.buffer.len());
        // SAFETY: the buffer has room for `most` pointers. The queue holds messages of partitions only,
        // never the consumer's events, so no rebalance can be swallowed here.
        let count = unsafe {
            let (queue, buffer) = (self.native.as_ptr(), self.buffer.as_mut_ptr());
            sys::rd_kafka_consume_batch_queue(queue, 0, buffer, most)
        };
        // Below 0 it says that it failed: nothing was taken, and nothing is known of what is there.
        let failed = |_| PartitionFailure::of("a batch call on a partition's queue failed");
        usize::try_from(count).map(|count| count.min(most)).map_err(failed)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours and the client alive. The callback runs under the queue's lock,
        // which taking it away needs too, so it is not running any more when the address goes.
        unsafe {
            let queue = self.native.as_ptr();
            sys::rd_kafka_queue_cb_event_enable(queue, None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(queue);
        }
    }
}

/// Called by librdkafka, on a thread of its own, when a queue is no longer empty.
pub(super) unsafe extern "C" fn wake(_: *mut sys::rd_kafka_t, reader: *mut c_void) {
    // SAFETY: the address is that of the `Thread` that a `Queue` or a `Reports` owns; see their `new` and `drop`.
    let reader = unsafe { &*reader.cast::<Thread>() };
    reader.unpark();
}

fn with_partition(
    consumer: &BaseConsumer<Callbacks>,
    topic: &str,
    number: i32,
    then: impl FnOnce(*mut sys::rd_kafka_queue_t),
) {
    // A name with a NUL is that of no topic, so that none is read by it.
    let Ok(topic) = CString::new(topic) else { return };
    // SAFETY: the client is alive and the name a C string; the reference returned is given back below,
    // which does not destroy the partition's queue.
    unsafe {
        let client = consumer.client().native_ptr();
        let partition = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), number);
        // A partition that the client does not know yet has no queue; it is forwarded again once it is assigned.
        if !partition.is_null() {
            then(partition);
            sys::rd_kafka_queue_destroy(partition);
        }
    }
}

impl Taken {
    /// Nothing of a range yet.
    fn none(range: OffsetRange) -> Self {
        Self {
            records: None,
            next: range.from,
            count: 0,
            beyond: false,
            leader_epoch: None,
            failure: None,
        }
    }

    /// Whether a message is a record within the range; notes what follows from it.
    fn is_wanted(&mut self, message: &Message, range: OffsetRange) -> bool {
        // What comes behind an error may follow a gap.
        if self.failure.is_some() || self.beyond {
            return false;
        }
        self.failure = message.failure();
        let offset = message.native().offset;
        // Whole batches are fetched: the first one may begin before the range.
        if self.failure.is_some() || offset < self.next {
            return false;
        }
        self.beyond = offset >= range.until;
        if !self.beyond {
            self.next = offset + 1;
        }
        !self.beyond
    }
}
