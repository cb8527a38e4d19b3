//! The native call that says which topics there are: their ids, which rdkafka does not have, and how many
//! partitions each has.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka_sys as sys;
use rtbflow::epoch::TopicId;

use crate::client::context::Context;

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
    client: &BaseConsumer<Context>,
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
        client: &BaseConsumer<Context>,
        names: &[CString],
        broker: i32,
        longest: Duration,
    ) -> KafkaResult<Self> {
        let failed = KafkaError::AdminOp(Code::Fail);
        let ms = c_int::try_from(longest.as_millis()).unwrap_or(c_int::MAX).max(1);
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let client = client.client().native_ptr();
        // SAFETY: the client is alive for the call; the names are copied into the collection. All that is made
        // here is given back here: the request keeps nothing of it.
        unsafe {
            let queue = NonNull::new(sys::rd_kafka_queue_new(client)).ok_or(failed)?;
            let topics =
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let of = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
            let options = sys::rd_kafka_AdminOptions_new(client, of);
            let mut reason: [c_char; 8] = [0; 8];
            let (text, size) = (reason.as_mut_ptr(), reason.len());
            sys::rd_kafka_AdminOptions_set_request_timeout(options, ms, text, size);
            if broker >= 0 {
                sys::rd_kafka_AdminOptions_set_broker(options, broker, text, size);
            }
            sys::rd_kafka_DescribeTopics(client, topics, options, queue.as_ptr());
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_TopicCollection_destroy(topics);
            // The time-out of the request ends it; what is added is for its way back.
            let event = sys::rd_kafka_queue_poll(queue.as_ptr(), ms.saturating_add(1000));
            match NonNull::new(event) {
                Some(event) => Ok(Self { event, queue }),
                None => {
                    sys::rd_kafka_queue_destroy(queue.as_ptr());
                    Err(KafkaError::AdminOp(Code::OperationTimedOut))
                }
            }
        }
    }

    fn read(&self) -> KafkaResult<BTreeMap<String, TopicDescription>> {
        let mut found = BTreeMap::new();
        // SAFETY: the event is alive; an event that is no such result answers null. Topics, names, errors and
        // ids belong to it and are copied before it goes.
        unsafe {
            let event = self.event.as_ptr();
            let error = sys::rd_kafka_event_error(event);
            if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(KafkaError::AdminOp(error.into()));
            }
            let result = sys::rd_kafka_event_DescribeTopics_result(event);
            if result.is_null() {
                return Err(KafkaError::AdminOp(Code::Fail));
            }
            let mut count = 0;
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            for index in 0..count {
                let topic = *topics.add(index);
                let name = super::text(sys::rd_kafka_TopicDescription_name(topic));
                let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
                match (name, Code::from(error)) {
                    (Some(name), Code::NoError) => {
                        found.insert(name.to_owned(), described(topic));
                    }
                    (None, _) | (_, Code::UnknownTopicOrPartition) => {}
                    (_, code) => return Err(KafkaError::AdminOp(code)),
                }
            }
        }
        Ok(found)
    }
}

/// # Safety
/// A topic's description that is alive.
unsafe fn described(topic: *const sys::rd_kafka_TopicDescription_t) -> TopicDescription {
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
    TopicDescription { id, partitions: u32::try_from(partitions).unwrap_or(u32::MAX) }
}
