//! The loop of one task: feeds its chain, sends barriers, hands epochs to the committer.
//!
//! Barriers enter here and nowhere else. One is sent as soon as the committer is free and something is
//! staged, after a short linger; at the latest after the commit interval; and when enough is staged.
//! Little traffic thus means low latency and much traffic big batches, by itself.

mod barriers;
mod batch_bytes;
mod building;
mod restoring;
mod work;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Fuse, FusedFuture};
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::activity::Activity;
use crate::clock::Clock;
use crate::epoch::{Epoch, Verdict};
use crate::error::{Error, Result};
use crate::flow::End;
use crate::job::batch_limit::BatchLimit;
use crate::job::intake::{Arrival, IntakeMailbox};
use crate::job::measures::TaskMeasures;
use crate::job::pace::Pace;
use crate::job::report::Status;
use crate::job::settings::Settings;
use crate::job::submission::Submission;
use crate::position::Task;
use crate::source::Batch;
pub(crate) use work::{TaskPartition, Work};

/// Batches of one partition at hand in the chain.
const MOST_QUEUED: usize = 2;
/// Batches fed before other tasks get a turn.
const BATCHES_PER_TURN: usize = 8;

/// One task, at work.
pub(crate) struct TaskLoop<B: Batch> {
    pub(crate) task: Task,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) end: End,
    pub(crate) mailbox: IntakeMailbox<B>,
    pub(crate) activity: Activity,
    pub(crate) inputs: Vec<TaskPartition<B>>,
    pub(crate) commits: mpsc::Sender<Submission>,
    /// Ready when the task has to finish its epoch and end.
    pub(crate) finish: Fuse<oneshot::Receiver<()>>,
    pub(crate) status: Arc<Status>,
    pub(crate) pace: Pace,
    pub(crate) batch_limit: BatchLimit,
    pub(crate) measures: TaskMeasures,
    pub(crate) work: Work,
}

impl<B: Batch> TaskLoop<B> {
    /// Runs until the source is finished or the task has to end; everything taken is committed then.
    ///
    /// # Errors
    /// If the pipeline fails or another owner took over.
    pub(crate) async fn run(&mut self) -> Result<()> {
        while let Some(epoch) = poll_fn(|context| self.poll_epoch(context)).await? {
            let (verdict, waiting) = oneshot::channel();
            // The channel is bounded: a committer that is behind holds the task back here, which then reads no more.
            let status = Arc::clone(&self.status);
            if self.commits.send(Submission { epoch, verdict, status }).await.is_err() {
                return Err(Error::transient("hand an epoch to the committer: it has ended"));
            }
            self.work.in_flight.push_back(waiting);
            self.measures.in_flight(self.work.in_flight.len());
        }
        Ok(())
    }

    /// The next epoch; `None` when the task has ended.
    fn poll_epoch(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Epoch>>> {
        // The order of a turn. Verdicts first: they say whether another barrier may set out, and a fence ends the task
        // before it reads on. Whether it has to end is asked before it is fed, so that it takes nothing more. Then what
        // has come goes into the chain, and the chain is driven until it waits; only behind that is it known whether
        // a barrier has passed, and whether one is due.
        for _ in 0..BATCHES_PER_TURN {
            self.take_verdicts(context)?;
            self.look_for_end(context);
            let fed = self.feed(context)?;
            self.drive(context)?;
            if let Some(epoch) = self.gathered()? {
                return Poll::Ready(Ok(Some(epoch)));
            }
            let now = Instant::now();
            if self.is_barrier_due(now) {
                self.send_barrier(now);
                // It goes through the chain at once: the epoch ends where it was decided to.
                continue;
            }
            if self.has_ended() {
                return Poll::Ready(Ok(None));
            }
            if !fed && !self.is_time_up(now, context) {
                return Poll::Pending;
            }
        }
        // There is more to do, but other tasks share the thread.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes the answers of the committer, in the order of the epochs.
    fn take_verdicts(&mut self, context: &mut Context<'_>) -> Result<()> {
        while let Poll::Ready(Some(verdict)) = self.work.in_flight.poll_next_unpin(context) {
            match verdict {
                Ok(Verdict::Committed(_)) => {
                    self.work.held.committed();
                    self.measures.in_flight(self.work.in_flight.len());
                }
                Ok(Verdict::Fenced) => {
                    return Err(Error::fenced(format!(
                        "commit task {}: another instance has taken over its partitions; what was not \
                         committed here is dropped, and a supervisor may start this instance again",
                        self.task
                    )));
                }
                Err(_) => return Err(Error::transient("await a commit: the committer has ended")),
            }
        }
        Ok(())
    }

    fn look_for_end(&mut self, context: &mut Context<'_>) {
        // Whoever drops the other end wants the task to end as well.
        self.work.ending |=
            self.finish.is_terminated() || self.finish.poll_unpin(context).is_ready();
    }

    /// Whether enough is under way that nothing more may be taken in before the next barrier.
    fn is_full(&self) -> bool {
        let most_records = self.settings.most_records;
        let taken = self.work.progress.taken;
        taken >= most_records
            || self.activity.waiting() >= self.activity.most()
            || (self.is_heavy() && taken > 0)
    }

    /// Whether the batches at hand are as large as they may be. Where nothing was taken of them, no
    /// barrier releases any: they wait for a partition that is behind, which must be read on.
    fn is_heavy(&self) -> bool {
        self.work.held.is_heavy(self.batch_limit.bytes())
    }

    /// Gives arrivals to the chain where it has room. Whether there were any.
    fn feed(&mut self, context: &mut Context<'_>) -> Result<bool> {
        if self.work.ending || self.is_full() || self.work.held.is_full(self.batch_limit.bytes()) {
            return Ok(false);
        }
        let most = if self.is_heavy() { 1 } else { MOST_QUEUED };
        let mut fed = false;
        let mut shared = self.mailbox.lock();
        for (number, input) in self.inputs.iter_mut().enumerate() {
            // Before the chain was first driven, nothing is queued.
            let queued = self.work.progress.queued.get(number).copied().unwrap_or(0);
            // The partition is finished.
            let Some(deliveries) = &mut input.deliveries else { continue };
            // Not polled, it fetches no more: so a full chain holds back the source.
            if queued >= most {
                continue;
            }
            // Nothing has come.
            let Poll::Ready(delivery) = deliveries.poll_next_unpin(context) else { continue };
            // That nobody hands over anything any more says nothing about the partition.
            let Some(delivery) = delivery.transpose()? else {
                input.deliveries = None;
                continue;
            };
            let arrival = input.take(delivery, &*self.clock);
            if let Arrival::Batch(batch) = &arrival {
                self.work.held.take(batch.bytes());
            }
            shared.arrive(number, arrival)?;
            fed = true;
        }
        Ok(fed)
    }

    /// Lets the chain take what it has.
    fn drive(&mut self, context: &mut Context<'_>) -> Result<()> {
        let before = self.work.progress.total;
        {
            let mut shared = self.mailbox.lock();
            shared.now = self.clock.now();
            shared.close = !self.work.ending;
        }
        // How much may wait follows the place: the committer learns how many rows it takes in time.
        self.activity.limit(self.settings.most_rows.min(self.pace.rows()));
        // Forgotten before the chain is driven: what is asked below is whether an end stopped in this turn.
        self.activity.take_stopped();
        if let Poll::Ready(ended) = self.end.poll_drain(context) {
            return ended.and_then(|()| Err(ended_early()));
        }
        self.work.progress = self.mailbox.lock().progress.clone();
        if self.activity.take_stopped() {
            // The intake may have handed out everything, but it has not all come out at every end.
            self.work.progress.drained = false;
            self.work.progress.closed = false;
        }
        self.status.took(self.work.progress.total - before);
        let wanted = self.activity.waiting() > 0 || self.activity.wakes() <= self.clock.now();
        // The linger begins with the first result that waits, and not anew with each.
        if wanted && self.work.waiting_since.is_none() {
            self.work.waiting_since = Some(Instant::now());
        }
        Ok(())
    }
}

fn ended_early() -> Error {
    Error::permanent("run a pipeline: an operator ended the flow before its source did")
}
