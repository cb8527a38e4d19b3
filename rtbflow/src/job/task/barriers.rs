//! When a task sends a barrier.

use std::task::Context;

use futures::FutureExt;
use tokio::time::Instant;

use crate::barrier::Barrier;
use crate::job::task::TaskLoop;
use crate::job::task::work::MOST_IN_FLIGHT;
use crate::source::Batch;

impl<B: Batch> TaskLoop<B> {
    /// Whether a barrier is to set out now.
    pub(super) fn is_barrier_due(&self, now: Instant) -> bool {
        let work = &self.work;
        if work.gathering.is_some() || work.ended || work.in_flight.len() >= MOST_IN_FLIGHT {
            return false;
        }
        // With nothing on its way a barrier sets out soon, for latency; while a commit is under way more is gathered,
        // as another epoch would only wait behind it.
        let lingered = work.waiting_since.is_some_and(|since| now >= since + self.settings.linger);
        let finishing = work.ending || work.progress.closed;
        (lingered && work.in_flight.is_empty())
            || now >= work.last_barrier + self.settings.commit_interval
            || self.is_full()
            || (finishing && work.progress.drained)
    }

    pub(super) fn send_barrier(&mut self, now: Instant) {
        let (barrier, gathering) = Barrier::new(self.clock.now());
        self.mailbox.send(barrier);
        // What waits goes with it; and the chain, which may have stopped for it, moves again.
        self.activity.send();
        self.work.gathering = Some(gathering);
        self.work.last_barrier = now;
        self.work.waiting_since = None;
        // One that sets out when everything is taken is the last: what it ends is committed, then the task is over.
        self.work.ended = self.work.ending || self.work.progress.closed;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.work.ended && self.work.gathering.is_none() && self.work.in_flight.is_empty()
    }

    /// Sets the timer for the next barrier. Whether that time has come already.
    pub(super) fn is_time_up(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        if self.work.in_flight.len() >= MOST_IN_FLIGHT
            || self.work.gathering.is_some()
            || self.work.ended
        {
            return false;
        }
        let interval = self.work.last_barrier + self.settings.commit_interval;
        let linger = self.work.waiting_since.map(|since| since + self.settings.linger);
        let next = match linger.filter(|_| self.work.in_flight.is_empty()) {
            Some(linger) => linger.min(interval),
            None if linger.is_some() => interval,
            None => interval.min(self.wakes(now)),
        };
        // A timer that is set anew for each record costs more than the record.
        if self.work.timer.deadline() != next {
            self.work.timer.as_mut().reset(next);
        }
        // Polled in any case: it is what wakes the task.
        self.work.timer.poll_unpin(context).is_ready() && next <= now.max(Instant::now())
    }

    /// When an operator wants a barrier by the wall clock, not later than the commit interval from now.
    fn wakes(&self, now: Instant) -> Instant {
        let wait = self.activity.wakes().since(self.clock.now());
        now + wait.min(self.settings.commit_interval)
    }
}
