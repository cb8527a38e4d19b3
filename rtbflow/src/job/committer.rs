//! The one committer of a job: takes the epochs that are ready, of all tasks, and commits them, together where the
//! place has one step for all of them, and each by itself where it does not.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, Either};
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryFutureExt};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::barrier::Reject;
use crate::dead_letter::{DeadLetter, Original};
use crate::epoch::{Anchor, DeadLetters, Epoch, Verdict, Writer};
use crate::error::{BadRecord, Error, Result};
use crate::job::backoff::Backoff;
use crate::job::health::Health;
use crate::job::measures::CommitMeasures;
use crate::job::notes::Notes;
use crate::job::pace::Pace;
use crate::job::refusing::refuse;
use crate::job::report::Account;
use crate::job::report::Status;
use crate::position::{JobName, Position, Task};
use crate::record::{Origin, Partition};

/// Epochs committed in one step.
const MOST_EPOCHS: usize = 64;

/// An epoch on its way to the place, and where its verdict is awaited.
pub(crate) struct Submission {
    pub(crate) epoch: Epoch,
    pub(crate) verdict: oneshot::Sender<Verdict>,
    /// Of the life of the task that it comes from.
    pub(crate) status: Arc<Status>,
}

/// Who waits for the verdict on an epoch.
type Waiting = (oneshot::Sender<Verdict>, Arc<Status>);

/// Where records go that cannot be used.
#[derive(Clone, Default)]
pub(crate) enum Rejected {
    /// To a dead-letter topic.
    Delivered(Arc<dyn DeadLetters>),
    /// Nowhere; they are counted.
    #[default]
    Skipped,
    /// The job ends with an error that names the record.
    Fatal,
}

/// Reads records of the source again.
pub(crate) type ReadAgain =
    Box<dyn Fn(Vec<Origin>) -> BoxFuture<'static, Result<Vec<Option<Original>>>> + Send + Sync>;

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
    /// Commits until all tasks are gone.
    ///
    /// # Errors
    /// If an epoch cannot be committed and trying again would not help.
    pub(crate) async fn run(self, mut submissions: mpsc::Receiver<Submission>) -> Result<()> {
        let (calls, most) = match self.anchor.commits_apart() {
            true => (Semaphore::new(MOST_EPOCHS), 1),
            false => (Semaphore::new(1), MOST_EPOCHS),
        };
        let (mut waiting, mut busy) = (Vec::new(), HashSet::new());
        let (mut under_way, mut open, mut asks) = (FuturesUnordered::new(), true, false);
        loop {
            let is_ready =
                waiting.iter().any(|Submission { epoch, .. }| !busy.contains(&epoch.task));
            if is_ready && !asks {
                // It keeps its place among the groups that are tried again.
                asks = true;
                under_way.push(Either::Left(turn(&calls).map_ok(Turn::Fresh)));
            }
            tokio::select! {
                biased;
                // As many as each task may have under way.
                came = submissions.recv_many(&mut waiting, MOST_EPOCHS), if open => open = came > 0,
                Some(turn) = under_way.next() => match turn? {
                    Turn::Fresh(call) => {
                        asks = false;
                        let group = Group::new(first_of_each_task(&mut waiting, &mut busy, most));
                        under_way.push(Either::Right(self.commit(group, Some(call), &calls)));
                    }
                    Turn::Tried { tasks, left } => {
                        busy.retain(|task| !tasks.contains(task));
                        for group in left {
                            busy.extend(group.tasks());
                            under_way.push(Either::Right(self.commit(group, None, &calls)));
                        }
                    }
                },
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
    ) -> Result<Turn<'a>> {
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
            return Ok(Turn::Tried { tasks, left: Vec::new() });
        }
        let started = Instant::now();
        let attempt = self.health.commits();
        let answer = self.attempt(&mut group).await;
        drop(attempt);
        match answer {
            Ok(verdicts) => {
                self.passed(&mut group);
                let took = started.elapsed();
                self.measures.group(took);
                self.pace.committed(group.rows(), took);
                self.acknowledge(group, verdicts)?;
                self.follow_up().await?;
                Ok(Turn::Tried { tasks, left: Vec::new() })
            }
            Err(error) if !error.refusals().is_empty() => {
                refuse(&mut group.epochs, error.refusals())?;
                Ok(Turn::Tried { tasks, left: vec![group] })
            }
            Err(error) if error.is_transient() => {
                let (pause, is_away) = self.failed(&mut group, &error, started.elapsed());
                if is_away {
                    sleep(pause).await;
                    drop(call);
                } else {
                    drop(call);
                    sleep(pause).await;
                }
                let half = if group.asked { group.split_off_half() } else { None };
                Ok(Turn::Tried { tasks, left: std::iter::once(group).chain(half).collect() })
            }
            Err(error) => Err(error),
        }
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
        let passed_since = group.failed_behind.replace(outlook.commits);
        if passed_since.is_some_and(|commits| commits < outlook.commits) {
            self.health.one_not_committed(error);
            // What takes long to fail is tried the less often.
            return (group.backoff.failed("commit", error).max(took), false);
        }
        self.health.not_committed(error);
        if group.asked {
            self.pace.failed(group.rows());
        }
        outlook.failures += 1;
        (outlook.backoff.failed("commit", error), outlook.failures > 1)
    }

    async fn attempt(&self, group: &mut Group) -> Result<Vec<Verdict>> {
        let beside = self.beside.lock().await;
        self.deliver(&mut group.epochs).await?;
        let epochs = &group.epochs;
        for writer in &self.writers {
            writer.write(epochs).await?;
        }
        drop(beside);
        group.asked = true;
        self.anchor.commit(&self.job, epochs).await
    }

    /// Reports verdicts to those who wait for them.
    fn acknowledge(&self, group: Group, verdicts: Vec<Verdict>) -> Result<()> {
        let Group { epochs, waiting, .. } = group;
        for ((epoch, verdict), (waiting, status)) in epochs.iter().zip(verdicts).zip(waiting) {
            if let Verdict::Committed(found) = verdict {
                self.account.committed(epoch, found).map_err(Error::permanent)?;
                self.notes.committed(&self.job, epoch, found);
                status.committed(epoch.records_in);
                self.committed.put(epoch);
                self.measures.epoch(epoch, found);
            }
            // A task that went in the meantime does not need to know.
            let _ = waiting.send(verdict);
        }
        Ok(())
    }

    /// Delivers the dead letters of epochs and takes them out, so that none is delivered twice.
    async fn deliver(&self, epochs: &mut [Epoch]) -> Result<()> {
        self.read_again(epochs).await?;
        let letters = epochs.iter().flat_map(|epoch| &epoch.dead_letters);
        let count = letters.clone().count();
        if count == 0 {
            return Ok(());
        }
        match &self.rejected {
            Rejected::Skipped => {}
            Rejected::Fatal => {
                if let Some(letter) = letters.into_iter().next() {
                    return Err(Error::permanent(format!(
                        "use the record of {}: {}; look at it, then skip it or send it to the dead-letter topic",
                        letter.origin, letter.reason
                    )));
                }
            }
            Rejected::Delivered(to) => {
                let letters: Vec<_> = letters.cloned().collect();
                to.deliver(self.job.as_str(), &letters).await?;
            }
        }
        self.measures.dead_letters(count);
        epochs.iter_mut().for_each(|epoch| epoch.dead_letters.clear());
        Ok(())
    }

    /// Reads the records again that are to be dead letters and were read in an earlier epoch.
    async fn read_again(&self, epochs: &mut [Epoch]) -> Result<()> {
        for epoch in epochs.iter_mut().filter(|epoch| !epoch.unread.is_empty()) {
            let origins: Vec<_> = epoch.unread.iter().map(|reject| reject.origin).collect();
            let mut found = (self.read_again)(origins).await?.into_iter();
            for Reject { origin, reason } in epoch.unread.drain(..) {
                let original = found.next().flatten();
                let reason = match original {
                    Some(_) => reason,
                    None => {
                        BadRecord::new(format!("{reason} (its source does not have it any more)"))
                    }
                };
                let letter = DeadLetter::record(origin, original.unwrap_or_default(), reason);
                epoch.dead_letters.push(letter);
            }
        }
        Ok(())
    }
}

/// What the committer goes on with.
enum Turn<'a> {
    /// What has come and was not tried yet may be.
    Fresh(SemaphorePermit<'a>),
    /// A group of these tasks was tried; what is left of it is tried again.
    Tried { tasks: Vec<Task>, left: Vec<Group> },
}

/// Waits until a call may be made.
async fn turn(calls: &Semaphore) -> Result<SemaphorePermit<'_>> {
    let call = calls.acquire().await;
    call.map_err(|closed| Error::permanent("wait for a turn to commit").because(closed))
}

/// Epochs that are committed in one step.
struct Group {
    epochs: Vec<Epoch>,
    waiting: Vec<Waiting>,
    /// Whether the place was asked, and may have applied some of it.
    asked: bool,
    /// How many commits there were when it failed last, of whatever it was a part of then.
    failed_behind: Option<u64>,
    /// How often it fails while others are committed.
    backoff: Backoff,
}

impl Group {
    fn new(submissions: Vec<Submission>) -> Self {
        let (epochs, waiting) = submissions
            .into_iter()
            .map(|Submission { epoch, verdict, status }| (epoch, (verdict, status)))
            .unzip();
        Self { epochs, waiting, asked: false, failed_behind: None, backoff: Backoff::default() }
    }

    fn tasks(&self) -> impl Iterator<Item = Task> {
        self.epochs.iter().map(|epoch| epoch.task)
    }

    /// What the place has to write, in rows; a change of state counts as one.
    fn rows(&self) -> usize {
        let rows = |epoch: &Epoch| {
            epoch.staged.iter().map(|staged| staged.rows).sum::<usize>() + epoch.chunks.len()
        };
        self.epochs.iter().map(rows).sum()
    }

    /// The second half of the epochs, as a group of its own; none of a single epoch.
    fn split_off_half(&mut self) -> Option<Self> {
        let half = self.epochs.len().div_ceil(2);
        (self.epochs.len() > 1).then(|| Self {
            epochs: self.epochs.split_off(half),
            waiting: self.waiting.split_off(half),
            backoff: self.backoff.clone(),
            ..*self
        })
    }

    /// Drops the epochs whose task is gone: it was revoked, and nobody may commit for it any more.
    fn drop_orphans(&mut self) {
        let orphaned: Vec<bool> =
            self.waiting.iter().map(|(verdict, _)| verdict.is_closed()).collect();
        let kept = |number: &mut usize| {
            *number += 1;
            !orphaned.get(*number - 1).copied().unwrap_or(true)
        };
        let (mut epoch, mut verdict) = (0, 0);
        self.epochs.retain(|_| kept(&mut epoch));
        self.waiting.retain(|_| kept(&mut verdict));
    }
}

/// The first epoch of each task that has none under way, at most this many; the tasks are under way then. A
/// group has one epoch of a task at most: were there two, and the answer lost, the place would stand behind
/// the second, and the first could not be distinguished from one that was fenced.
fn first_of_each_task(
    waiting: &mut Vec<Submission>,
    busy: &mut HashSet<Task>,
    most: usize,
) -> Vec<Submission> {
    let mut taken = Vec::new();
    for submission in std::mem::take(waiting) {
        match taken.len() < most && busy.insert(submission.epoch.task) {
            true => taken.push(submission),
            false => waiting.push(submission),
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::FutureExt;

    use super::*;
    use crate::barrier::Gathered;
    use crate::epoch::{Advance, ChunkPage, Claim, Memory};
    use crate::job::Report;
    use crate::record::{Record, Topic};
    use crate::sink::Sink;
    use crate::staged::Place;
    use crate::time::Timestamp;

    const TASK: Task = Task { number: 0, of: 1 };

    /// A place that applies the first commit and loses its answer; the task is taken away meanwhile.
    #[derive(Debug, Clone)]
    struct Forgetful {
        place: Memory,
        lost: Arc<AtomicBool>,
        verdict: Arc<Mutex<Option<oneshot::Receiver<Verdict>>>>,
    }

    impl Anchor for Forgetful {
        fn place(&self) -> Place {
            self.place.place()
        }
        async fn prepare(&self, job: &JobName) -> Result<()> {
            self.place.prepare(job).await
        }
        async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
            self.place.claim(job, claim).await
        }
        async fn restore(
            &self,
            job: &JobName,
            task: Task,
            from: Option<String>,
        ) -> Result<ChunkPage> {
            self.place.restore(job, task, from).await
        }
        async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
            let verdicts = self.place.commit(job, epochs).await?;
            drop(self.verdict.lock().unwrap().take());
            match self.lost.swap(true, Ordering::Relaxed) {
                true => Ok(verdicts),
                false => Err(Error::transient("commit: the answer is lost")),
            }
        }
    }

    fn committer<A: Anchor>(job: JobName, anchor: A) -> (Committer<A>, Account) {
        let account = Account::default();
        let committer = Committer {
            measures: CommitMeasures::new(&job),
            health: Health::default(),
            notes: Notes::default(),
            job,
            anchor,
            writers: Vec::new(),
            rejected: Rejected::default(),
            account: account.clone(),
            committed: Committed::default(),
            pace: Pace::new(Duration::from_millis(250)),
            read_again: Box::new(|origins| async move { Ok(vec![None; origins.len()]) }.boxed()),
            beside: tokio::sync::Mutex::default(),
            outlook: Mutex::default(),
        };
        (committer, account)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_applied_is_accounted_for_though_its_task_is_gone() {
        let job = JobName::new("test").unwrap();
        let partition = Partition::new(Topic::new("test"), 0);
        let (submission, submissions) = mpsc::channel(1);
        let (verdict, waiting) = oneshot::channel();
        let anchor = Forgetful {
            place: Memory::new(),
            lost: Arc::default(),
            verdict: Arc::new(Mutex::new(Some(waiting))),
        };
        let claim = Claim { task: TASK, partitions: vec![partition], owner: 7 };
        let from = anchor.claim(&job, &claim).await.unwrap()[0];
        let to = Position { offset: Some(3), commit: from.commit + 1, ..from };
        let advances = vec![Advance { partition, from, to }];
        let mut epoch = Epoch::new(TASK, advances, Gathered::default());
        epoch.records_in = 3;
        // Two records of three are the same, which only the place finds out.
        let mut sink = anchor.place.collect().0.distinct(|a: &u8, b| a == b);
        for (offset, value) in [(0, 7), (1, 8), (2, 7)] {
            let origin = Some(Origin::new(partition, offset));
            sink.write(&Record { origin, ..Record::derived(value, Timestamp::default()) });
        }
        sink.stage(&mut epoch.staged);
        let status = Arc::default();
        submission.send(Submission { epoch, verdict, status }).await.unwrap();
        drop(submission);
        let (committer, account) = committer(job, anchor);
        committer.run(submissions).await.unwrap();
        let Report { decoded, duplicates, records_out, commits, .. } = account.report();
        assert_eq!((decoded, duplicates, records_out, commits), (2, 1, 2, 1));
    }

    /// A place that commits nothing of these tasks for the present, and takes its time to say so.
    #[derive(Debug, Clone)]
    struct Choosy {
        place: Memory,
        refuses: Arc<Mutex<HashSet<u32>>>,
        attempts: Arc<Mutex<Vec<Vec<u32>>>>,
    }

    impl Anchor for Choosy {
        fn place(&self) -> Place {
            self.place.place()
        }
        async fn prepare(&self, job: &JobName) -> Result<()> {
            self.place.prepare(job).await
        }
        async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
            self.place.claim(job, claim).await
        }
        async fn restore(
            &self,
            job: &JobName,
            task: Task,
            from: Option<String>,
        ) -> Result<ChunkPage> {
            self.place.restore(job, task, from).await
        }
        async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
            let tasks: Vec<u32> = epochs.iter().map(|epoch| epoch.task.number).collect();
            let waits = tasks.iter().any(|task| self.refuses.lock().unwrap().contains(task));
            self.attempts.lock().unwrap().push(tasks);
            sleep(Duration::from_millis(if waits { 500 } else { 1 })).await;
            match waits {
                true => Err(Error::transient("commit: a row waits for another")),
                false => self.place.commit(job, epochs).await,
            }
        }
    }

    impl Choosy {
        fn new(refuses: impl IntoIterator<Item = u32>) -> Self {
            let refuses = Arc::new(Mutex::new(refuses.into_iter().collect()));
            Self { place: Memory::new(), refuses, attempts: Arc::default() }
        }
    }

    /// A task whose epochs read one record each.
    struct Own {
        task: Task,
        partition: Partition,
        at: Position,
        submissions: mpsc::Sender<Submission>,
    }

    impl Own {
        async fn claim(
            number: u32,
            anchor: &Choosy,
            submissions: &mpsc::Sender<Submission>,
        ) -> Self {
            let task = Task { number, of: 8 };
            let partition = Partition::new(Topic::new("test"), i32::try_from(number).unwrap());
            let claim = Claim { task, partitions: vec![partition], owner: 7 };
            let at = anchor.claim(&JobName::new("test").unwrap(), &claim).await.unwrap()[0];
            Self { task, partition, at, submissions: submissions.clone() }
        }

        async fn submit(&mut self) -> oneshot::Receiver<Verdict> {
            let (from, partition) = (self.at, self.partition);
            let offset = Some(from.offset.unwrap_or(0) + 1);
            let to = Position { offset, commit: from.commit + 1, ..from };
            let advances = vec![Advance { partition, from, to }];
            let mut epoch = Epoch::new(self.task, advances, Gathered::default());
            epoch.records_in = 1;
            self.at = to;
            let (verdict, waiting) = oneshot::channel();
            let submission = Submission { epoch, verdict, status: Arc::default() };
            self.submissions.send(submission).await.unwrap();
            waiting
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_epoch_that_waits_for_something_holds_up_no_other_task() {
        let (sender, submissions) = mpsc::channel(64);
        let anchor = Choosy::new([3, 5]);
        let mut tasks = Vec::new();
        for number in 0..8 {
            tasks.push(Own::claim(number, &anchor, &sender).await);
        }
        drop(sender);
        let (committer, account) = committer(JobName::new("test").unwrap(), anchor.clone());
        let committer = tokio::spawn(committer.run(submissions));
        let mut held = Vec::new();
        let began = Instant::now();
        for _ in 0..100 {
            let mut verdicts = Vec::new();
            for own in &mut tasks {
                match [3, 5].contains(&own.task.number) {
                    true if held.len() < 4 => held.push(own.submit().await),
                    true => {}
                    false => verdicts.push(own.submit().await),
                }
            }
            for verdict in verdicts {
                assert_eq!(verdict.await.unwrap(), Verdict::COMMITTED);
            }
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "those that can go on wait for {took:?}");
        assert_eq!(account.report().commits, 600, "and for nobody else");
        assert!(held.iter_mut().all(|verdict| verdict.try_recv().is_err()));
        anchor.refuses.lock().unwrap().clear();
        for verdict in held {
            assert_eq!(verdict.await.unwrap(), Verdict::COMMITTED);
        }
        drop(tasks);
        committer.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_away_is_not_asked_more_often_by_many_tasks() {
        let (sender, submissions) = mpsc::channel(64);
        let anchor = Choosy::new(0..8);
        let (mut tasks, mut verdicts) = (Vec::new(), Vec::new());
        for number in 0..8 {
            let mut own = Own::claim(number, &anchor, &sender).await;
            verdicts.push(own.submit().await);
            tasks.push(own);
        }
        drop(sender);
        let (committer, account) = committer(JobName::new("test").unwrap(), anchor.clone());
        let committer = tokio::spawn(committer.run(submissions));
        sleep(Duration::from_secs(60)).await;
        let attempts = anchor.attempts.lock().unwrap().len();
        assert!((20..40).contains(&attempts), "{attempts} in a minute");
        anchor.refuses.lock().unwrap().clear();
        let back = Instant::now();
        for verdict in verdicts {
            assert_eq!(verdict.await.unwrap(), Verdict::COMMITTED);
        }
        assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
        assert_eq!(account.report().commits, 8);
        drop(tasks);
        committer.await.unwrap().unwrap();
    }
}
