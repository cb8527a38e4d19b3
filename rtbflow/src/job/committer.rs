//! The one committer of a job: takes the epochs that are ready, of all tasks, and commits them together.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

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
use crate::position::{JobName, Position};
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
        let mut waiting = Vec::new();
        loop {
            let room = MOST_EPOCHS - waiting.len();
            if waiting.is_empty() {
                if self.submissions.recv_many(&mut waiting, room).await == 0 {
                    return Ok(());
                }
            } else {
                waiting.extend((0..room).map_while(|_| self.submissions.try_recv().ok()));
            }
            let (group, behind) = first_of_each_task(waiting);
            waiting = behind;
            self.commit(Group::new(group)).await?;
            self.follow_up().await?;
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

    /// Commits a group; tries again for as long as the place is away. An attempt whose outcome is not
    /// known is simply made again: the place knows which epochs it has. A group that fails may be too large
    /// for the place's time: it goes on in halves.
    async fn commit(&self, group: Group) -> Result<()> {
        let mut backoff = Backoff::new();
        let mut groups = vec![group];
        while let Some(mut group) = groups.pop() {
            // What the place may have applied is asked about again, so that it is accounted for.
            if !group.asked {
                group.drop_orphans();
            }
            if group.epochs.is_empty() {
                continue;
            }
            let started = Instant::now();
            self.health.commits();
            match self.attempt(&mut group).await {
                Ok(verdicts) => {
                    backoff.succeeded("commit");
                    self.health.committed();
                    let took = started.elapsed();
                    self.measures.group(took);
                    self.pace.committed(group.rows(), took);
                    self.acknowledge(group, verdicts)?;
                }
                Err(error) if !error.refusals().is_empty() => {
                    refuse(&mut group.epochs, error.refusals())?;
                    groups.push(group);
                }
                Err(error) if error.is_transient() => {
                    self.health.not_committed(&error);
                    backoff.wait("commit", &error).await;
                    if group.asked {
                        self.pace.failed(group.rows());
                        groups.extend(group.split_off_half());
                    }
                    groups.push(group);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
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
}

impl Group {
    fn new(submissions: Vec<Submission>) -> Self {
        let (epochs, waiting) = submissions
            .into_iter()
            .map(|Submission { epoch, verdict, status }| (epoch, (verdict, status)))
            .unzip();
        Self { epochs, waiting, asked: false }
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
            asked: self.asked,
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

/// The first epoch of each task, and those behind it. A group has one epoch of a task at most: were
/// there two, and the answer lost, the place would stand behind the second, and the first could not be
/// told from one that was fenced.
fn first_of_each_task(waiting: Vec<Submission>) -> (Vec<Submission>, Vec<Submission>) {
    let mut tasks = HashSet::new();
    waiting.into_iter().partition(|submission| tasks.insert(submission.epoch.task))
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
        committer.run().await.unwrap();
        let Report { decoded, duplicates, records_out, commits, .. } = account.report();
        assert_eq!((decoded, duplicates, records_out, commits), (2, 1, 2, 1));
    }
}
