//! The native calls that rdkafka has no face for: a queue for each partition, read in batches.
//!
//! This is the only file with `unsafe` code. Everything rests on three facts of librdkafka: a client
//! may be used from any thread; a queue must be destroyed before its client, which [`Queue`] sees to by
//! holding the consumer; and a message is ours from the moment a batch call returns it until it is
//! destroyed.
#![expect(unsafe_code, reason = "the native calls; each is explained where it stands")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::thread::Thread;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use rtbflow::Timestamp;
use rtbflow::source::{RawBatch, RawHeader, RawRecord};

use crate::context::Context;

/// A native queue that partitions are forwarded to.
pub(crate) struct Queue {
    native: NonNull<sys::rd_kafka_queue_t>,
    buffer: Vec<*mut sys::rd_kafka_message_t>,
    /// Whom to wake when the queue is no longer empty. Boxed: librdkafka keeps its address.
    _reader: Box<Thread>,
    /// Declared last, so that the client outlives the queue.
    consumer: Arc<BaseConsumer<Context>>,
}

/// Which records may pass: from one offset on, up to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    /// Records below were handed over before, or are not wanted.
    pub(crate) from: i64,
    /// Records from here on are not wanted.
    pub(crate) until: i64,
}

/// What a batch call brought.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The records that passed the door.
    pub(crate) records: RawBatch,
    /// The offset behind the last of them.
    pub(crate) next: i64,
    /// How many messages there were, whatever became of them.
    pub(crate) count: usize,
    /// A record at or beyond the door's end was seen: everything before it has passed.
    pub(crate) beyond: bool,
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

    /// Takes what is there, at most so many messages, without waiting; copies and frees them.
    pub(crate) fn take(&mut self, most: usize, door: Door) -> Taken {
        let most = most.min(self.buffer.len());
        // SAFETY: the buffer has room for `most` pointers. The queue holds messages of partitions only,
        // never the consumer's events, so no rebalance can be swallowed here.
        let count = unsafe {
            let (queue, buffer) = (self.native.as_ptr(), self.buffer.as_mut_ptr());
            sys::rd_kafka_consume_batch_queue(queue, 0, buffer, most)
        };
        let count = usize::try_from(count).unwrap_or(0).min(most);
        let messages = self.buffer.iter_mut().take(count);
        // SAFETY: librdkafka wrote `count` messages, which are ours; each pointer is taken out of the
        // buffer, so that each message has one owner.
        let messages = messages
            .filter_map(|slot| unsafe { Message::own(std::mem::replace(slot, ptr::null_mut())) });
        let messages: Vec<Message> = messages.collect();
        let bytes = messages.iter().map(Message::bytes).sum();
        let records = RawBatch::with_capacity(messages.len(), bytes);
        let mut taken = Taken { records, next: door.from, count, beyond: false, failure: None };
        for message in messages {
            taken.add(&message, door);
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

/// A message that is destroyed when it is dropped.
struct Message(NonNull<sys::rd_kafka_message_t>);

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

    fn headers(&self) -> Headers<'_> {
        let mut native = ptr::null_mut();
        // SAFETY: the message is alive; the headers stay its own and live as long.
        let error = unsafe { sys::rd_kafka_message_headers(self.0.as_ptr(), &raw mut native) };
        let found = error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        let native = if found { native } else { ptr::null_mut() };
        Headers { native, index: 0, _message: self }
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

/// The headers of a message, in order.
struct Headers<'a> {
    native: *const sys::rd_kafka_headers_t,
    index: usize,
    _message: &'a Message,
}

impl<'a> Iterator for Headers<'a> {
    type Item = RawHeader<'a>;

    fn next(&mut self) -> Option<RawHeader<'a>> {
        if self.native.is_null() {
            return None;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers live as long as the message, which is borrowed for `'a`; an index past the
        // last header is answered by an error. Name and value live as long as the headers.
        unsafe {
            let (name_at, value_at) = (&raw mut name, &raw mut value);
            let error = sys::rd_kafka_header_get_all(
                self.native,
                self.index,
                name_at,
                value_at,
                &raw mut size,
            );
            if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            self.index += 1;
            Some((text(name).unwrap_or("\u{fffd}"), piece(value.cast_mut(), size)))
        }
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
    fn add(&mut self, message: &Message, door: Door) {
        if self.failure.is_some() || self.beyond {
            return;
        }
        self.failure = message.failure();
        let offset = message.native().offset;
        if self.failure.is_some() || offset < self.next {
            return;
        }
        if offset >= door.until {
            self.beyond = true;
            return;
        }
        let record = RawRecord {
            offset,
            timestamp: message.timestamp(),
            key: message.key(),
            value: message.value(),
        };
        self.records.push(record, message.headers());
        self.next = offset + 1;
    }
}
