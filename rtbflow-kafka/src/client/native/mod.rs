//! The native calls that rdkafka has no face for: a queue for each partition, read in batches.
//!
//! This folder is the only one with `unsafe` code. Everything rests on three facts of librdkafka: a client
//! may be used from any thread, and so may a message; queues and messages must be destroyed before their
//! client, which [`Queue`] and [`Messages`] see to by holding the consumer; and a message is ours from the
//! moment a batch call returns it until it is destroyed.
#![expect(unsafe_code, reason = "the native calls; each is explained where it stands")]

mod describe;
mod leader_epoch;

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use rtbflow::Timestamp;
use rtbflow::source::{Headers, RawBatch, RawRecord, RawRecords};

use crate::client::blocking::drop_elsewhere;
use crate::client::context::Context;

pub(crate) use describe::{TopicDescription, describe};
pub(crate) use leader_epoch::{leader_epoch_of, set_leader_epoch};

/// A native queue that partitions are forwarded to.
pub(crate) struct Queue {
    native: NonNull<sys::rd_kafka_queue_t>,
    buffer: Vec<*mut sys::rd_kafka_message_t>,
    /// Whom to wake when the queue is no longer empty. Boxed: librdkafka keeps its address.
    _reader: Box<Thread>,
    /// Declared last, so that the client outlives the queue.
    consumer: Arc<BaseConsumer<Context>>,
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
    pub(crate) failure: Option<Failure>,
}

/// An error of one partition.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What librdkafka calls it.
    pub(crate) code: RDKafkaErrorCode,
    /// Its own words.
    pub(crate) reason: String,
}

impl Queue {
    /// A queue that wakes `reader` when it is no longer empty, for batches of at most `most` messages.
    pub(crate) fn new(
        consumer: &Arc<BaseConsumer<Context>>,
        reader: Thread,
        most: usize,
    ) -> Option<Self> {
        let reader = Box::new(reader);
        // SAFETY: the client is alive, since `consumer` is borrowed; the new queue is ours.
        let native = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let native = NonNull::new(native)?;
        let opaque = ptr::from_ref::<Thread>(&reader).cast_mut().cast::<c_void>();
        // SAFETY: the queue is ours; the address stays valid until the callback is taken away again in
        // `drop`, because the box moves into the `Queue` and its content does not move with it.
        unsafe { sys::rd_kafka_queue_cb_event_enable(native.as_ptr(), Some(wake), opaque) };
        let (buffer, consumer) = (vec![ptr::null_mut(); most], Arc::clone(consumer));
        Some(Self { native, buffer, _reader: reader, consumer })
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
        let most = most.min(self.buffer.len());
        // SAFETY: the buffer has room for `most` pointers. The queue holds messages of partitions only,
        // never the consumer's events, so no rebalance can be swallowed here.
        let count = unsafe {
            let (queue, buffer) = (self.native.as_ptr(), self.buffer.as_mut_ptr());
            sys::rd_kafka_consume_batch_queue(queue, 0, buffer, most)
        };
        let count = usize::try_from(count).unwrap_or(0).min(most);
        let mut taken = Taken {
            records: None,
            next: range.from,
            count,
            beyond: false,
            leader_epoch: None,
            failure: None,
        };
        let (mut list, mut bytes) = (Vec::with_capacity(count), 0);
        for slot in self.buffer.iter_mut().take(count) {
            // SAFETY: librdkafka wrote `count` messages, which are ours; each pointer is taken out of the
            // buffer, so that each message has one owner.
            let message = unsafe { Message::own(std::mem::replace(slot, ptr::null_mut())) };
            let Some(message) = message else { continue };
            if taken.is_wanted(&message, range) {
                bytes += message.bytes();
                list.push(message);
            }
        }
        if let Some(last) = list.last() {
            taken.leader_epoch = last.leader_epoch();
            let consumer = Arc::clone(&self.consumer);
            let (headers, consumer) = (Mutex::new(()), Some(consumer));
            taken.records = Some(RawBatch::new(Messages { list, bytes, headers, consumer }));
        }
        taken
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
unsafe extern "C" fn wake(_: *mut sys::rd_kafka_t, reader: *mut c_void) {
    // SAFETY: the address is that of the `Thread` that the queue owns; see `Queue::new` and `drop`.
    let reader = unsafe { &*reader.cast::<Thread>() };
    reader.unpark();
}

fn with_partition(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    number: i32,
    then: impl FnOnce(*mut sys::rd_kafka_queue_t),
) {
    let Ok(topic) = CString::new(topic) else { return };
    // SAFETY: the client is alive and the name a C string; the reference returned is given back below,
    // which does not destroy the partition's queue.
    unsafe {
        let client = consumer.client().native_ptr();
        let partition = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), number);
        if !partition.is_null() {
            then(partition);
            sys::rd_kafka_queue_destroy(partition);
        }
    }
}

/// Messages of one partition in order, where librdkafka put them: nothing is copied. They keep the client.
struct Messages {
    list: Vec<Message>,
    bytes: usize,
    /// Headers are parsed where they are asked for, and kept in the message.
    headers: Mutex<()>,
    /// There until they are dropped.
    consumer: Option<Arc<BaseConsumer<Context>>>,
}

impl Drop for Messages {
    /// The client outlives them, and ends with the last of them if the reading thread has dropped it.
    fn drop(&mut self) {
        self.list.clear();
        if let Some(last) = self.consumer.take().and_then(Arc::into_inner) {
            drop_elsewhere(last);
        }
    }
}

impl RawRecords for Messages {
    fn len(&self) -> usize {
        self.list.len()
    }

    fn get(&self, index: usize) -> Option<RawRecord<'_>> {
        let message = self.list.get(index)?;
        Some(RawRecord::new(
            message.native().offset,
            message.timestamp(),
            message.key(),
            message.value(),
        ))
    }

    fn headers(&self, index: usize) -> Headers {
        let _one_at_a_time = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        self.list.get(index).map_or_else(Headers::new, Message::headers)
    }

    fn bytes(&self) -> usize {
        /// What librdkafka keeps of a message beside its bytes, and more.
        const BESIDE: usize = 512;
        self.bytes + self.list.capacity() * BESIDE
    }
}

/// A message that is destroyed when it is dropped.
struct Message(NonNull<sys::rd_kafka_message_t>);

// SAFETY: librdkafka counts references to what messages share by atomics, and destroys a message on any
// thread. Reading one writes nothing, but for its headers, which `Messages` has parsed by one thread at a
// time.
unsafe impl Send for Message {}
// SAFETY: see above.
unsafe impl Sync for Message {}

impl Message {
    /// Takes a message over.
    ///
    /// # Safety
    /// The pointer is null or a message of a batch call that nobody else owns.
    unsafe fn own(message: *mut sys::rd_kafka_message_t) -> Option<Self> {
        NonNull::new(message).map(Self)
    }

    fn native(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: the message is ours and alive until `drop`.
        unsafe { self.0.as_ref() }
    }

    fn bytes(&self) -> usize {
        self.native().len + self.native().key_len
    }

    fn key(&self) -> Option<&[u8]> {
        let native = self.native();
        // SAFETY: pointer and length come together and live as long as the message.
        unsafe { piece(native.key, native.key_len) }
    }

    fn value(&self) -> Option<&[u8]> {
        let native = self.native();
        // SAFETY: pointer and length come together and live as long as the message.
        unsafe { piece(native.payload, native.len) }
    }

    fn timestamp(&self) -> Timestamp {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, and `kind` is written before the call returns.
        let ms = unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        if kind == sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE {
            return Timestamp::MIN;
        }
        Timestamp::from_millis(ms)
    }

    /// The leader epoch in which it was written.
    fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message is alive; the number is copied.
        let leader_epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.0.as_ptr()) };
        (leader_epoch >= 0).then_some(leader_epoch)
    }

    /// The headers, in order. Only for one thread at a time: they are parsed when they are asked for first.
    fn headers(&self) -> Headers {
        let mut native = ptr::null_mut();
        // SAFETY: the message is alive; the headers stay its own and live as long.
        let error = unsafe { sys::rd_kafka_message_headers(self.0.as_ptr(), &raw mut native) };
        let mut headers = Headers::new();
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return headers;
        }
        loop {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: an index past the last header is answered by an error. Name and value live as long as
            // the message, and are copied at once.
            let header = unsafe {
                let (name_at, value_at) = (&raw mut name, &raw mut value);
                let error = sys::rd_kafka_header_get_all(
                    native,
                    headers.len(),
                    name_at,
                    value_at,
                    &raw mut size,
                );
                if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return headers;
                }
                (text(name).unwrap_or("\u{fffd}"), piece(value.cast_mut(), size))
            };
            headers.push((header.0.to_owned(), header.1.map(<[u8]>::to_vec)));
        }
    }

    /// What the message says if it is an error of its partition and no record.
    fn failure(&self) -> Option<Failure> {
        let native = self.native();
        if native.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the message is alive; the text is its own or static, and copied at once.
        let reason = unsafe { text(sys::rd_kafka_message_errstr(self.0.as_ptr())) };
        let reason = reason.unwrap_or_default().to_owned();
        Some(Failure { code: native.err.into(), reason })
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is ours and destroyed once, here; nothing borrows from it any more.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
/// Null, or `len` bytes that live for `'a`.
unsafe fn piece<'a>(data: *mut c_void, len: usize) -> Option<&'a [u8]> {
    let data = NonNull::new(data)?;
    // SAFETY: what the caller promises.
    Some(unsafe { std::slice::from_raw_parts(data.as_ptr().cast::<u8>(), len) })
}

/// # Safety
/// Null, or a C string that lives for `'a`.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: what the caller promises.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}

impl Taken {
    /// Whether a message is a record within the range; notes what follows from it.
    fn is_wanted(&mut self, message: &Message, range: OffsetRange) -> bool {
        if self.failure.is_some() || self.beyond {
            return false;
        }
        self.failure = message.failure();
        let offset = message.native().offset;
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
