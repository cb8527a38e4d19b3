//! The beginning of a task's chain: takes records out of batches, tells event time, sends barriers.
//!
//! The task loop puts batches into the [`IntakeMailbox`] and polls the chain until it is pending; nothing is
//! locked for a single record. Where a task has several partitions, the record comes from the one whose
//! event time is lowest (the idea of
//! [KIP-695](https://cwiki.apache.org/confluence/display/KAFKA/KIP-695%3A+Further+Improve+Kafka+Streams+Timestamp+Synchronization)):
//! if that one has nothing at hand, the task waits for it, unless it is proved to stand at its end. A
//! partition that has had no record yet comes before all others. A proof holds for the idle time-out: if
//! none has renewed it by then, something may be on its way that does not arrive, and the task waits for
//! it, so that what operators hold of the other partitions does not grow without an end.

mod lane;
mod mailbox;
mod watermark;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;

use crate::activity::Activity;
use crate::barrier::{Barrier, Class, Reject};
use crate::element::Element;
use crate::error::{BadRecord, Error};
use crate::position::Position;
use crate::record::{Origin, Partition, Record, Topic};
use crate::source::{Batch, Content, Incoming};
use crate::time::Timestamp;
use crate::topology::unnamed;
use lane::PartitionLane;
pub(crate) use mailbox::{Arrival, IntakeMailbox, Progress, Standing};

/// The source of a task's chain: what a pipeline closure is given.
pub struct Intake<B: Batch> {
    mailbox: IntakeMailbox<B>,
    activity: Activity,
    lanes: Vec<PartitionLane<B>>,
    bounds: Bounds,
    /// The latest event time that is not too far in the future.
    latest: Timestamp,
    /// What was proved before is too old to go by.
    fresh_from: Timestamp,
    /// The watermark.
    watermark: Option<Timestamp>,
    /// The watermark that was sent on by itself.
    sent: Option<Timestamp>,
    /// Whether the watermark may have risen.
    stale: bool,
    rejects: Vec<(Reject, Class)>,
    /// What it is called in measurements.
    operator: Arc<str>,
    /// How many of the records taken since the last barrier were reported to the task loop.
    reported: u64,
    skipped: u64,
    closed: bool,
    /// Whether state is still being brought back: the watermark waits for it.
    restoring: bool,
    /// Whether the mailbox has to be looked into before the next record.
    fresh: bool,
}

/// What time may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) idle_timeout: Duration,
    /// How far a record may be ahead of the wall clock.
    pub(crate) max_ahead: Option<Duration>,
}

impl<B: Batch> fmt::Debug for Intake<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lanes.iter().map(|lane| lane.partition)).finish()
    }
}

impl<B: Batch> Intake<B> {
    /// The intake of a task at these positions, whose topics are out of order by at most this much.
    pub(crate) fn new(
        positions: &[(Partition, Position)],
        bounds: Bounds,
        out_of_orderness: impl Fn(Topic) -> Duration,
        (now, activity): (Timestamp, Activity),
    ) -> (Self, IntakeMailbox<B>) {
        let lane = |(partition, position): &(Partition, Position)| {
            PartitionLane::new(*partition, position, out_of_orderness(partition.topic))
        };
        let lanes: Vec<PartitionLane<B>> = positions.iter().map(lane).collect();
        let mailbox = IntakeMailbox::new(lanes.len(), now);
        let intake = Self {
            mailbox: mailbox.clone(),
            activity,
            lanes,
            bounds,
            latest: Timestamp::MAX,
            fresh_from: now - bounds.idle_timeout,
            watermark: None,
            sent: None,
            stale: true,
            rejects: Vec::new(),
            operator: unnamed(0, "source"),
            reported: 0,
            skipped: 0,
            closed: false,
            restoring: true,
            fresh: true,
        };
        (intake, mailbox)
    }

    /// The bell was rung, or the mailbox is to be looked into: what goes out before the next record.
    #[inline(never)]
    fn before_record(&mut self) -> Option<Element<B::Value>> {
        if !std::mem::replace(&mut self.fresh, true)
            && let Some(watermark) = self.unsent_watermark()
        {
            return Some(Element::Watermark(watermark));
        }
        self.look().map(Element::Barrier)
    }

    /// There is no record: the watermark alone goes out, or the report, behind which the mailbox is looked into again.
    fn at_rest(&mut self) -> Poll<Option<Timestamp>> {
        if let Some(watermark) = self.unsent_watermark() {
            return Poll::Ready(Some(watermark));
        }
        let closed = self.closed;
        // Nobody is woken: the task loop polls the chain again whenever it has put something in.
        if !self.report() {
            return Poll::Pending;
        }
        self.fresh = true;
        Poll::Ready((self.closed && !closed).then_some(Timestamp::MAX))
    }

    /// Looks into the mailbox; a barrier in it goes out at once.
    fn look(&mut self) -> Option<Barrier> {
        let mailbox = self.mailbox.clone();
        let mut shared = mailbox.lock();
        self.fresh = false;
        mailbox.quiet();
        self.latest = self.bounds.max_ahead.map_or(Timestamp::MAX, |most| shared.now + most);
        self.fresh_from = shared.now - self.bounds.idle_timeout;
        for (lane, arrival) in shared.arrivals.drain(..) {
            match self.lanes.get_mut(lane) {
                Some(lane) => lane.queue.push_back(arrival),
                None => Error::broken("a batch is of no partition of the task").spoil_epoch(),
            }
        }
        shared.progress.drained = false;
        let barrier = shared.barrier.take()?;
        // The watermark waits for the state: what it makes due is not back before the last of these barriers.
        self.restoring &= barrier.is_restoring() && !barrier.is_last_restoring();
        if !barrier.is_restoring() {
            self.pass(&barrier, &mut shared.progress);
        }
        Some(barrier)
    }

    /// An epoch ends. Where the partitions stand is read in the same step in which the barrier goes out: the epoch's
    /// positions are exactly those of the records before it.
    fn pass(&mut self, barrier: &Barrier, progress: &mut Progress) {
        let taken = self.taken();
        progress.at_barrier = self.lanes.iter_mut().map(PartitionLane::pass).collect();
        progress.taken_at_barrier = (taken, std::mem::take(&mut self.skipped));
        progress.total += taken - self.reported;
        progress.taken = 0;
        self.reported = 0;
        let rejects = std::mem::take(&mut self.rejects);
        barrier.gather_of(&self.operator, |epoch| epoch.reject(rejects));
    }

    /// Records taken since the last barrier.
    fn taken(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.taken).sum()
    }

    /// Tells the task loop where the chain stands, as it is about to wait. True if there is more.
    fn report(&mut self) -> bool {
        let mailbox = self.mailbox.clone();
        let mut shared = mailbox.lock();
        // They came since it was looked into: to wait now would be to wait beside them.
        if !shared.arrivals.is_empty() || shared.barrier.is_some() {
            return true;
        }
        // The end of all time comes last, once and behind every record: whatever is still open closes by it.
        let finished = self.lanes.iter().all(|lane| lane.finished);
        if shared.close && finished && !self.closed {
            self.closed = true;
            return true;
        }
        let taken = self.taken();
        let progress = &mut shared.progress;
        progress.drained = true;
        progress.closed = self.closed;
        progress.total += taken - self.reported;
        progress.taken = taken;
        self.reported = taken;
        progress.watermark = self.watermark;
        progress.queued.clear();
        progress.queued.extend(self.lanes.iter().map(|lane| lane.queue.len()));
        self.fresh = true;
        false
    }

    /// The lane to take from: the lowest in event time of those that have or may have records. `None`
    /// if nothing can be taken now.
    #[inline]
    fn lane(&mut self) -> Option<usize> {
        // Most tasks have one partition, for which nothing has to be compared.
        if let [lane] = &mut *self.lanes {
            return lane.settle(self.bounds.idle_timeout, &mut self.stale).then_some(0);
        }
        let mut lowest: Option<(usize, Option<Timestamp>, bool)> = None;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let has = lane.settle(self.bounds.idle_timeout, &mut self.stale);
            // One that has nothing and may still bring something earlier holds back all others.
            if !has && (lane.finished || lane.stood_at_end(self.fresh_from)) {
                continue;
            }
            if lowest.is_none_or(|(_, event_time, _)| lane.event_time < event_time) {
                lowest = Some((number, lane.event_time, has));
            }
        }
        lowest.and_then(|(number, _, has)| has.then_some(number))
    }

    /// Takes the next record of a lane; `None` if it was none that flows on.
    #[inline]
    fn take(&mut self, number: usize) -> Option<Record<B::Value>> {
        let Incoming { offset, content } = self.next_of(number)?;
        let lane = self.lanes.get_mut(number)?;
        // Where a fetch begins before the position, these were taken before.
        if lane.offset.is_some_and(|next| offset < next) {
            return None;
        }
        lane.offset = Some(offset.saturating_add(1));
        lane.taken += 1;
        let origin = Origin::new(lane.partition, offset);
        let reason = match content {
            Content::Value(value, timestamp) if timestamp <= self.latest => {
                if lane.event_time.is_none_or(|highest| highest < timestamp) {
                    lane.event_time = Some(timestamp);
                    self.stale = true;
                }
                return Some(Record { value, timestamp, origin: Some(origin) });
            }
            Content::Value(_, timestamp) => {
                BadRecord::new(format!("too far in the future: {timestamp}"))
            }
            Content::Bad(reason) => reason,
            Content::Tombstone => {
                self.skipped += 1;
                return None;
            }
        };
        self.rejects.push((Reject { origin, reason }, Class::DeadLettered));
        None
    }

    /// Takes the next record out of the batch that comes first in a lane.
    #[inline]
    fn next_of(&mut self, number: usize) -> Option<Incoming<B::Value>> {
        let lane = self.lanes.get_mut(number)?;
        let Some(Arrival::Batch(batch)) = lane.queue.front() else {
            // Dropped, so that the poll ends behind which the epoch is found spoilt.
            lane.queue.pop_front();
            Error::broken("a record is to be taken where there is no batch").spoil_epoch();
            return None;
        };
        let incoming = batch.get(lane.index);
        if incoming.is_none() {
            no_record(lane.partition);
        }
        lane.index += 1;
        if lane.index == batch.len() {
            lane.queue.pop_front();
            lane.index = 0;
            lane.consumed += 1;
            self.batch_taken(number);
        }
        incoming
    }

    /// Tells the task loop that a batch was wholly taken: where an operator holds the chain back, it may
    /// be long until the chain waits for more.
    #[cold]
    fn batch_taken(&mut self, number: usize) {
        let taken = self.taken();
        let mut shared = self.mailbox.lock();
        let queued = shared.progress.queued.get_mut(number);
        match queued.and_then(|queued| Some((queued.checked_sub(1)?, queued))) {
            Some((left, queued)) => *queued = left,
            None => Error::broken("a batch was taken that was not queued").spoil_epoch(),
        }
        shared.progress.total += taken - self.reported;
        shared.progress.taken = taken;
        drop(shared);
        self.reported = taken;
    }
}

/// A batch does not have a record that it says it has: a fault of the source, by which a record would be lost.
#[cold]
fn no_record(partition: Partition) {
    Error::permanent(format!(
        "take a record of {partition}: its batch has fewer than its `len` says; this is a fault of the source's `Batch`"
    ))
    .spoil_epoch();
}

impl<B: Batch> Stream for Intake<B> {
    type Item = Element<B::Value>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // The order: a barrier first, so that an epoch ends when the task says so and not when records run out;
        // before it the watermark that holds, which belongs to the epoch as it may make results due; then records,
        // each with the watermark before it; and when there are none, the watermark alone and the report.
        loop {
            // The bell is one load without a lock: this is done for each record.
            if (this.fresh || this.mailbox.is_rung())
                && let Some(element) = this.before_record()
            {
                return Poll::Ready(Some(element));
            }
            if let Some(lane) = this.lane() {
                if let Some(watermark) = this.due_watermark() {
                    return Poll::Ready(Some(Element::Watermark(watermark)));
                }
                if let Some(record) = this.take(lane) {
                    let watermark = this.watermark.unwrap_or(Timestamp::MIN);
                    return Poll::Ready(Some(Element::Record(record, watermark)));
                }
                continue;
            }
            if let Some(watermark) = ready!(this.at_rest()) {
                return Poll::Ready(Some(Element::Watermark(watermark)));
            }
        }
    }
}
