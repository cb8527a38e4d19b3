//! One partition of a task: what has arrived of it, and where it stands.

use std::collections::VecDeque;
use std::time::Duration;

use crate::job::intake::mailbox::{Arrival, Standing};
use crate::log::Log;
use crate::position::Position;
use crate::record::Partition;
use crate::source::Batch;
use crate::time::Timestamp;

/// One partition of the task.
pub(super) struct PartitionLane<B> {
    pub(super) partition: Partition,
    pub(super) out_of_orderness: Duration,
    pub(super) queue: VecDeque<Arrival<B>>,
    /// Index of the next record in the batch at the front.
    pub(super) index: usize,
    pub(super) offset: Option<i64>,
    pub(super) event_time: Option<Timestamp>,
    pub(super) log: Option<Log>,
    pub(super) idle: Option<Idle>,
    pub(super) finished: bool,
    /// Records taken since the last barrier.
    pub(super) taken: u64,
    pub(super) consumed: u64,
}

/// A partition that is proved to stand at its end.
#[derive(Clone, Copy)]
pub(super) struct Idle {
    /// When it was proved last, by the wall clock and by one that nobody sets.
    proved: Timestamp,
    steady: Duration,
    /// For how long it has stood there, from the first proof to the last.
    lasted: Duration,
    pub(super) event_time: Option<Timestamp>,
    /// Whether it has stood there long enough to hold nothing back.
    pub(super) ticks: bool,
}

impl Idle {
    /// Proved for the first time.
    fn first((proved, steady): (Timestamp, Duration), event_time: Option<Timestamp>) -> Self {
        Self { proved, steady, lasted: Duration::ZERO, event_time, ticks: false }
    }

    /// Proved again. The wall clock counts, and no faster than the steady one: were it set forward, what comes next would
    /// be late. Where it was set back, how much time has passed meanwhile is not known.
    fn again(&mut self, (proved, steady): (Timestamp, Duration)) {
        let passed = proved.since(self.proved).min(steady.saturating_sub(self.steady));
        self.lasted += passed;
        (self.proved, self.steady) = (proved, steady);
    }
}

impl<B: Batch> PartitionLane<B> {
    /// A partition at this position, out of order by at most this much.
    pub(super) fn new(
        partition: Partition,
        position: &Position,
        out_of_orderness: Duration,
    ) -> Self {
        Self {
            partition,
            out_of_orderness,
            queue: VecDeque::new(),
            index: 0,
            offset: position.offset,
            event_time: position.event_time,
            log: position.log,
            idle: None,
            finished: false,
            taken: 0,
            consumed: 0,
        }
    }

    /// Where it stands as a barrier passes.
    pub(super) fn pass(&mut self) -> Standing {
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
    pub(super) fn settle(&mut self, idle_timeout: Duration, stale: &mut bool) -> bool {
        loop {
            match self.queue.front() {
                Some(Arrival::Batch(batch)) if !batch.is_empty() => {
                    self.idle = None;
                    return true;
                }
                // An empty one counts as taken: the task loop keeps batches by their number.
                Some(Arrival::Batch(_)) => self.consumed += 1,
                Some(Arrival::AtEnd { asked, steady, offset }) => {
                    let (clocks, offset) = ((*asked, *steady), *offset);
                    self.at_end(clocks, offset, idle_timeout);
                    *stale = true;
                }
                Some(Arrival::Reached { offset, log, anew }) => {
                    // An offset never goes back, but in a log that was made anew.
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
    pub(super) fn stood_at_end(&self, since: Timestamp) -> bool {
        self.idle.is_some_and(|idle| idle.proved >= since)
    }

    /// The partition was proved to stand at its end: once that has lasted for the idle time-out, its event
    /// time grows by the time since, from where it stood, never beyond the wall clock.
    fn at_end(&mut self, clocks: (Timestamp, Duration), offset: i64, idle_timeout: Duration) {
        self.offset = Some(self.offset.map_or(offset, |next| next.max(offset)));
        let idle = self.idle.get_or_insert(Idle::first(clocks, self.event_time));
        idle.again(clocks);
        // One that is slow for a moment must not move time on: what it has not handed over would be late.
        let Some(ticked) = idle.lasted.checked_sub(idle_timeout) else { return };
        idle.ticks = true;
        // Without a record it has no event time that could grow, and holds nothing back by being idle.
        if let Some(stood) = idle.event_time {
            let ticked = (stood + ticked).min(idle.proved);
            self.event_time = self.event_time.max(Some(ticked));
        }
    }
}
