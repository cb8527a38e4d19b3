//! The loop of one task: feeds its chain, sends barriers, hands epochs to the committer.
//!
//! Barriers enter here and nowhere else. One is sent as soon as the committer is free and something is
//! staged, after a short linger; at the latest after the commit interval; and when enough is staged.
//! Little traffic thus means low latency and much traffic big batches, by itself.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Fuse, FusedFuture};
use futures::stream::{BoxStream, FuturesOrdered};
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep};

use crate::activity::Activity;
use crate::barrier::{Barrier, Gathered, Gathering};
use crate::clock::Clock;
use crate::dead_letter::Originals;
use crate::epoch::{Advance, Anchor, Epoch, Verdict};
use crate::error::{Error, Result};
use crate::flow::End;
use crate::job::backoff::Backoff;
use crate::job::intake::{Arrival, IntakeMailbox, Progress};
use crate::job::measures::TaskMeasures;
use crate::job::pace::Pace;
use crate::job::renaming::{Moves, Renames};
use crate::job::report::Status;
use crate::job::settings::Settings;
use crate::job::submission::Submission;
use crate::position::{JobName, Position, Task};
use crate::record::Partition;
use crate::source::{Batch, Delivery};

/// Epochs of one task that are on their way to the place.
const MOST_IN_FLIGHT: usize = 2;
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
    pub(crate) measures: TaskMeasures,
    pub(crate) work: Work,
}

/// A partition of the task.
pub(crate) struct TaskPartition<B> {
    pub(crate) partition: Partition,
    pub(crate) deliveries: Option<BoxStream<'static, Result<Delivery<B>>>>,
    /// Where the last epoch that was built ends.
    pub(crate) position: Position,
    /// Batches given to the chain, kept until the epoch in which their last record was taken is built:
    /// dead letters are cut out of them.
    pub(crate) kept: VecDeque<Arc<B>>,
    /// Batches given to the chain and no longer kept.
    pub(crate) released: u64,
}

impl<B: Batch> TaskPartition<B> {
    /// The batches at hand, for what may have to be cut out of them until their epoch is committed.
    fn originals(&self) -> impl Iterator<Item = (Partition, Arc<dyn Originals>)> {
        self.kept.iter().map(|batch| (self.partition, Arc::clone(batch) as Arc<dyn Originals>))
    }
}

/// What is under way.
pub(crate) struct Work {
    gathering: Option<Gathering>,
    in_flight: FuturesOrdered<oneshot::Receiver<Verdict>>,
    last_barrier: Instant,
    waiting_since: Option<Instant>,
    kept_bytes: usize,
    timer: Pin<Box<Sleep>>,
    ending: bool,
    ended: bool,
    progress: Progress,
    moves: Moves,
}

impl Work {
    pub(crate) fn new(renames: &Renames) -> Self {
        let now = Instant::now();
        Self {
            gathering: None,
            in_flight: FuturesOrdered::new(),
            last_barrier: now,
            waiting_since: None,
            kept_bytes: 0,
            timer: Box::pin(tokio::time::sleep_until(now)),
            ending: false,
            ended: false,
            progress: Progress::default(),
            moves: Moves::new(renames),
        }
    }
}

impl<B: Batch> TaskLoop<B> {
    /// Brings the task's state back, page by page, through the chain. False if the task has to end
    /// before that is done.
    ///
    /// # Errors
    /// If the state does not fit the pipeline.
    pub(crate) async fn restore<A: Anchor>(&mut self, job: &JobName, anchor: &A) -> Result<bool> {
        let mut from = None;
        let mut backoff = Backoff::new();
        let (mut bytes, mut chunks) = (0, 0);
        loop {
            let read = async {
                let page = anchor.restore(job, self.task, from.clone()).await;
                if let Err(error) = &page
                    && error.is_transient()
                {
                    backoff.wait("restore state", error).await;
                }
                page
            };
            let page = tokio::select! {
                biased;
                _ = &mut self.finish => return Ok(false),
                page = read => page,
            };
            let page = match page {
                Err(error) if error.is_transient() => continue,
                page => page?,
            };
            backoff.succeeded("restore state");
            chunks += page.chunks.len();
            bytes += page.chunks.iter().map(crate::chunk::Chunk::len).sum::<usize>();
            from = page.next;
            let last = from.is_none();
            self.measures.restored(&page.chunks);
            let named = self.work.moves.restored(page.chunks)?;
            let (barrier, gathering) = Barrier::restoring(self.clock.now(), named, last);
            self.mailbox.send(barrier);
            self.pass(gathering).await?;
            if last {
                tracing::debug!(task = %self.task, chunks, bytes, "state restored");
                return Ok(true);
            }
        }
    }

    /// Polls the chain until a barrier has passed.
    async fn pass(&mut self, gathering: Gathering) -> Result<()> {
        let mut gathering = Some(gathering);
        poll_fn(|context| {
            if let Poll::Ready(ended) = self.end.poll_drain(context) {
                return Poll::Ready(ended.and_then(|()| Err(ended_early())));
            }
            match gathering.take().map(Gathering::finish) {
                Some(Ok(Err(open))) => {
                    gathering = Some(open);
                    Poll::Pending
                }
                Some(Ok(Ok(_))) | None => Poll::Ready(Ok(())),
                Some(Err(error)) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Runs until the source is finished or the task has to end; everything taken is committed then.
    ///
    /// # Errors
    /// If the pipeline fails or another owner took over.
    pub(crate) async fn run(&mut self) -> Result<()> {
        while let Some(epoch) = poll_fn(|context| self.poll_epoch(context)).await? {
            let (verdict, waiting) = oneshot::channel();
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
                continue;
            }
            if self.has_ended() {
                return Poll::Ready(Ok(None));
            }
            if !fed && !self.is_time_up(now, context) {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_verdicts(&mut self, context: &mut Context<'_>) -> Result<()> {
        while let Poll::Ready(Some(verdict)) = self.work.in_flight.poll_next_unpin(context) {
            match verdict {
                Ok(Verdict::Committed(_)) => self.measures.in_flight(self.work.in_flight.len()),
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
        self.work.kept_bytes >= self.settings.most_bytes
    }

    /// Gives arrivals to the chain where it has room. Whether there were any.
    fn feed(&mut self, context: &mut Context<'_>) -> Result<bool> {
        if self.work.ending || self.is_full() {
            return Ok(false);
        }
        let most = if self.is_heavy() { 1 } else { MOST_QUEUED };
        let mut fed = false;
        let mut shared = self.mailbox.lock();
        for (number, input) in self.inputs.iter_mut().enumerate() {
            let queued = self.work.progress.queued.get(number).copied().unwrap_or(0);
            let Some(deliveries) = &mut input.deliveries else { continue };
            if queued >= most {
                continue;
            }
            let Poll::Ready(delivery) = deliveries.poll_next_unpin(context) else { continue };
            let arrival = match delivery.transpose()? {
                Some(Delivery::Batch(batch)) => {
                    let batch = Arc::new(batch);
                    self.work.kept_bytes += batch.bytes();
                    input.kept.push_back(Arc::clone(&batch));
                    Arrival::Batch(batch)
                }
                Some(Delivery::AtEnd { asked, offset }) => Arrival::AtEnd { asked, offset },
                Some(Delivery::Reached { offset, log, anew }) => {
                    Arrival::Reached { offset, log, anew }
                }
                Some(Delivery::Finished) => {
                    input.deliveries = None;
                    Arrival::Finished
                }
                // That nobody hands over anything any more says nothing about the partition.
                None => {
                    input.deliveries = None;
                    continue;
                }
            };
            shared.arrivals.push((number, arrival));
            if let Some(queued) = shared.progress.queued.get_mut(number) {
                *queued += 1;
            }
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
        self.activity.limit(self.settings.most_rows.min(self.pace.rows()));
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
        let taken = self.work.progress.total.saturating_sub(before);
        self.status.took(taken);
        let wanted = self.activity.waiting() > 0 || self.activity.wakes() <= self.clock.now();
        if wanted && self.work.waiting_since.is_none() {
            self.work.waiting_since = Some(Instant::now());
        }
        Ok(())
    }

    fn is_barrier_due(&self, now: Instant) -> bool {
        let work = &self.work;
        if work.gathering.is_some() || work.ended || work.in_flight.len() >= MOST_IN_FLIGHT {
            return false;
        }
        let lingered = work.waiting_since.is_some_and(|since| now >= since + self.settings.linger);
        let finishing = work.ending || work.progress.closed;
        (lingered && work.in_flight.is_empty())
            || now >= work.last_barrier + self.settings.commit_interval
            || self.is_full()
            || (finishing && work.progress.drained)
    }

    fn send_barrier(&mut self, now: Instant) {
        let (barrier, gathering) = Barrier::new(self.clock.now());
        self.mailbox.send(barrier);
        self.activity.send();
        self.work.gathering = Some(gathering);
        self.work.last_barrier = now;
        self.work.waiting_since = None;
        self.work.ended = self.work.ending || self.work.progress.closed;
    }

    fn has_ended(&self) -> bool {
        self.work.ended && self.work.gathering.is_none() && self.work.in_flight.is_empty()
    }

    /// Sets the timer for the next barrier. Whether that time has come already.
    fn is_time_up(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
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
        if self.work.timer.deadline() != next {
            self.work.timer.as_mut().reset(next);
        }
        self.work.timer.poll_unpin(context).is_ready() && next <= now.max(Instant::now())
    }

    /// When an operator wants a barrier by the wall clock, not later than the commit interval from now.
    fn wakes(&self, now: Instant) -> Instant {
        let wait = self.activity.wakes().since(self.clock.now());
        now + wait.min(self.settings.commit_interval)
    }

    /// The epoch, if its barrier has passed the whole chain and there is anything in it.
    fn gathered(&mut self) -> Result<Option<Epoch>> {
        let Some(gathering) = self.work.gathering.take() else { return Ok(None) };
        match gathering.finish()? {
            Err(open) => {
                self.work.gathering = Some(open);
                Ok(None)
            }
            Ok(gathered) => {
                self.activity.passed();
                self.build(gathered)
            }
        }
    }

    fn build(&mut self, mut gathered: Gathered) -> Result<Option<Epoch>> {
        self.work.moves.join(&mut gathered.chunks, self.work.progress.closed);
        let (standings, (records_in, skipped)) = {
            let mut shared = self.mailbox.lock();
            let progress = &mut shared.progress;
            (
                std::mem::take(&mut progress.at_barrier),
                std::mem::take(&mut progress.taken_at_barrier),
            )
        };
        let mut advances = Vec::with_capacity(self.inputs.len());
        let mut originals = Vec::new();
        for (input, standing) in self.inputs.iter_mut().zip(&standings) {
            // A batch of which a part is still to be taken belongs to this epoch and to the next.
            originals.extend(input.originals());
            while input.released < standing.consumed
                && let Some(batch) = input.kept.pop_front()
            {
                input.released += 1;
                self.work.kept_bytes = self.work.kept_bytes.saturating_sub(batch.bytes());
            }
            let from = input.position;
            let to = Position {
                offset: standing.offset,
                event_time: standing.event_time,
                commit: from.commit + 1,
                owner: from.owner,
                log: standing.log,
            };
            advances.push(Advance { partition: input.partition, from, to });
        }
        // What is never handed over at the end of a partition is passed as well: left standing before it,
        // the position would fall below the beginning of the log one day.
        // A position that does not name its log takes that on.
        let names_log = |step: &Advance| {
            step.from.log.map(|log| log.topic_id) != step.to.log.map(|log| log.topic_id)
        };
        let moved = advances.iter().any(|step| {
            step.from.offset.is_some() && (step.from.offset != step.to.offset || names_log(step))
        });
        let idle = records_in == 0 && gathered.chunks.is_empty() && gathered.staged.is_empty();
        if idle && !moved && gathered.rejects.is_empty() && gathered.refused.is_empty() {
            return Ok(None);
        }
        for (input, advance) in self.inputs.iter_mut().zip(&advances) {
            input.position = advance.to;
        }
        let mut epoch = Epoch::new(self.task, advances, gathered);
        (epoch.originals, epoch.records_in, epoch.skipped) = (originals, records_in, skipped);
        epoch.cut_dead_letters();
        self.measures.epoch(&epoch, &standings, self.work.progress.watermark);
        Ok(Some(epoch))
    }
}

fn ended_early() -> Error {
    Error::permanent("run a pipeline: an operator ended the flow before its source did")
}
