//! Messages, where librdkafka has put them: nothing is copied before somebody asks for it.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use rtbflow::Timestamp;
use rtbflow::source::{Headers, RawBatch, RawRecord, RawRecords};
use tracing::warn;

use crate::client::blocking::drop_elsewhere;
use crate::client::context::Callbacks;

/// An error of one partition.
#[derive(Debug)]
pub(crate) struct PartitionFailure {
    /// What librdkafka calls it.
    pub(crate) code: RDKafkaErrorCode,
    /// Its own words.
    pub(crate) reason: String,
}

impl PartitionFailure {
    /// One that librdkafka does not say itself: whoever reads begins again where it was committed.
    pub(super) fn of(reason: &str) -> Self {
        Self { code: RDKafkaErrorCode::Fail, reason: reason.to_owned() }
    }
}

/// Messages of one partition in order, where librdkafka put them: nothing is copied. They keep the client.
struct Messages {
    list: Vec<Message>,
    bytes: usize,
    /// Headers are parsed where they are asked for, and kept in the message.
    headers: Mutex<()>,
    /// There until they are dropped.
    consumer: Option<Arc<BaseConsumer<Callbacks>>>,
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

/// The batch of these messages, which keeps their client.
pub(super) fn messages(
    list: Vec<Message>,
    bytes: usize,
    consumer: Arc<BaseConsumer<Callbacks>>,
) -> RawBatch {
    let (headers, consumer) = (Mutex::new(()), Some(consumer));
    RawBatch::new(Messages { list, bytes, headers, consumer })
}

/// A message that is destroyed when it is dropped.
pub(super) struct Message(NonNull<sys::rd_kafka_message_t>);

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
    pub(super) unsafe fn own(message: *mut sys::rd_kafka_message_t) -> Option<Self> {
        NonNull::new(message).map(Self)
    }

    pub(super) fn native(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: the message is ours and alive until `drop`.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn bytes(&self) -> usize {
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
            // As brokers before 0.10 wrote them: such a record is before any other, and holds up no window.
            return Timestamp::MIN;
        }
        Timestamp::from_millis(ms)
    }

    /// The leader epoch in which it was written.
    pub(super) fn leader_epoch(&self) -> Option<i32> {
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
            // No header is an error to librdkafka as well; any other says that it cannot read them.
            if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT {
                let (offset, code) = (self.native().offset, RDKafkaErrorCode::from(error));
                warn!(offset, "the headers of a record cannot be read, and are left out: {code}");
            }
            return headers;
        }
        // SAFETY: the headers are those of the message, and live as long.
        while let Some(header) = unsafe { header(native, headers.len()) } {
            headers.push(header);
        }
        headers
    }

    /// What the message says if it is an error of its partition and no record.
    pub(super) fn failure(&self) -> Option<PartitionFailure> {
        let native = self.native();
        if native.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the message is alive; the text is its own or static, and copied at once.
        let reason = unsafe { lossy_text(sys::rd_kafka_message_errstr(self.0.as_ptr())) };
        Some(PartitionFailure { code: native.err.into(), reason: reason.into_owned() })
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is ours and destroyed once, here; nothing borrows from it any more.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// A header by its number; none behind the last.
///
/// # Safety
/// Headers that are alive.
unsafe fn header(
    headers: *const sys::rd_kafka_headers_t,
    number: usize,
) -> Option<(String, Option<Vec<u8>>)> {
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    let (name_at, value_at, size_at) = (&raw mut name, &raw mut value, &raw mut size);
    // SAFETY: what the caller promises; an index past the last header is answered by an error.
    let error =
        unsafe { sys::rd_kafka_header_get_all(headers, number, name_at, value_at, size_at) };
    if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // A name is UTF-8, by the protocol: of another one what can be read is shown.
    // SAFETY: name and value belong to the headers, and are copied at once.
    let (name, value) = unsafe { (lossy_text(name), piece(value.cast_mut(), size)) };
    Some((name.into_owned(), value.map(<[u8]>::to_vec)))
}

/// # Safety
/// Null, or `len` bytes that live for `'a`.
unsafe fn piece<'a>(data: *mut c_void, len: usize) -> Option<&'a [u8]> {
    let data = NonNull::new(data)?;
    // SAFETY: what the caller promises.
    Some(unsafe { std::slice::from_raw_parts(data.as_ptr().cast::<u8>(), len) })
}

/// # Safety
/// Null, which is no text, or a C string.
unsafe fn lossy_text<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: what the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}
