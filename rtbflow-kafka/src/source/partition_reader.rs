//! One assigned partition: from its native queue to its task, never more than there is room for.

use std::sync::Arc;
use std::task::{Poll, ready};

use futures::stream::{self, BoxStream, StreamExt};
use metrics::{Gauge, gauge};
use rdkafka::error::RDKafkaErrorCode as Code;
use rtbflow::epoch::{JobName, Log, Position};
use rtbflow::source::{Delivery, RawBatch};
use rtbflow::{Error, Partition, Result, Timestamp};
use tokio::sync::mpsc;
use tracing::debug;

use crate::client::failure;
use crate::client::native::{self, OffsetRange, Queue};
use crate::source::mailbox::Mailbox;
use crate::source::range::Beginning;
use crate::source::watchdog::{Advice, Watchdog};

/// Deliveries between the reading thread and a task: two batches, and where the second one begins.
const MOST_DELIVERIES: usize = 3;
/// What is handed over at a time, at most: a batch, and before it where it begins.
const AT_A_TIME: usize = 2;
/// What a batch should hold at most; how many messages are taken follows from the last batch.
const BATCH_BYTES: usize = 1 << 20;

type Deliveries = BoxStream<'static, Result<Delivery<RawBatch>>>;

/// One assigned partition.
pub(crate) struct PartitionReader {
    /// The partition.
    pub(crate) partition: Partition,
    /// Where its records are forwarded to, once it is assigned.
    pub(crate) queue: Option<Queue>,
    /// The offset behind what was handed over.
    pub(crate) next: i64,
    /// Its offset was out of range: where the log begins has been asked.
    pub(crate) doubtful: bool,
    /// Which log is read, where the brokers say: as it was reported with the last delivery.
    log: Option<Log>,
    /// Where reading stands has to be reported; whether that is not where it was to begin.
    unreported: Option<bool>,
    /// The offset to stop at.
    until: i64,
    /// Closed after the last delivery, or when the task dropped it.
    outlet: Option<mpsc::Sender<Result<Delivery<RawBatch>>>>,
    failure: Option<Error>,
    ended: bool,
    /// Whether the last batch emptied the native queue.
    drained: bool,
    /// Whether what is never handed over may have come out of it behind that batch.
    passing: bool,
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
        mailbox: Arc<Mailbox>,
    ) -> (Self, Deliveries) {
        let (outlet, mut receiver) = mpsc::channel(MOST_DELIVERIES);
        let Partition { topic, number } = partition;
        let (topic, number) = (topic.name().to_owned(), number.to_string());
        let labels = [("job", job.to_string()), ("topic", topic), ("partition", number)];
        let reader = Self {
            partition,
            queue: None,
            next: 0,
            doubtful: false,
            log: None,
            unreported: None,
            until,
            outlet: Some(outlet),
            failure: None,
            ended: false,
            drained: true,
            passing: false,
            bytes_per_message: 1,
            watchdog: Watchdog::new(patience),
            committed: 0,
            lag: gauge!("rtbflow_lag", &labels),
            end: gauge!("rtbflow_end_offset", &labels),
        };
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
        (reader, receive.boxed())
    }

    /// Begins at an offset.
    pub(crate) fn begin(&mut self, beginning: Beginning, queue: Queue) {
        let Beginning { from, anew, log } = beginning;
        (self.next, self.committed, self.log) = (from, from, log);
        self.unreported = (anew || log.is_some()).then_some(anew);
        self.ended = from >= self.until;
        self.queue = Some(queue);
    }

    /// Takes note that everything below an offset is committed.
    pub(crate) fn committed(&mut self, offset: i64) {
        self.committed = self.committed.max(offset);
    }

    /// EndOffsets with an error, behind what was handed over.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// Whether anything may still come.
    pub(crate) fn is_open(&self) -> bool {
        self.outlet.is_some() && self.failure.is_none() && !self.ended
    }

    fn room(&self) -> bool {
        self.outlet.as_ref().is_some_and(|outlet| outlet.capacity() >= AT_A_TIME)
    }

    /// Where reading stands.
    pub(crate) fn position(&self) -> Position {
        Position { offset: Some(self.next), log: self.log, ..Position::default() }
    }

    /// Whether `position` could say that something was passed that is never handed over, and with it perhaps
    /// the agreed end.
    pub(crate) fn awaits_passage(&self) -> bool {
        let asked = self.passing || self.until < i64::MAX;
        asked && self.is_open() && self.drained && self.queue.is_some()
    }

    /// Notes that everything below `position` has come out of the native queue. A position that is left
    /// standing before a marker falls below the beginning of the log one day.
    pub(crate) fn passed(&mut self, position: i64) {
        self.passing = false;
        self.stand_at(position.min(self.until), None);
        self.ended |= self.next >= self.until;
    }

    /// Takes note that nothing below `at` will be handed over, and of the term of the leader that says so. The
    /// term of what was passed is not known otherwise.
    fn stand_at(&mut self, at: i64, term: Option<i32>) {
        let log = self.log.map(|log| Log { leader_epoch: term, ..log });
        if at > self.next || (at == self.next && term.is_some() && log != self.log) {
            (self.next, self.log) = (at, log);
            self.unreported = self.unreported.or(Some(false));
        }
    }

    /// Hands over what there is room for: records, else the end or the error behind them.
    pub(crate) fn serve(&mut self, most_records: usize) -> Served {
        if self.outlet.as_ref().is_some_and(mpsc::Sender::is_closed) {
            debug!(partition = %self.partition, "the task dropped the partition");
            self.outlet = None;
        }
        let Some(outlet) = self.outlet.clone().filter(|_| self.room()) else { return Served::Idle };
        if let Some(anew) = self.unreported.take() {
            hand_over(&outlet, self.reached(anew));
            return Served::Busy;
        }
        if self.failure.is_some() || self.ended {
            hand_over(&outlet, self.failure.take().map_or(Ok(Delivery::Finished), Err));
            self.outlet = None;
            return Served::Busy;
        }
        let Some(queue) = self.queue.as_mut().filter(|_| !self.doubtful) else {
            return Served::Idle;
        };
        let most = (BATCH_BYTES / self.bytes_per_message).clamp(1, most_records);
        let taken = queue.take(most, OffsetRange { from: self.next, until: self.until });
        let (count, bytes) = (taken.count, taken.records.as_ref().map_or(0, RawBatch::bytes));
        if let Some(records) = taken.records {
            let log = self.log.map(|log| Log { leader_epoch: taken.term, ..log });
            if log != self.log {
                self.log = log;
                hand_over(&outlet, self.reached(false));
            }
            hand_over(&outlet, Ok(Delivery::Batch(records)));
            self.passing = true;
        }
        self.drained = count < most;
        self.next = taken.next;
        if taken.beyond {
            self.stand_at(self.until, None);
        }
        self.ended = self.next >= self.until;
        if let Some(bytes_per_message) = bytes.checked_div(count) {
            self.bytes_per_message = bytes_per_message.max(1);
        }
        if let Some(failure) = taken.failure {
            self.note(&failure);
        }
        if count > 0 || self.ended { Served::Busy } else { Served::Idle }
    }

    fn reached(&self, anew: bool) -> Result<Delivery<RawBatch>> {
        Ok(Delivery::Reached { offset: self.next, log: self.log, anew })
    }

    fn note(&mut self, failure: &native::Failure) {
        if matches!(failure.code, Code::AutoOffsetReset | Code::OffsetOutOfRange) {
            self.doubtful = true;
            return;
        }
        let attempt = format!("read {} at offset {}", self.partition, self.next);
        let reason = format!("{}: {}", failure.code, failure.reason);
        self.fail(Error::new(failure::kind(failure.code), attempt).because(reason));
    }

    /// Takes notice of the partition's end as it was at `asked`, and of its leader's term; `position` is what
    /// came out of the native queue.
    pub(crate) fn ends_at(
        &mut self,
        end: i64,
        term: Option<i32>,
        position: i64,
        asked: Timestamp,
    ) -> Advice {
        let at = position.max(self.next);
        self.show(end);
        if !self.is_open() || self.doubtful || self.queue.is_none() {
            return Advice::Nothing;
        }
        let room = self.room();
        // No room means that records wait for the task: the partition is not quiet, and another question
        // follows.
        if at >= end
            && room
            && let Some(outlet) = self.outlet.clone()
        {
            self.stand_at(at.min(self.until), term.filter(|_| at == end));
            if let Some(anew) = self.unreported.take() {
                hand_over(&outlet, self.reached(anew));
            }
            let offset = at.min(self.until);
            hand_over(&outlet, Ok(Delivery::AtEnd { asked, offset }));
        }
        self.watchdog.look(at, end, room)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "metrics are floats; offsets stay far below 2^53"
    )]
    fn show(&self, end: i64) {
        self.lag.set((end - self.committed).max(0) as f64);
        self.end.set(end as f64);
    }
}

/// There is room: whoever calls has looked, and is the only one to hand over.
fn hand_over(
    outlet: &mpsc::Sender<Result<Delivery<RawBatch>>>,
    delivery: Result<Delivery<RawBatch>>,
) {
    if outlet.try_send(delivery).is_err() {
        debug!("a task drops its partition as it is handed something");
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        // Another instance shows it from now on.
        self.lag.set(0.0);
    }
}
