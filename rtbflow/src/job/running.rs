//! One run over an opened source: its tasks, their committer, and the events that start and end them.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::OptionFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout, timeout_at};

use crate::alarm::Alarm;
use crate::epoch::Anchor;
use crate::error::{Error, Result};
use crate::flow::{End, Flow};
use crate::job::Job;
use crate::job::claiming::{Claimed, Claiming};
use crate::job::committer::{Committed, Committer};
use crate::job::health::Tasks;
use crate::job::intake::Intake;
use crate::job::measures::{CommitMeasures, TaskMeasures};
use crate::job::pace::Pace;
use crate::job::report::{Account, Status};
use crate::job::submission::Submission;
use crate::job::task::{TaskLoop, TaskPartition, Work};
use crate::position::{Position, Task};
use crate::record::Partition;
use crate::source::{Assignment, Batch, Feed, Revocation, Source, SourceEvent, TaskInput};
use crate::topology::Tip;

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
}

/// What a committer has under way whose tasks are gone.
#[derive(Default)]
pub(crate) struct Unsettled(JoinSet<Result<()>>);

impl Unsettled {
    /// Waits until nothing is left whose outcome is not known; for as long as the place is away. Cancel safe.
    ///
    /// # Errors
    /// If something cannot be committed for good.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        while let Some(ended) = self.0.join_next().await {
            ended.map_err(|error| {
                Error::permanent("run the committer: it panicked").because(error)
            })??;
        }
        Ok(())
    }
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
    pub(crate) fn start(job: Arc<Job<S, A, P>>, feed: S::Feed, account: Account) -> Self {
        let (commits, submissions) = mpsc::channel(MOST_SUBMISSIONS);
        let committed = Committed::default();
        let pace = Pace::new(job.anchor.aim());
        let mut committer = JoinSet::new();
        committer.spawn(
            Committer {
                job: job.setup.name.clone(),
                anchor: job.anchor.clone(),
                writers: job.setup.writers.clone(),
                rejected: job.setup.rejected(),
                account: account.clone(),
                committed: committed.clone(),
                measures: CommitMeasures::new(&job.setup.name),
                health: job.setup.health.clone(),
                notes: job.setup.notes.clone(),
                pace: pace.clone(),
                read_again: Box::new({
                    let job = Arc::clone(&job);
                    move |origins| {
                        let job = Arc::clone(&job);
                        async move { job.source.read_again(&origins).await }.boxed()
                    }
                }),
                beside: tokio::sync::Mutex::default(),
                outlook: Mutex::default(),
            }
            .run(submissions),
        );
        let mut tell = interval(TELL_EVERY);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            job,
            feed,
            account,
            committed,
            committer,
            commits,
            pace,
            tasks: BTreeMap::new(),
            ended: JoinSet::new(),
            backlog: VecDeque::new(),
            claiming: VecDeque::new(),
            assigned: false,
            heard: false,
            fences: Vec::new(),
            tell,
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
                let _ = self.release(&claimed, Vec::new(), deadline).await;
                let Self { feed, committer, commits, ended, .. } = self;
                drop((commits, ended));
                let mut unsettled = Unsettled(committer);
                // While the partitions are held nobody else claims them.
                let settled = timeout_at(deadline, unsettled.settle()).await;
                let _ = timeout(CLOSE_DEADLINE, feed.close()).await;
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

    /// Begins to claim the positions of an assignment.
    fn claim(&mut self, assignment: Assignment<S::Batch>) {
        self.assigned = self.job.setup.settings.until_end && assignment.tasks.is_empty();
        self.heard = true;
        tracing::info!(job = %self.job.setup.name, tasks = ?assignment, "assigned");
        let (job, anchor) = (self.job.setup.name.clone(), self.job.anchor.clone());
        self.claiming.push_back(Claiming::new(job, anchor, assignment));
    }

    /// The positions are claimed: the tasks begin.
    fn begin(&mut self, claimed: Vec<Claimed>) -> Result<()> {
        let Some(mut claiming) = self.claiming.pop_front() else { return Ok(()) };
        let mut begin: Vec<(Partition, Position)> = Vec::new();
        let tasks = std::mem::take(&mut claiming.assignment.tasks);
        for (input, positions) in tasks.into_iter().zip(claimed) {
            let positions = positions.filter(|_| !claiming.has_revoked(input.task));
            let Some(positions) = positions else { continue };
            let partitions = input.partitions.iter().map(|input| input.partition);
            let positions: Vec<_> = partitions.zip(positions).collect();
            begin.extend(&positions);
            self.spawn(input, &positions)?;
        }
        claiming.assignment.begin(begin);
        Ok(())
    }

    fn spawn(
        &mut self,
        input: TaskInput<S::Batch>,
        positions: &[(Partition, Position)],
    ) -> Result<()> {
        let TaskInput { task, partitions } = input;
        let alarm = Alarm::new(|duration| tokio::time::sleep(duration).boxed());
        let (job, tip) = (Arc::clone(&self.job), Tip::rung_by(alarm, &self.job.source.topics()));
        let out_of_orderness = |topic| job.source.out_of_orderness(topic);
        let activity = tip.activity();
        let (intake, mailbox) = Intake::new(
            positions,
            job.bounds(),
            out_of_orderness,
            (job.setup.clock.now(), activity.clone()),
        );
        let end = (job.pipeline)(Flow { stream: intake, tip });
        end.tip.finish().fits()?;
        let (finish, finished) = oneshot::channel();
        let status = Arc::new(Status::default());
        let owned = partitions.iter().map(|input| input.partition);
        let measures = TaskMeasures::new(&job.setup.name, task, owned);
        let inputs = partitions.into_iter().zip(positions).map(|(input, (partition, position))| {
            TaskPartition {
                partition: *partition,
                deliveries: Some(input.deliveries),
                position: *position,
                kept: VecDeque::new(),
                released: 0,
            }
        });
        let mut run = TaskLoop {
            task,
            settings: job.setup.settings,
            clock: Arc::clone(&job.setup.clock),
            end,
            mailbox,
            activity,
            inputs: inputs.collect(),
            commits: self.commits.clone(),
            finish: finished.fuse(),
            status: Arc::clone(&status),
            pace: self.pace.clone(),
            measures,
            work: Work::new(&job.setup.renames),
        };
        let restoring = job.setup.health.restoring();
        let abort = self.ended.spawn(async move {
            let restored = run.restore(&job.setup.name, &job.anchor).await;
            drop(restoring);
            match restored? {
                true => run.run().await,
                false => Ok(()),
            }
        });
        self.account.begin(task, Arc::clone(&status));
        self.tasks.insert(task, Handle { finish, abort, status });
        let apart = self.job.anchor.commits_apart();
        self.pace.share(if apart { 1 } else { self.tasks.len() });
        Ok(())
    }

    fn task_ended(&mut self, (life, answer): Ended) -> Result<()> {
        let mut lives = self.tasks.iter();
        let Some(task) = lives.find_map(|(task, at)| (at.abort.id() == life).then_some(*task))
        else {
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

    /// Releases tasks: they finish their epochs and commit, unless another may own them already.
    async fn revoke(&mut self, revocation: Revocation) -> Result<()> {
        let Revocation { tasks, lost, deadline, .. } = &revocation;
        tracing::info!(job = %self.job.setup.name, ?tasks, lost, "revoked");
        self.assigned = false;
        let fenced = self.fences.len();
        self.fences.retain(|fence| !tasks.contains(&fence.task));
        if self.fences.len() < fenced {
            tracing::warn!(
                "the source revoked partitions while this instance did not answer: what it has not \
                 committed is dropped, and it joins the group again"
            );
        }
        let handles: Vec<(Task, Handle)> =
            tasks.iter().filter_map(|task| Some((*task, self.tasks.remove(task)?))).collect();
        let deadline = if *lost { Duration::ZERO } else { *deadline };
        let finished = self.release(tasks, handles, Instant::now() + deadline).await;
        tasks.iter().for_each(|task| self.account.release(*task));
        self.heard &= !self.tasks.is_empty();
        finished
    }

    fn tasks_being_claimed(&self) -> Vec<Task> {
        let assignments = self.claiming.iter().map(|claiming| &claiming.assignment);
        assignments.flat_map(|assignment| &assignment.tasks).map(|input| input.task).collect()
    }

    /// Releases tasks until a deadline, of those that are claimed as well as of those that are at work.
    async fn release(
        &mut self,
        tasks: &[Task],
        handles: Vec<(Task, Handle)>,
        deadline: Instant,
    ) -> Result<()> {
        for claiming in &self.claiming {
            claiming.revoke(tasks.iter().copied());
        }
        // Only of the first any claim has set out.
        let mut first = self.claiming.pop_front();
        let settle = OptionFuture::from(first.as_mut().map(|first| first.settle(deadline)));
        let (finished, settled) = futures::join!(self.finish(handles, deadline), settle);
        if let Some(first) = first {
            self.claiming.push_front(first);
        }
        if let Some(claimed) = settled.flatten()
            && self.claiming.front().is_some_and(|first| !first.is_revoked())
        {
            self.begin(claimed?)?;
        }
        self.claiming.retain(|claiming| !claiming.is_revoked());
        finished
    }

    /// Makes tasks finish until a deadline; what does not make it is dropped.
    async fn finish(&mut self, handles: Vec<(Task, Handle)>, deadline: Instant) -> Result<()> {
        let mut waiting: Vec<(Task, AbortHandle, Arc<Status>)> = Vec::new();
        for (task, Handle { finish, abort, status }) in handles {
            drop(finish);
            waiting.push((task, abort, status));
        }
        while !waiting.is_empty() {
            let Ok(Some(ended)) = timeout_at(deadline, self.ended.join_next_with_id()).await else {
                break;
            };
            let (life, answer) = joined(ended)?;
            let at = waiting.iter().position(|(_, abort, _)| abort.id() == life);
            match (at.map(|at| waiting.swap_remove(at)), answer) {
                (None, answer) => self.backlog.push_back((life, answer)),
                (Some(_), Ok(())) => {}
                (Some((task, ..)), Err(error)) if error.is_fenced() || error.is_transient() => {
                    tracing::warn!(
                        %task,
                        error = %error.report(),
                        "drop the last epochs of a task that ends: their commit failed; its next owner \
                         reads their records again"
                    );
                }
                (Some(_), Err(error)) => return Err(error),
            }
        }
        for (task, abort, status) in waiting {
            tracing::warn!(
                %task,
                records = status.pending(),
                "drop what a task that ends did not commit within the deadline: its next owner reads \
                 it again"
            );
            abort.abort();
        }
        Ok(())
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
