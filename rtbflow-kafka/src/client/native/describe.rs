//! The native call that says which topics there are: their ids, which rdkafka does not have, and how many
//! partitions each has.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka_sys as sys;
use rtbflow::epoch::TopicId;

use crate::client::context::Callbacks;

/// A topic as a broker describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicDescription {
    /// Its id; `None` where the brokers are older than the ids.
    pub(crate) id: Option<TopicId>,
    /// How many partitions it has.
    pub(crate) partitions: u32,
}

/// What a broker says of these topics; one that there is not is left out.
///
/// # Errors
/// If no broker answers in time, or one refuses to describe a topic.
pub(crate) fn describe(
    client: &BaseConsumer<Callbacks>,
    topics: &[&str],
    longest: Duration,
) -> KafkaResult<BTreeMap<String, TopicDescription>> {
    let names: Result<Vec<CString>, _> = topics.iter().map(|topic| CString::new(*topic)).collect();
    let names = names.map_err(|_| KafkaError::AdminOp(Code::InvalidTopic))?;
    // Else the controller is asked, which may be the one that is away.
    let broker = match topics.first() {
        Some(topic) => client.fetch_metadata(Some(topic), longest)?.orig_broker_id(),
        None => return Ok(BTreeMap::new()),
    };
    Answer::ask(client, &names, broker, longest)?.read()
}

/// The answer to a request, and the queue that it came by.
struct Answer {
    event: NonNull<sys::rd_kafka_event_t>,
    queue: NonNull<sys::rd_kafka_queue_t>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: both are ours and destroyed once, here; the client is borrowed by `ask`'s caller for longer.
        unsafe {
            sys::rd_kafka_event_destroy(self.event.as_ptr());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

impl Answer {
    fn ask(
        client: &BaseConsumer<Callbacks>,
        names: &[CString],
        broker: i32,
        longest: Duration,
    ) -> KafkaResult<Self> {
        // Nothing is asked for longer than the 24 days that librdkafka can count.
        let ms = c_int::try_from(longest.as_millis()).unwrap_or(c_int::MAX).max(1);
        let client = client.client().native_ptr();
        // SAFETY: the client is alive for the call; the queue is ours from here on.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_new(client) });
        let queue = queue.ok_or(KafkaError::AdminOp(Code::Fail))?;
        // SAFETY: client, queue and names are alive for the call. The time-out of the request ends it; what is added
        // is for its way back.
        let event = unsafe {
            request(client, names, (broker, ms), queue.as_ptr());
            sys::rd_kafka_queue_poll(queue.as_ptr(), ms.saturating_add(1000))
        };
        if let Some(event) = NonNull::new(event) {
            return Ok(Self { event, queue });
        }
        // SAFETY: the queue is ours, and is destroyed once; an answer that still comes is destroyed with it.
        unsafe { sys::rd_kafka_queue_destroy(queue.as_ptr()) };
        Err(KafkaError::AdminOp(Code::OperationTimedOut))
    }

    fn read(&self) -> KafkaResult<BTreeMap<String, TopicDescription>> {
        let event = self.event.as_ptr();
        // SAFETY: the event is alive; an event that is no such result answers null.
        let (error, result) = unsafe {
            let error = sys::rd_kafka_event_error(event);
            (error, sys::rd_kafka_event_DescribeTopics_result(event))
        };
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::AdminOp(error.into()));
        }
        if result.is_null() {
            return Err(KafkaError::AdminOp(Code::Fail));
        }
        let mut found = BTreeMap::new();
        // SAFETY: topics, names, errors and ids belong to the event, and are copied before it goes.
        unsafe {
            let mut count = 0;
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            for index in 0..count {
                found.extend(named(*topics.add(index))?);
            }
        }
        Ok(found)
    }
}

/// Asks for topics: by a broker if its number is known, within this many milliseconds, into a queue.
///
/// # Safety
/// A client and a queue that are alive. All that is made here is given back here: the request keeps nothing of it.
unsafe fn request(
    client: *mut sys::rd_kafka_t,
    names: &[CString],
    (broker, ms): (i32, c_int),
    queue: *mut sys::rd_kafka_queue_t,
) {
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let mut reason: [c_char; 8] = [0; 8];
    let (text, size) = (reason.as_mut_ptr(), reason.len());
    // SAFETY: what the caller promises; the names are copied into the collection.
    unsafe {
        let topics =
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let of = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = sys::rd_kafka_AdminOptions_new(client, of);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, ms, text, size);
        // The number is not known before the first answer to a client; then any broker is asked.
        if broker >= 0 {
            sys::rd_kafka_AdminOptions_set_broker(options, broker, text, size);
        }
        sys::rd_kafka_DescribeTopics(client, topics, options, queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
    }
}

/// The name of a topic and what it is; nothing if there is no such topic.
///
/// # Safety
/// A topic's description that is alive.
unsafe fn named(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> KafkaResult<Option<(String, TopicDescription)>> {
    // SAFETY: what the caller promises; name and error belong to the description, and are copied.
    let (name, error) = unsafe {
        let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
        (text(sys::rd_kafka_TopicDescription_name(topic)), Code::from(error))
    };
    match (name, error) {
        // SAFETY: what the caller promises.
        (Some(name), Code::NoError) => Ok(Some((name.to_owned(), unsafe { described(topic) }?))),
        // A name that cannot be read was not asked for.
        (None, _) | (_, Code::UnknownTopicOrPartition) => Ok(None),
        (_, code) => Err(KafkaError::AdminOp(code)),
    }
}

/// # Safety
/// A topic's description that is alive.
unsafe fn described(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> KafkaResult<TopicDescription> {
    let mut partitions = 0;
    // SAFETY: what the caller promises; the id belongs to the description and is copied.
    let bits = unsafe {
        sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            0
        } else {
            let most = sys::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
            let least = sys::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
            u128::from(most) << 64 | u128::from(least)
        }
    };
    let id = (bits != 0).then(|| TopicId::new(bits));
    let partitions = u32::try_from(partitions);
    let partitions = partitions.map_err(|_| KafkaError::AdminOp(Code::InvalidPartitions))?;
    Ok(TopicDescription { id, partitions })
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
