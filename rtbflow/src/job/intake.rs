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

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;

use crate::activity::Activity;
use crate::barrier::{Barrier, Class, Reject};
use crate::element::Element;
use crate::error::BadRecord;
use crate::log::Log;
use crate::position::Position;
use crate::record::{Origin, Partition, Record, Topic};
use crate::source::{Batch, Content, Incoming};
use crate::time::Timestamp;
use crate::topology::unnamed;

/// What a task loop and the intake of its chain have in common.
pub(crate) struct IntakeMailbox<B> {
    shared: Arc<Mutex<Shared<B>>>,
    /// Whether a barrier was put in that the intake has not seen.
    rung: Arc<AtomicBool>,
}

impl<B> Clone for IntakeMailbox<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), rung: Arc::clone(&self.rung) }
    }
}

pub(crate) struct Shared<B> {
    /// What arrived, by the partition's number in the task.
    pub(crate) arrivals: Vec<(usize, Arrival<B>)>,
    /// The next barrier, sent before anything else.
    pub(crate) barrier: Option<Barrier>,
    /// The end of all time, sent once everything was taken.
    pub(crate) close: bool,
    /// The wall clock when the task loop last looked.
    pub(crate) now: Timestamp,
    /// Where the chain stands.
    pub(crate) progress: Progress,
}

/// What arrives for one partition, in order.
pub(crate) enum Arrival<B> {
    Batch(Arc<B>),
    AtEnd { asked: Timestamp, offset: i64 },
    Reached { offset: i64, log: Option<Log>, anew: bool },
    Finished,
}

/// Where the intake stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Records taken since the last barrier.
    pub(crate) taken: u64,
    /// Records taken since the task began.
    pub(crate) total: u64,
    /// Whether everything that arrived was taken.
    pub(crate) drained: bool,
    /// Whether all partitions are finished and the last watermark has been sent.
    pub(crate) closed: bool,
    /// Batches not wholly taken, by partition.
    pub(crate) queued: Vec<usize>,
    /// The watermark.
    pub(crate) watermark: Option<Timestamp>,
    /// Offset and event time of each partition when the last barrier passed.
    pub(crate) at_barrier: Vec<Standing>,
    /// Records taken between the last two barriers, and tombstones among them.
    pub(crate) taken_at_barrier: (u64, u64),
}

/// Where a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) offset: Option<i64>,
    pub(crate) event_time: Option<Timestamp>,
    /// Which log the offset is of.
    pub(crate) log: Option<Log>,
    /// Records taken between the last two barriers.
    pub(crate) taken: u64,
    /// Batches wholly taken since the task began.
    pub(crate) consumed: u64,
}

impl<B> IntakeMailbox<B> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared<B>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in a barrier: it goes out before the next record, also where an operator holds the chain back
    /// and more records are at hand.
    pub(crate) fn send(&self, barrier: Barrier) {
        self.lock().barrier = Some(barrier);
        self.rung.store(true, Ordering::Relaxed);
    }
}

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

/// One partition of the task.
struct PartitionLane<B> {
    partition: Partition,
    out_of_orderness: Duration,
    queue: VecDeque<Arrival<B>>,
    /// Index of the next record in the batch at the front.
    index: usize,
    offset: Option<i64>,
    event_time: Option<Timestamp>,
    log: Option<Log>,
    idle: Option<Idle>,
    finished: bool,
    /// Records taken since the last barrier.
    taken: u64,
    consumed: u64,
}

/// A partition that is proved to stand at its end.
#[derive(Clone, Copy)]
struct Idle {
    since: Timestamp,
    /// When it was proved last.
    proved: Timestamp,
    event_time: Option<Timestamp>,
    /// Whether it has stood there long enough to hold nothing back.
    ticks: bool,
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
        let lanes: Vec<PartitionLane<B>> = positions
            .iter()
            .map(|(partition, position)| PartitionLane {
                partition: *partition,
                out_of_orderness: out_of_orderness(partition.topic),
                queue: VecDeque::new(),
                index: 0,
                offset: position.offset,
                event_time: position.event_time,
                log: position.log,
                idle: None,
                finished: false,
                taken: 0,
                consumed: 0,
            })
            .collect();
        let shared = Shared {
            arrivals: Vec::new(),
            barrier: None,
            close: false,
            now,
            progress: Progress { queued: vec![0; lanes.len()], ..Progress::default() },
        };
        let mailbox = IntakeMailbox { shared: Arc::new(Mutex::new(shared)), rung: Arc::default() };
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

    /// Looks into the mailbox; a barrier in it goes out at once.
    fn look(&mut self) -> Option<Barrier> {
        let mailbox = self.mailbox.clone();
        let mut shared = mailbox.lock();
        self.fresh = false;
        mailbox.rung.store(false, Ordering::Relaxed);
        self.latest = self.bounds.max_ahead.map_or(Timestamp::MAX, |most| shared.now + most);
        self.fresh_from = shared.now - self.bounds.idle_timeout;
        for (lane, arrival) in shared.arrivals.drain(..) {
            if let Some(lane) = self.lanes.get_mut(lane) {
                lane.queue.push_back(arrival);
            }
        }
        shared.progress.drained = false;
        let barrier = shared.barrier.take()?;
        self.restoring &= barrier.is_restoring() && !barrier.is_last_restoring();
        if !barrier.is_restoring() {
            let taken = self.taken();
            let standings = self.lanes.iter_mut().map(PartitionLane::pass);
            shared.progress.at_barrier = standings.collect();
            shared.progress.taken_at_barrier = (taken, std::mem::take(&mut self.skipped));
            shared.progress.total += taken - self.reported;
            shared.progress.taken = 0;
            self.reported = 0;
            let rejects = std::mem::take(&mut self.rejects);
            barrier.gather_of(&self.operator, |epoch| epoch.reject(rejects));
        }
        Some(barrier)
    }

    /// Records taken since the last barrier.
    fn taken(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.taken).sum()
    }

    /// Tells the task loop where the chain stands, as it is about to wait. True if there is more.
    fn report(&mut self) -> bool {
        let mailbox = self.mailbox.clone();
        let mut shared = mailbox.lock();
        if !shared.arrivals.is_empty() || shared.barrier.is_some() {
            return true;
        }
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
        if let [lane] = &mut *self.lanes {
            return lane.settle(self.bounds.idle_timeout, &mut self.stale).then_some(0);
        }
        let mut lowest: Option<(usize, Option<Timestamp>, bool)> = None;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let has = lane.settle(self.bounds.idle_timeout, &mut self.stale);
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
        let lane = self.lanes.get_mut(number)?;
        let Some(Arrival::Batch(batch)) = lane.queue.front() else { return None };
        let incoming = batch.get(lane.index);
        lane.index += 1;
        if lane.index == batch.len() {
            lane.queue.pop_front();
            lane.index = 0;
            lane.consumed += 1;
            self.batch_taken(number);
        }
        let lane = self.lanes.get_mut(number)?;
        let Incoming { offset, content } = incoming?;
        if lane.offset.is_some_and(|next| offset < next) {
            return None;
        }
        lane.offset = Some(offset.saturating_add(1));
        lane.taken += 1;
        let origin = Origin::new(lane.partition, offset);
        let reason = match content {
            Content::Value(value, timestamp) => {
                if timestamp <= self.latest {
                    if lane.event_time.is_none_or(|highest| highest < timestamp) {
                        lane.event_time = Some(timestamp);
                        self.stale = true;
                    }
                    return Some(Record { value, timestamp, origin: Some(origin) });
                }
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

    /// Tells the task loop that a batch was wholly taken: where an operator holds the chain back, it may
    /// be long until the chain waits for more.
    #[cold]
    fn batch_taken(&mut self, number: usize) {
        let taken = self.taken();
        let mut shared = self.mailbox.lock();
        if let Some(queued) = shared.progress.queued.get_mut(number) {
            *queued = queued.saturating_sub(1);
        }
        shared.progress.total += taken - self.reported;
        shared.progress.taken = taken;
        drop(shared);
        self.reported = taken;
    }

    /// Takes into the watermark what was taken since. Whether it may have risen.
    #[inline]
    fn raise_watermark(&mut self) -> bool {
        if self.restoring || !std::mem::take(&mut self.stale) {
            return false;
        }
        let mut lowest: Option<Timestamp> = None;
        for lane in &self.lanes {
            match lane.event_time {
                Some(event_time) => {
                    let own = event_time - lane.out_of_orderness;
                    lowest = Some(lowest.map_or(own, |lowest| lowest.min(own)));
                }
                None if lane.idle.is_some_and(|idle| idle.ticks) || lane.finished => {}
                None => return false,
            }
        }
        self.watermark = self.watermark.max(lowest);
        true
    }

    /// The watermark, if results are due by it: were it to come with the record behind it, no barrier could
    /// pass before the last of them, since that record was taken.
    #[inline]
    fn due_watermark(&mut self) -> Option<Timestamp> {
        let risen = self.raise_watermark().then_some(self.watermark).flatten();
        let due = risen.filter(|watermark| self.activity.is_due(*watermark))?;
        if self.sent >= self.watermark {
            return None;
        }
        self.activity.alone();
        self.sent = self.watermark;
        Some(due)
    }

    /// The watermark, if it was not sent on by itself: before the chain waits, and before a barrier.
    fn unsent_watermark(&mut self) -> Option<Timestamp> {
        self.raise_watermark();
        if self.restoring || self.watermark <= self.sent {
            return None;
        }
        self.sent = self.watermark;
        self.watermark
    }
}

impl<B: Batch> PartitionLane<B> {
    /// Where it stands as a barrier passes.
    fn pass(&mut self) -> Standing {
        Standing {
            offset: self.offset,
            event_time: self.event_time,
            log: self.log,
            taken: std::mem::take(&mut self.taken),
            consumed: self.consumed,
        }
    }

    /// Takes in what stands before the next record. Whether there is a record.
    #[inline]
    fn settle(&mut self, idle_timeout: Duration, stale: &mut bool) -> bool {
        loop {
            match self.queue.front() {
                Some(Arrival::Batch(batch)) if !batch.is_empty() => {
                    self.idle = None;
                    return true;
                }
                Some(Arrival::Batch(_)) => self.consumed += 1,
                Some(Arrival::AtEnd { asked, offset }) => {
                    let (asked, offset) = (*asked, *offset);
                    self.at_end(asked, offset, idle_timeout);
                    *stale = true;
                }
                Some(Arrival::Reached { offset, log, anew }) => {
                    let stood = self.offset.filter(|_| !anew);
                    self.offset = Some(stood.map_or(*offset, |next| next.max(*offset)));
                    self.log = *log;
                }
                Some(Arrival::Finished) => {
                    self.finished = true;
                    *stale = true;
                }
                None => return false,
            }
            self.queue.pop_front();
        }
    }

    /// Whether it was proved to stand at its end at this time or later.
    #[inline]
    fn stood_at_end(&self, since: Timestamp) -> bool {
        self.idle.is_some_and(|idle| idle.proved >= since)
    }

    /// The partition was proved to stand at its end: once that has lasted for the idle time-out, its event
    /// time grows by the wall time since, from where it stood, never beyond the wall clock.
    fn at_end(&mut self, asked: Timestamp, offset: i64, idle_timeout: Duration) {
        self.offset = Some(self.offset.map_or(offset, |next| next.max(offset)));
        let event_time = self.event_time;
        let first = Idle { since: asked, proved: asked, event_time, ticks: false };
        let idle = self.idle.get_or_insert(first);
        idle.proved = idle.proved.max(asked);
        if asked < idle.since + idle_timeout {
            return;
        }
        idle.ticks = true;
        if let Some(stood) = idle.event_time {
            let ticked = (stood + asked.since(idle.since + idle_timeout)).min(asked);
            self.event_time = self.event_time.max(Some(ticked));
        }
    }
}

impl<B: Batch> Stream for Intake<B> {
    type Item = Element<B::Value>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.mailbox.rung.load(Ordering::Relaxed) && !this.fresh {
                this.fresh = true;
                if let Some(watermark) = this.unsent_watermark() {
                    return Poll::Ready(Some(Element::Watermark(watermark)));
                }
            }
            if this.fresh
                && let Some(barrier) = this.look()
            {
                return Poll::Ready(Some(Element::Barrier(barrier)));
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
            if let Some(watermark) = this.unsent_watermark() {
                return Poll::Ready(Some(Element::Watermark(watermark)));
            }
            let closed = this.closed;
            if !this.report() {
                return Poll::Pending;
            }
            this.fresh = true;
            if this.closed && !closed {
                return Poll::Ready(Some(Element::Watermark(Timestamp::MAX)));
            }
        }
    }
}
