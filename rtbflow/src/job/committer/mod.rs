//! The one committer of a job: takes the epochs that are ready, of all tasks, and commits them, together where the
//! place has one step for all of them, and each by itself where it does not.

mod letters;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::Either;
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryFutureExt};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::{Instant, sleep};

use crate::epoch::{Anchor, Epoch, Verdict, Writer};
use crate::error::{Error, Result};
use crate::job::backoff::Backoff;
use crate::job::health::Health;
use crate::job::lookout::Owned;
use crate::job::measures::CommitMeasures;
use crate::job::notes::Notes;
use crate::job::pace::Pace;
use crate::job::refusing::refuse;
use crate::job::report::Account;
use crate::job::submission::{Group, Submission, first_of_each_task};
use crate::position::{JobName, Position, Task};
use crate::record::Partition;
pub(crate) use letters::{ReadAgain, Rejected};

/// Epochs committed in one step.
const MOST_EPOCHS: usize = 64;

/// How far was committed, by partition.
#[derive(Clone, Default)]
pub(crate) struct Committed(Arc<Mutex<HashMap<Partition, Position>>>);

impl Committed {
    fn put(&self, epoch: &Epoch) {
        let mut positions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        positions.extend(epoch.advances.iter().map(|advance| (advance.partition, advance.to)));
    }

    /// What was committed since the last call.
    pub(crate) fn take(&self) -> Vec<(Partition, Position)> {
        let mut positions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut positions: Vec<_> = positions.drain().collect();
        positions.sort_unstable_by_key(|(partition, _)| *partition);
        positions
    }
}

pub(crate) struct Committer<A> {
    pub(crate) job: JobName,
    pub(crate) anchor: A,
    pub(crate) writers: Vec<Arc<dyn Writer>>,
    pub(crate) rejected: Rejected,
    pub(crate) account: Account,
    pub(crate) committed: Committed,
    pub(crate) owned: Owned,
    pub(crate) measures: CommitMeasures,
    pub(crate) health: Health,
    pub(crate) notes: Notes,
    pub(crate) pace: Pace,
    pub(crate) read_again: ReadAgain,
    /// Held while something is written beside the place.
    pub(crate) beside: tokio::sync::Mutex<()>,
    pub(crate) outlook: Mutex<Outlook>,
}

/// How commits have ended of late.
#[derive(Default)]
pub(crate) struct Outlook {
    /// Groups that were committed.
    commits: u64,
    /// Attempts that failed since, of groups that others did not pass.
    failures: u32,
    /// Of these.
    backoff: Backoff,
}

impl<A: Anchor> Committer<A> {
    /// How many calls may be made at a time, and how many epochs each takes at most.
    fn calls(&self) -> (Semaphore, usize) {
        // Where the place has one step for all, a second call would only wait for the first, and take from it the
        // epochs that it could have had. Where each task has its own, each is a call, and none holds up another.
        match self.anchor.commits_apart() {
            true => (Semaphore::new(MOST_EPOCHS), 1),
            false => (Semaphore::new(1), MOST_EPOCHS),
        }
    }

    /// Commits until all tasks are gone.
    ///
    /// # Errors
    /// If an epoch cannot be committed and trying again would not help.
    pub(crate) async fn run(self, mut submissions: mpsc::Receiver<Submission>) -> Result<()> {
        let (calls, most) = self.calls();
        let mut backlog = Backlog::new(most, &self.pace);
        let (mut under_way, mut open, mut asks) = (FuturesUnordered::new(), true, false);
        loop {
            if backlog.is_ready() && !asks {
                // It keeps its place among the groups that are tried again.
                asks = true;
                under_way.push(Either::Left(turn(&calls).map_ok(CommitTurn::Fresh)));
            }
            // What comes is taken in before what is under way is looked at: a turn that has come takes along all that
            // is there, so that epochs which are ready together are committed together.
            tokio::select! {
                biased;
                // As many as each task may have under way.
                came = submissions.recv_many(&mut backlog.waiting, MOST_EPOCHS), if open => {
                    open = came > 0;
                }
                Some(turn) = under_way.next() => {
                    let turn = turn?;
                    asks &= !matches!(turn, CommitTurn::Fresh(_));
                    for (group, call) in backlog.groups(turn) {
                        under_way.push(Either::Right(self.commit(group, call, &calls)));
                    }
                }
                else => return Ok(()),
            }
        }
    }

    /// Has the place do what the commits have left to be done.
    async fn follow_up(&self) -> Result<()> {
        let mut backoff = Backoff::new();
        while let Err(error) = self.anchor.after_commit(&self.job).await {
            if !error.is_transient() {
                return Err(error);
            }
            self.health.not_committed(&error);
            backoff.wait("follow up a commit", &error).await;
        }
        Ok(())
    }

    /// Makes one attempt to commit a group, once a call may be made; returns its tasks, and what is to be tried
    /// again. An attempt whose outcome is not known is simply made again: the place knows which epochs it has. A
    /// group that fails may be too large for the place's time, or have one epoch that waits for something: it goes
    /// on in halves, and lets the others pass meanwhile.
    async fn commit<'a>(
        &self,
        mut group: Group,
        call: Option<SemaphorePermit<'a>>,
        calls: &'a Semaphore,
    ) -> Result<CommitTurn<'a>> {
        let tasks: Vec<Task> = group.tasks().collect();
        let call = match call {
            Some(call) => call,
            None => turn(calls).await?,
        };
        // What the place may have applied is asked about again, so that it is accounted for.
        if !group.asked {
            group.drop_orphans();
        }
        if group.epochs.is_empty() {
            return Ok(CommitTurn::Tried { tasks, left: Vec::new() });
        }
        // From here on the place may be at work: how long it takes is what the size of epochs goes by.
        let started = Instant::now();
        let answer = self.attempt(&mut group).await;
        let took = started.elapsed();
        let left = match answer {
            Ok(verdicts) => {
                self.applied(group, verdicts, took).await?;
                Vec::new()
            }
            Err(error) => self.left_of(group, error, (took, call)).await?,
        };
        Ok(CommitTurn::Tried { tasks, left })
    }

    /// The place has answered with verdicts.
    async fn applied(
        &self,
        mut group: Group,
        verdicts: Vec<Verdict>,
        took: Duration,
    ) -> Result<()> {
        self.passed(&mut group);
        self.measures.group(took);
        self.pace.committed(group.rows(), group.most_rows(), took);
        // The tasks first: they go on while the place does what is left to be done.
        self.acknowledge(group, verdicts)?;
        self.follow_up().await
    }

    /// What of a group is to be tried again after this error, once that may be done.
    async fn left_of(
        &self,
        mut group: Group,
        error: Error,
        (took, call): (Duration, SemaphorePermit<'_>),
    ) -> Result<Vec<Group>> {
        if !error.refusals().is_empty() {
            // Tried again at once, without these rows: each attempt has fewer, so that it comes to an end.
            refuse(&mut group.epochs, error.refusals())?;
            return Ok(vec![group]);
        }
        if !error.is_transient() {
            return Err(error);
        }
        let pause = self.failed(&mut group, &error, took);
        wait(pause, call).await;
        // Only where the place was asked: what fails before it, such as a writer, fails for half of them too.
        let half = if group.asked { group.split_off_half() } else { None };
        Ok(std::iter::once(group).chain(half).collect())
    }

    /// A group was committed.
    fn passed(&self, group: &mut Group) {
        self.health.committed();
        group.backoff.succeeded("commit");
        let mut outlook = self.outlook.lock().unwrap_or_else(PoisonError::into_inner);
        outlook.commits += 1;
        outlook.failures = 0;
        outlook.backoff.succeeded("commit");
    }

    /// An attempt has failed. Returns how long to wait, and whether the place is away, so that nothing else is to
    /// be tried meanwhile: whatever is tried fails.
    fn failed(&self, group: &mut Group, error: &Error, took: Duration) -> (Duration, bool) {
        let mut outlook = self.outlook.lock().unwrap_or_else(PoisonError::into_inner);
        // Others were committed since it failed last: the place is there, and it is this group that waits for something.
        let passed_since = group.failed_behind.replace(outlook.commits);
        if passed_since.is_some_and(|commits| commits < outlook.commits) {
            self.health.one_not_committed(error);
            // What takes long to fail is tried the less often.
            return (group.backoff.failed("commit", error).max(took), false);
        }
        self.health.not_committed(error);
        // An epoch that is too large for the place's time is one reason why it fails: the next ones are smaller.
        if group.asked {
            self.pace.failed(group.rows());
        }
        outlook.failures += 1;
        (outlook.backoff.failed("commit", error), outlook.failures > 1)
    }

    async fn attempt(&self, group: &mut Group) -> Result<Vec<Verdict>> {
        let _under_way = self.health.commits();
        // The order is what makes it exact: dead letters and what is written beside the place may be written twice, but
        // never less than once, so they come before the commit. Once it is committed, nobody would write them again.
        // One group at a time writes beside, as a writer's own order is that of its calls.
        let beside = self.beside.lock().await;
        self.deliver(&mut group.epochs).await?;
        let epochs = &group.epochs;
        for writer in &self.writers {
            writer.write(epochs).await?;
        }
        drop(beside);
        // Before the call: an answer that is lost leaves the place asked.
        group.asked = true;
        self.anchor.commit(&self.job, epochs).await
    }

    /// Reports verdicts to those who wait for them.
    fn acknowledge(&self, group: Group, verdicts: Vec<Verdict>) -> Result<()> {
        let Group { epochs, waiting, .. } = group;
        if verdicts.len() != epochs.len() {
            return Err(Error::permanent(format!(
                "commit {} epochs: the place answered with {} verdicts; this is a fault of the place's `Anchor`",
                epochs.len(),
                verdicts.len()
            )));
        }
        for ((epoch, verdict), (waiting, status)) in epochs.iter().zip(verdicts).zip(waiting) {
            if let Verdict::Committed(found) = verdict {
                self.account.committed(epoch, found).map_err(Error::permanent)?;
                self.notes.committed(&self.job, epoch, found);
                status.committed(epoch.records_in);
                self.committed.put(epoch);
                self.owned.committed(epoch);
                self.measures.epoch(epoch, found);
            }
            // A task that went in the meantime does not need to know.
            let _ = waiting.send(verdict);
        }
        Ok(())
    }
}

/// The epochs that have come, and the tasks that have one under way.
struct Backlog {
    waiting: Vec<Submission>,
    busy: HashSet<Task>,
    /// Epochs of a group.
    most: usize,
    /// Rows of a group.
    pace: Pace,
}

impl Backlog {
    fn new(most: usize, pace: &Pace) -> Self {
        Self { waiting: Vec::new(), busy: HashSet::new(), most, pace: pace.clone() }
    }

    /// Whether there is something to commit. A task has one epoch under way: its next one follows from it, and is ready
    /// when that is settled.
    fn is_ready(&self) -> bool {
        self.ready().next().is_some()
    }

    /// The tasks of which an epoch is ready.
    fn ready(&self) -> impl Iterator<Item = Task> {
        let tasks = self.waiting.iter().map(|Submission { epoch, .. }| epoch.task);
        tasks.filter(|task| !self.busy.contains(task))
    }

    /// What is tried next: the first time by the call that has come, and later by one that is waited for.
    fn groups<'a>(&mut self, turn: CommitTurn<'a>) -> Vec<(Group, Option<SemaphorePermit<'a>>)> {
        match turn {
            CommitTurn::Fresh(call) => {
                // Gathered only now that the call may be made: what came while it waited is in it.
                self.pace.ready(self.ready().collect::<HashSet<_>>().len());
                let most = (self.most, self.pace.of_all());
                let first = first_of_each_task(&mut self.waiting, &mut self.busy, most);
                vec![(Group::new(first), Some(call))]
            }
            CommitTurn::Tried { tasks, left } => {
                self.busy.retain(|task| !tasks.contains(task));
                // What is left is tried again before anything newer of the same tasks: positions go on from those
                // before them.
                self.busy.extend(left.iter().flat_map(Group::tasks));
                left.into_iter().map(|group| (group, None)).collect()
            }
        }
    }
}

/// What the committer goes on with.
enum CommitTurn<'a> {
    /// What has come and was not tried yet may be.
    Fresh(SemaphorePermit<'a>),
    /// A group of these tasks was tried; what is left of it is tried again.
    Tried { tasks: Vec<Task>, left: Vec<Group> },
}

/// Waits before a group is tried again. `is_away` says whether the place is, and not this group the reason.
async fn wait((pause, is_away): (Duration, bool), call: SemaphorePermit<'_>) {
    if is_away {
        // Nobody else is to ask a place that is away meanwhile.
        sleep(pause).await;
        drop(call);
    } else {
        // It is this group that fails: others take its turn while it waits.
        drop(call);
        sleep(pause).await;
    }
}

/// Waits until a call may be made.
async fn turn(calls: &Semaphore) -> Result<SemaphorePermit<'_>> {
    let call = calls.acquire().await;
    call.map_err(|closed| Error::permanent("wait for a turn to commit").because(closed))
}
