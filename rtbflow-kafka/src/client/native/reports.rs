//! Serves a producer's reports, and waits for them: rdkafka's `poll` goes on waiting when it has served one, and asks
//! the clock all the time in the last millisecond of its wait.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::producer::{BaseProducer, Producer};
use rdkafka_sys as sys;

use crate::client::context::Callbacks;
use crate::client::native::queue::wake;

/// The longest wait: not everything that ends one is reported by the queue.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Wakes the thread that has made it when a producer has something to report.
pub(crate) struct Reports<'a> {
    producer: &'a BaseProducer<Callbacks>,
    /// There is one as long as there is a client; without it only the longest wait ends one.
    queue: Option<NonNull<sys::rd_kafka_queue_t>>,
    /// Whom to wake. Boxed: librdkafka keeps its address.
    _waiter: Box<Thread>,
}

impl<'a> Reports<'a> {
    /// The reports of a producer, for this thread. Of two of the same producer only the later one is woken.
    pub(crate) fn of(producer: &'a BaseProducer<Callbacks>) -> Self {
        let waiter = Box::new(thread::current());
        let opaque = ptr::from_ref::<Thread>(&waiter).cast_mut().cast::<c_void>();
        // SAFETY: the client is alive, since `producer` is borrowed; the reference returned is given back in `drop`.
        let queue = unsafe { sys::rd_kafka_queue_get_main(producer.client().native_ptr()) };
        let queue = NonNull::new(queue);
        if let Some(queue) = queue {
            // SAFETY: the queue is alive; the address stays valid until the callback is taken away again in `drop`,
            // because the box moves with the `Reports` and its content does not.
            unsafe { sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(wake), opaque) };
        }
        Self { producer, queue, _waiter: waiter }
    }

    /// Serves what is reported next, if there is nothing yet after a wait for it, no longer than this: to be called
    /// while something is on its way. Whether it has waited.
    pub(crate) fn serve(&self, longest: Duration) -> bool {
        // The queue wakes the thread when it is no longer empty, and not again before it was empty: with anything left
        // in it, whatever it is, nobody would. What comes behind this look does, also before the thread has parked.
        let waits = self.is_empty();
        if waits {
            thread::park_timeout(longest.min(LONGEST_WAIT));
        }
        self.producer.poll(Duration::ZERO);
        waits
    }

    fn is_empty(&self) -> bool {
        // SAFETY: the queue is alive, and the reference to it ours.
        self.queue.is_none_or(|queue| unsafe { sys::rd_kafka_queue_length(queue.as_ptr()) } == 0)
    }
}

impl Drop for Reports<'_> {
    fn drop(&mut self) {
        let Some(queue) = self.queue else { return };
        // SAFETY: the queue is alive, and the reference to it ours. The callback runs under the queue's lock, which
        // taking it away needs too, so it is not running any more when the address goes.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(queue.as_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::producer::{BaseRecord, PurgeConfig};

    use crate::client::kafka::Kafka;
    use crate::client::option::Role;

    use super::*;

    #[test]
    fn nobody_waits_while_anything_is_in_the_queue() {
        // Nobody is there: the queue has errors and lines of a log between the reports.
        let own = [("debug", "topic,msg"), ("reconnect.backoff.ms", "1")];
        let producer: BaseProducer<Callbacks> =
            Kafka::new("127.0.0.1:1").client(Role::Producer, "test", &own).unwrap();
        let topics = ["a", "b", "c"];
        for topic in topics {
            producer.send(BaseRecord::with_opaque_to(topic, 0).key("").payload("")).unwrap();
        }
        producer.purge(PurgeConfig::default().queue().inflight());
        let reports = Reports::of(&producer);
        while producer.in_flight_count() > 0 {
            assert!(!reports.serve(LONGEST_WAIT));
        }
        assert_eq!(producer.client().context().take_undelivered().len(), topics.len());
    }
}
