//! The one committer of a job: takes the epochs that are ready, of all tasks, and commits them together.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

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
use crate::job::report::{Account, Status};
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

/// Where records go that can not be used.
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
    pub(crate) submissions: mpsc::Receiver<Submission>,
}

impl<A: Anchor> Committer<A> {
    /// Commits until all tasks are gone.
    ///
    /// # Errors
    /// If an epoch cannot be committed and trying again would not help.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut line = Line::default();
        while let Some(group) = self.next(&mut line).await {
            self.commit(group, &mut line).await?;
        }
        Ok(())
    }

    /// What is tried next: what has come meanwhile and groups that failed and are due again, in turn. `None`
    /// when all tasks are gone.
    async fn next(&mut self, line: &mut Line) -> Option<Group> {
        loop {
            // As many as each task may have under way.
            line.waiting.extend(std::iter::from_fn(|| self.submissions.try_recv().ok()));
            if let Some(group) = line.next() {
                return Some(group);
            }
            let due = line.failed.iter().map(|group| group.due).min();
            tokio::select! {
                biased;
                came = self.submissions.recv() => match (came, due) {
                    (Some(submission), _) => line.waiting.push(submission),
                    (None, Some(due)) => sleep_until(due).await,
                    (None, None) => return None,
                },
                () = until(due) => {}
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

    /// Commits a group. An attempt whose outcome is not known is simply made again: the place knows which
    /// epochs it has. A group that fails may be too large for the place's time, or have one epoch that waits
    /// for something: it goes on in halves, and lets the others pass meanwhile.
    async fn commit(&self, mut group: Group, line: &mut Line) -> Result<()> {
        // What the place may have applied is asked about again, so that it is accounted for.
        if !group.asked {
            group.drop_orphans();
        }
        if group.epochs.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        self.health.commits();
        match self.attempt(&mut group).await {
            Ok(verdicts) => {
                line.succeeded(&mut group);
                self.health.committed();
                let took = started.elapsed();
                self.measures.group(took);
                self.pace.committed(group.rows(), took);
                self.acknowledge(group, verdicts)?;
                self.follow_up().await
            }
            Err(error) if !error.refusals().is_empty() => {
                refuse(&mut group.epochs, error.refusals())?;
                group.due = Instant::now();
                line.failed.push(group);
                Ok(())
            }
            Err(error) if error.is_transient() => {
                let others_pass = line.has_committed_since(&group);
                let pause = if others_pass {
                    self.health.one_not_committed(&error);
                    // What takes long to fail is tried the less often.
                    group.backoff.failed("commit", &error).max(started.elapsed())
                } else {
                    self.health.not_committed(&error);
                    if group.asked {
                        self.pace.failed(group.rows());
                    }
                    line.fails_in_a_row += 1;
                    line.backoff.failed("commit", &error)
                };
                if !others_pass && line.fails_in_a_row > 1 {
                    // Whatever is tried fails: the place is away.
                    sleep(pause).await;
                    group.due = Instant::now();
                } else {
                    group.due = Instant::now() + pause;
                }
                group.failed_behind = Some(line.commits);
                let half = if group.asked { group.split_off_half() } else { None };
                line.failed.push(group);
                line.failed.extend(half);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn attempt(&self, group: &mut Group) -> Result<Vec<Verdict>> {
        self.deliver(&mut group.epochs).await?;
        let epochs = &group.epochs;
        for writer in &self.writers {
            writer.write(epochs).await?;
        }
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

/// Epochs that are committed in one step.
struct Group {
    epochs: Vec<Epoch>,
    waiting: Vec<Waiting>,
    /// Whether the place was asked, and may have applied some of it.
    asked: bool,
    /// When it is to be tried.
    due: Instant,
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
        let (due, backoff) = (Instant::now(), Backoff::new());
        Self { epochs, waiting, asked: false, due, failed_behind: None, backoff }
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

/// What a committer has before it.
struct Line {
    /// In the order in which they came.
    waiting: Vec<Submission>,
    /// What was tried and failed, to be tried again.
    failed: Vec<Group>,
    /// Groups that were committed.
    commits: u64,
    /// Attempts that failed since the last that did not, of groups that others do not pass.
    fails_in_a_row: u32,
    /// Of these.
    backoff: Backoff,
    /// Whether what was tried last had failed before.
    tried_again: bool,
}

impl Default for Line {
    fn default() -> Self {
        let (waiting, failed) = Default::default();
        let (commits, fails_in_a_row, tried_again, backoff) = (0, 0, false, Backoff::new());
        Self { waiting, failed, commits, fails_in_a_row, backoff, tried_again }
    }
}

impl Line {
    fn next(&mut self) -> Option<Group> {
        let turns =
            if self.tried_again { [Self::fresh, Self::again] } else { [Self::again, Self::fresh] };
        turns.into_iter().find_map(|turn| turn(self))
    }

    /// What has come and was not tried yet.
    fn fresh(&mut self) -> Option<Group> {
        let submissions = self.first_of_each_task();
        let group = (!submissions.is_empty()).then(|| Group::new(submissions))?;
        self.tried_again = false;
        Some(group)
    }

    /// The group that failed and is due for longest.
    fn again(&mut self) -> Option<Group> {
        let due = self.failed.iter().map(|group| group.due).min()?;
        let first = self.failed.iter().position(|group| group.due == due)?;
        let group = (due <= Instant::now()).then(|| self.failed.remove(first))?;
        self.tried_again = true;
        Some(group)
    }

    /// The first epoch of each task that has none among those that failed. A group has one epoch of a task
    /// at most: were there two, and the answer lost, the place would stand behind the second, and the
    /// first could not be told from one that was fenced.
    fn first_of_each_task(&mut self) -> Vec<Submission> {
        let failed = self.failed.iter().flat_map(|group| &group.epochs);
        let mut tasks: HashSet<Task> = failed.map(|epoch| epoch.task).collect();
        let mut taken = Vec::new();
        for submission in take(&mut self.waiting) {
            match taken.len() < MOST_EPOCHS && tasks.insert(submission.epoch.task) {
                true => taken.push(submission),
                false => self.waiting.push(submission),
            }
        }
        taken
    }

    /// Whether other groups were committed since this one failed.
    fn has_committed_since(&self, group: &Group) -> bool {
        group.failed_behind.is_some_and(|commits| commits < self.commits)
    }

    /// A group was committed.
    fn succeeded(&mut self, group: &mut Group) {
        self.commits += 1;
        group.backoff.succeeded("commit");
        self.backoff.succeeded("commit");
        if take(&mut self.fails_in_a_row) > 1 {
            // The place is back.
            self.failed.iter_mut().for_each(|group| group.due = Instant::now());
        }
    }
}

/// Ends at this time, if there is one.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::barrier::Gathered;
    use crate::epoch::{Advance, ChunkPage, Claim, Memory};
    use crate::job::Report;
    use crate::position::Task;
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

    fn committer<A: Anchor>(
        job: JobName,
        anchor: A,
        submissions: mpsc::Receiver<Submission>,
    ) -> (Committer<A>, Account) {
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
            submissions,
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
        let (committer, account) = committer(job, anchor, submissions);
        committer.run().await.unwrap();
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
        let (committer, account) =
            committer(JobName::new("test").unwrap(), anchor.clone(), submissions);
        let committer = tokio::spawn(committer.run());
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
        let (committer, account) =
            committer(JobName::new("test").unwrap(), anchor.clone(), submissions);
        let committer = tokio::spawn(committer.run());
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
