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
    /// The reports of a producer, for this thread; one at a time for each producer.
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

    /// Serves what is reported next: at once if it is there, else it waits for it, no longer than this.
    pub(crate) fn serve(&self, longest: Duration) {
        let context = self.producer.client().context();
        let served = context.served();
        self.producer.poll(Duration::ZERO);
        // What comes from here on wakes this thread, also before it has parked.
        if context.served() == served {
            thread::park_timeout(longest.min(LONGEST_WAIT));
        }
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
