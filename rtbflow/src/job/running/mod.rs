//! One run over an opened source: its tasks, their committer, and the events that start and end them.

mod releasing;
mod starting;
mod unsettled;

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, OptionFuture, select};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout, timeout_at};

use crate::epoch::Anchor;
use crate::error::{Error, Result};
use crate::flow::{End, Flow};
use crate::job::batch_limit::BatchLimit;
use crate::job::claiming::Claiming;
use crate::job::committer::{Committed, Committer};
use crate::job::health::Tasks;
use crate::job::intake::Intake;
use crate::job::lookout::{Owned, look_out};
use crate::job::measures::CommitMeasures;
use crate::job::pace::Pace;
use crate::job::report::{Account, Status};
use crate::job::submission::Submission;
use crate::job::{Job, Setup};
use crate::position::Task;
use crate::source::{Batch, Feed, Source, SourceEvent};
use unsettled::Unsettled;

/// Epochs that may wait for the committer, of all tasks.
const MOST_SUBMISSIONS: usize = 256;
/// How long a fenced task waits for the news that its partitions were taken away.
const FENCE_GRACE: Duration = Duration::from_secs(3);
/// How often the source learns how far was committed.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long the source may take to close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// A life of a task that ended. A task may begin again before the end of its last life is noticed.
type Ended = (Id, Result<()>);

/// A future that is ready when the job has to stop.
pub(crate) type Shutdown<'a, F> = Pin<&'a mut futures::future::Fuse<F>>;

/// One run over an opened source.
pub(crate) struct Running<S: Source, A, P> {
    job: Arc<Job<S, A, P>>,
    feed: S::Feed,
    account: Account,
    committed: Committed,
    committer: JoinSet<Result<()>>,
    commits: mpsc::Sender<Submission>,
    pace: Pace,
    batch_limit: BatchLimit,
    tasks: BTreeMap<Task, Handle>,
    ended: JoinSet<Result<()>>,
    /// Tasks that ended while another was waited for.
    backlog: VecDeque<Ended>,
    /// Assignments whose positions are being claimed, one after another.
    claiming: VecDeque<Claiming<S::Batch>>,
    /// Whether this instance has been assigned anything yet, if only nothing.
    assigned: bool,
    /// Whether an assignment has come, be it empty, and not been revoked whole since.
    heard: bool,
    /// In the order of their times.
    fences: Vec<Fence>,
    tell: Interval,
    owned: Owned,
    /// Ends once the place is an older self, or this instance's name another's.
    lookout: BoxFuture<'static, Result<()>>,
}

/// A task at work. Dropping `finish` makes it finish its epoch and end.
struct Handle {
    finish: oneshot::Sender<()>,
    abort: AbortHandle,
    status: Arc<Status>,
}

/// A task whose commit was fenced. If its partitions turn out to have been taken away meanwhile, its
/// work is dropped and the job goes on; otherwise the job ends.
struct Fence {
    task: Task,
    error: Error,
    until: Instant,
}

impl<S, A, P> Running<S, A, P>
where
    S: Source,
    S::Batch: Batch,
    A: Anchor,
    P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
{
    /// Starts; `lost` ends with an error once this instance must not go on.
    pub(crate) fn start(
        job: Arc<Job<S, A, P>>,
        feed: S::Feed,
        lost: BoxFuture<'static, Result<()>>,
    ) -> Self {
        let account = job.account();
        let (commits, submissions) = mpsc::channel(MOST_SUBMISSIONS);
        let committed = Committed::default();
        let (pace, owned) = (Pace::new(job.anchor.aim()), Owned::default());
        let batch_limit = BatchLimit::new(job.setup.settings.most_bytes);
        let mut committer = JoinSet::new();
        committer
            .spawn(Self::committer(&job, &account, (&committed, &owned), &pace).run(submissions));
        let mut tell = interval(TELL_EVERY);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Setup { name, health, .. } = &job.setup;
        let lookout = look_out(name.clone(), job.anchor.clone(), health.clone(), owned.clone());
        let lookout = select(lookout.boxed(), lost).map(|first| first.factor_first().0).boxed();
        Self {
            job,
            feed,
            account,
            committed,
            committer,
            commits,
            pace,
            batch_limit,
            tasks: BTreeMap::new(),
            ended: JoinSet::new(),
            backlog: VecDeque::new(),
            claiming: VecDeque::new(),
            assigned: false,
            heard: false,
            fences: Vec::new(),
            tell,
            owned,
            lookout,
        }
    }

    fn committer(
        job: &Arc<Job<S, A, P>>,
        account: &Account,
        (committed, owned): (&Committed, &Owned),
        pace: &Pace,
    ) -> Committer<A> {
        let source = Arc::clone(job);
        Committer {
            job: job.setup.name.clone(),
            anchor: job.anchor.clone(),
            writers: job.setup.writers.clone(),
            rejected: job.setup.rejected(),
            account: account.clone(),
            committed: committed.clone(),
            owned: owned.clone(),
            measures: CommitMeasures::new(&job.setup.name),
            health: job.setup.health.clone(),
            notes: job.setup.notes.clone(),
            pace: pace.clone(),
            read_again: Box::new(move |origins| {
                let job = Arc::clone(&source);
                async move { job.source.read_again(&origins).await }.boxed()
            }),
            beside: tokio::sync::Mutex::default(),
            outlook: Mutex::default(),
        }
    }

    /// Runs until the source is finished or the job has to stop. With an error comes the committer, if it has
    /// not ended: the place may have applied what it did not answer, and only this owner can find out.
    pub(crate) async fn run<F: Future<Output = ()>>(
        mut self,
        shutdown: Shutdown<'_, F>,
    ) -> Result<(), (Error, Unsettled)> {
        let answer = self.serve(shutdown).await;
        match answer {
            Ok(()) => self.stop().await.map_err(|error| (error, Unsettled::default())),
            Err(error) => {
                // A task may notice that the committer has ended before the committer's error is here.
                let error = match self.commits.is_closed() {
                    true => self.committer.join_next().await.map_or(error, committer_ended),
                    false => error,
                };
                // What was not committed is read again: by the next run, or by another instance.
                self.ended.abort_all();
                let claimed = self.tasks_being_claimed();
                let deadline = Instant::now() + CLOSE_DEADLINE;
                // Whatever this says, the run ends with the error that ended it.
                let _ = self.release(&claimed, Vec::new(), deadline).await;
                let Self { feed, committer, commits, ended, .. } = self;
                drop((commits, ended));
                let mut unsettled = Unsettled(committer);
                // While the partitions are held nobody else claims them.
                let settled = timeout_at(deadline, unsettled.settle()).await;
                // A source that does not close in time is left to its own time-outs.
                let _ = timeout(CLOSE_DEADLINE, feed.close()).await;
                // That the time is up is no answer: whoever leads the job goes on to settle it.
                let error = settled.unwrap_or(Ok(())).err().unwrap_or(error);
                Err((error, unsettled))
            }
        }
    }

    async fn serve<F: Future<Output = ()>>(&mut self, mut shutdown: Shutdown<'_, F>) -> Result<()> {
        while !self.is_finished() {
            self.job.setup.health.turned(self.held());
            if let Some(ended) = self.backlog.pop_front() {
                self.task_ended(ended)?;
                continue;
            }
            let claims: OptionFuture<_> = self.claiming.front_mut().map(Claiming::claimed).into();
            let fenced = self.fences.first().map(|fence| fence.until);
            // In this order: to stop comes before all, and an error of the committer before what follows from it in the
            // tasks. Tasks that have ended come before events of the source, as a revocation waits for tasks; claims
            // before events, as a task that is claimed may be revoked by the next.
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                Some(ended) = self.committer.join_next() => return Err(committer_ended(ended)),
                Some(ended) = self.ended.join_next_with_id() => self.backlog.push_back(joined(ended)?),
                Some(claimed) = claims => self.begin(claimed?)?,
                event = self.feed.next() => match event? {
                    SourceEvent::Assigned(assignment) => self.claim(assignment),
                    SourceEvent::Revoked(revocation) => self.revoke(revocation).await?,
                },
                // Before a fence ends the job: where the place is an older self, or another has this one's name, that is why
                // the commit was fenced.
                older = &mut self.lookout => return older,
                () = at(fenced) => return self.fences.drain(..).next().map_or(Ok(()), |fence| Err(fence.error)),
                _ = self.tell.tick() => self.feed.committed(&self.committed.take()),
            }
        }
        Ok(())
    }

    /// Whether a source that ends has been read to its end.
    fn is_finished(&self) -> bool {
        self.assigned
            && self.tasks.is_empty()
            && self.claiming.is_empty()
            && self.backlog.is_empty()
            && self.fences.is_empty()
            && self.ended.is_empty()
    }

    /// What the source has assigned by now.
    fn held(&self) -> Tasks {
        match self.tasks.len() {
            0 if !self.claiming.is_empty() => Tasks::Claiming,
            0 if !self.heard => Tasks::Awaited,
            tasks => Tasks::Held(tasks),
        }
    }

    fn task_ended(&mut self, (life, answer): Ended) -> Result<()> {
        let mut lives = self.tasks.iter();
        let Some(task) = lives.find_map(|(task, at)| (at.abort.id() == life).then_some(*task))
        else {
            // It was released before it ended: what it has not committed, its next owner reads.
            if let Err(error) = answer {
                tracing::warn!(error = %error.report(), "a task that was given back has ended with an error");
            }
            return Ok(());
        };
        self.tasks.remove(&task);
        match answer {
            Ok(()) => {
                tracing::debug!(%task, "finished");
                self.assigned = true;
                Ok(())
            }
            Err(error) if error.is_fenced() => {
                let until = Instant::now() + FENCE_GRACE;
                tracing::warn!(%task, error = %error.report(), "fenced: another owner has claimed the task");
                self.fences.push(Fence { task, error, until });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the run in good order.
    async fn stop(mut self) -> Result<()> {
        let deadline = Instant::now() + self.job.setup.settings.stop_deadline;
        let handles = std::mem::take(&mut self.tasks).into_iter().collect();
        let claimed = self.tasks_being_claimed();
        let finished = self.release(&claimed, handles, deadline).await;
        drop(self.commits);
        // The committer ends when the last task has dropped its sender; what it still has is nobody's.
        let answer = match timeout_at(deadline, self.committer.join_next()).await {
            Ok(Some(Ok(answer))) => answer,
            Ok(Some(Err(error))) => Err(Error::permanent("run the committer").because(error)),
            // The time is up, which `release` has reported: the next run finds out what the place has.
            Ok(None) | Err(_) => Ok(()),
        };
        self.feed.committed(&self.committed.take());
        if timeout(CLOSE_DEADLINE, self.feed.close()).await.is_err() {
            tracing::warn!(
                "close the source: no answer in time; the group hands out its tasks after the session \
                 time-out"
            );
        }
        answer.and(finished)
    }
}

fn joined(ended: std::result::Result<Ended, JoinError>) -> Result<Ended> {
    ended.or_else(|error| {
        // An aborted task was released already; a panic is the pipeline's.
        if error.is_cancelled() {
            return Ok((error.id(), Ok(())));
        }
        Err(Error::permanent("run a task: the pipeline panicked").because(error))
    })
}

fn committer_ended(ended: std::result::Result<Result<()>, JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => Error::permanent("run the committer: it ended"),
        Err(error) => Error::permanent("run the committer: it panicked").because(error),
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => pending().await,
    }
}
