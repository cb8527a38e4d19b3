//! One assigned partition: from its native queue to its task, never more than the task has capacity for.

use std::sync::Arc;
use std::task::{Poll, ready};

use futures::stream::{self, BoxStream, StreamExt};
use metrics::{Gauge, gauge};
use rdkafka::error::RDKafkaErrorCode as Code;
use rtbflow::epoch::{JobName, Log, Position};
use rtbflow::source::{Delivery, RawBatch};
use rtbflow::{Error, Partition, Result, Timestamp};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::debug;

use crate::client::failure;
use crate::client::native::{self, OffsetRange, Queue, Taken};
use crate::source::mailbox::ReaderMailbox;
use crate::source::range::Beginning;
use crate::source::watchdog::{Advice, Watchdog};

/// Deliveries between the reading thread and a task: two batches, and where the second one begins.
const MOST_DELIVERIES: usize = 3;
/// The most deliveries at once: a batch, and before it where it begins.
const MOST_AT_ONCE: usize = 2;
/// What a batch should hold at most; how many messages are taken follows from the last batch.
const BATCH_BYTES: usize = 1 << 20;

type Deliveries = BoxStream<'static, Result<Delivery<RawBatch>>>;

/// One assigned partition.
pub(crate) struct PartitionReader {
    /// The partition.
    pub(crate) partition: Partition,
    /// Where its records are forwarded to, once it is assigned.
    pub(crate) queue: Option<Queue>,
    /// The offset behind what was delivered.
    pub(crate) next: i64,
    /// Whether its offset was out of range: where the log begins has been asked.
    pub(crate) out_of_range: bool,
    /// Which log is read, where the brokers say: as it was reported with the last delivery.
    log: Option<Log>,
    /// Where reading stands has to be reported; whether that is not where it was to begin.
    unreported: Option<bool>,
    /// The offset to stop at.
    until: i64,
    /// Closed after the last delivery, or when the task dropped it.
    sender: Option<mpsc::Sender<Result<Delivery<RawBatch>>>>,
    failure: Option<Error>,
    ended: bool,
    /// Whether the last batch emptied the native queue.
    drained: bool,
    /// Whether what is never delivered may have come out of it behind that batch.
    skipping: bool,
    bytes_per_message: usize,
    watchdog: Watchdog,
    /// The offset behind what is committed.
    committed: i64,
    /// Offsets from there up to the partition's end, and that end.
    lag: Gauge,
    end: Gauge,
}

/// Whether there may be more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// Something was done; look again.
    Busy,
    /// There is nothing to do until somebody wakes the thread.
    Idle,
}

impl PartitionReader {
    /// A reader, and what its task reads.
    pub(crate) fn new(
        job: &JobName,
        partition: Partition,
        until: i64,
        patience: u32,
        mailbox: Arc<ReaderMailbox>,
    ) -> (Self, Deliveries) {
        let (sender, receiver) = mpsc::channel(MOST_DELIVERIES);
        let Partition { topic, number } = partition;
        let (topic, number) = (topic.name().to_owned(), number.to_string());
        let labels = [("job", job.to_string()), ("topic", topic), ("partition", number)];
        let reader = Self {
            partition,
            queue: None,
            next: 0,
            out_of_range: false,
            log: None,
            unreported: None,
            until,
            sender: Some(sender),
            failure: None,
            ended: false,
            drained: true,
            skipping: false,
            bytes_per_message: 1,
            watchdog: Watchdog::new(patience),
            committed: 0,
            lag: gauge!("rtbflow_lag", &labels),
            end: gauge!("rtbflow_end_offset", &labels),
        };
        (reader, deliveries(receiver, mailbox))
    }

    /// Begins at an offset.
    pub(crate) fn begin(&mut self, beginning: Beginning, queue: Queue) {
        let Beginning { from, anew, log } = beginning;
        (self.next, self.committed, self.log) = (from, from, log);
        self.unreported = (anew || log.is_some()).then_some(anew);
        self.ended = from >= self.until;
        self.queue = Some(queue);
    }

    /// Notes that everything below an offset is committed.
    pub(crate) fn committed(&mut self, offset: i64) {
        self.committed = self.committed.max(offset);
    }

    /// Ends without a word: whoever reads it learns from the feed what has become of it.
    pub(crate) fn close(&mut self) {
        self.sender = None;
    }

    /// Ends with an error, behind what was delivered.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// Whether anything may still come.
    pub(crate) fn is_open(&self) -> bool {
        self.sender.is_some() && self.failure.is_none() && !self.ended
    }

    /// Forwards the partition to its own queue. Before it has begun it has none, and is not assigned either.
    pub(crate) fn forward(&self) {
        if let Some(queue) = &self.queue {
            queue.forward(self.partition.topic.name(), self.partition.number);
        }
    }

    /// Forwards nothing more.
    pub(crate) fn unforward(&self) {
        if let Some(queue) = &self.queue {
            queue.unforward(self.partition.topic.name(), self.partition.number);
        }
    }

    fn has_capacity(&self) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.capacity() >= MOST_AT_ONCE)
    }

    /// Where reading stands.
    pub(crate) fn position(&self) -> Position {
        Position { offset: Some(self.next), log: self.log, ..Position::default() }
    }

    /// Whether `position` could say that something was skipped that is never delivered, and with it perhaps
    /// the agreed end.
    pub(crate) fn may_have_skipped(&self) -> bool {
        let asked = self.skipping || self.until < i64::MAX;
        asked && self.is_open() && self.drained && self.queue.is_some()
    }

    /// Notes that everything below `position` has come out of the native queue. A position that is left
    /// standing before a marker falls below the beginning of the log one day.
    pub(crate) fn skip_to(&mut self, position: i64) {
        self.skipping = false;
        self.advance_to(position.min(self.until), None);
        self.ended |= self.next >= self.until;
    }

    /// Notes that nothing below `at` will be delivered, and the epoch of the leader that says so. The leader epoch of
    /// what was skipped is not known otherwise.
    fn advance_to(&mut self, at: i64, leader_epoch: Option<i32>) {
        let log = self.log.map(|log| Log { leader_epoch, ..log });
        if at > self.next || (at == self.next && leader_epoch.is_some() && log != self.log) {
            (self.next, self.log) = (at, log);
            self.unreported = self.unreported.or(Some(false));
        }
    }

    /// Delivers what the task has capacity for: records, else the end or the error behind them.
    pub(crate) fn serve(&mut self, most_records: usize) -> Served {
        if self.sender.as_ref().is_some_and(mpsc::Sender::is_closed) {
            debug!(partition = %self.partition, "the task dropped the partition");
            self.sender = None;
        }
        // Records wait in the native queue then, and librdkafka stops fetching when that is full.
        if !self.has_capacity() {
            return Served::Idle;
        }
        // Where reading stands is reported before anything that follows from it.
        if let Some(anew) = self.unreported.take() {
            self.deliver(self.reached(anew));
            return Served::Busy;
        }
        if self.failure.is_some() || self.ended {
            let last = self.failure.take().map_or(Ok(Delivery::Finished), Err);
            self.deliver(last);
            self.sender = None;
            return Served::Busy;
        }
        let most = (BATCH_BYTES / self.bytes_per_message).clamp(1, most_records);
        let range = OffsetRange { from: self.next, until: self.until };
        // Before it has begun there is nothing to read; behind an offset that is out of range nothing that is wanted.
        let queue = self.queue.as_mut().filter(|_| !self.out_of_range);
        let Some(taken) = queue.map(|queue| queue.take(most, range)) else { return Served::Idle };
        self.drained = taken.count < most;
        self.note_taken(taken)
    }

    /// Delivers what came out of the native queue.
    fn note_taken(&mut self, taken: Taken) -> Served {
        let (count, bytes) = (taken.count, taken.records.as_ref().map_or(0, RawBatch::bytes));
        if let Some(records) = taken.records {
            // Before `next` moves: the batch is of the new leader epoch from its first record on.
            let log = self.log.map(|log| Log { leader_epoch: taken.leader_epoch, ..log });
            if log != self.log {
                self.log = log;
                self.deliver(self.reached(false));
            }
            self.deliver(Ok(Delivery::Batch(records)));
            // A transaction's marker may follow, which is never delivered.
            self.skipping = true;
        }
        self.next = taken.next;
        if taken.beyond {
            self.advance_to(self.until, None);
        }
        self.ended = self.next >= self.until;
        if let Some(bytes_per_message) = bytes.checked_div(count) {
            self.bytes_per_message = bytes_per_message.max(1);
        }
        // Last: what came before it in the queue was delivered.
        if let Some(failure) = taken.failure {
            self.note_failure(&failure);
        }
        if count > 0 || self.ended { Served::Busy } else { Served::Idle }
    }

    /// Delivers something, for which there is capacity.
    fn deliver(&mut self, delivery: Result<Delivery<RawBatch>>) {
        // One that is closed has delivered its last already.
        let Some(sender) = &self.sender else { return };
        match sender.try_send(delivery) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => {
                debug!(partition = %self.partition, "the task dropped the partition as something was delivered");
            }
            // Whoever calls has asked for capacity, and nobody else delivers.
            Err(TrySendError::Full(_)) => {
                let what = format!("{} is delivered to a task without capacity", self.partition);
                self.fail(Error::broken(&what));
            }
        }
    }

    fn reached(&self, anew: bool) -> Result<Delivery<RawBatch>> {
        Ok(Delivery::Reached { offset: self.next, log: self.log, anew })
    }

    fn note_failure(&mut self, failure: &native::PartitionFailure) {
        // Where the log begins and ends has to be known first: then it is clear what has happened to it.
        if matches!(failure.code, Code::AutoOffsetReset | Code::OffsetOutOfRange) {
            self.out_of_range = true;
            return;
        }
        let attempt = format!("read {} at offset {}", self.partition, self.next);
        let reason = format!("{}: {}", failure.code, failure.reason);
        self.fail(Error::new(failure::kind(failure.code), attempt).because(reason));
    }

    /// Notes the partition's end as it was at `asked`, and its leader epoch; `position` is what came out of the native
    /// queue, if anything did.
    pub(crate) fn note_end(
        &mut self,
        end: i64,
        leader_epoch: Option<i32>,
        position: Option<i64>,
        asked: Timestamp,
    ) -> Advice {
        let at = position.map_or(self.next, |position| position.max(self.next));
        self.report_lag(end);
        if !self.is_open() || self.out_of_range || self.queue.is_none() {
            return Advice::Nothing;
        }
        let has_capacity = self.has_capacity();
        // Without capacity records wait for the task: the partition is not quiet, and another answer follows.
        if at >= end && has_capacity {
            let offset = at.min(self.until);
            // The leader epoch is that of the end: of anything else it would say too much.
            self.advance_to(offset, leader_epoch.filter(|_| at == end));
            if let Some(anew) = self.unreported.take() {
                self.deliver(self.reached(anew));
            }
            self.deliver(Ok(Delivery::AtEnd { asked, offset }));
        }
        self.watchdog.observe(at, end, has_capacity)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "metrics are floats; offsets stay far below 2^53"
    )]
    fn report_lag(&self, end: i64) {
        self.lag.set((end - self.committed).max(0) as f64);
        self.end.set(end as f64);
    }
}

/// What a task reads of a partition: it wakes the reading thread as it takes something.
fn deliveries(
    mut receiver: mpsc::Receiver<Result<Delivery<RawBatch>>>,
    mailbox: Arc<ReaderMailbox>,
) -> Deliveries {
    let mut last = false;
    let receive = stream::poll_fn(move |context| {
        if last {
            return Poll::Ready(None);
        }
        let delivery = ready!(receiver.poll_recv(context));
        mailbox.wake();
        last = matches!(delivery, Some(Ok(Delivery::Finished) | Err(_)));
        // A channel that closes says nothing about the partition; the feed's next event does.
        if delivery.is_some() { Poll::Ready(delivery) } else { Poll::Pending }
    });
    receive.boxed()
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        // Another instance shows it from now on.
        self.lag.set(0.0);
    }
}
