//! The one committer of a job: takes the epochs that are ready, of all tasks, and commits them together.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::element::Partition;
use crate::epoch::{Anchor, DeadLetters, Epoch, JobName, Position, Verdict, Writer};
use crate::error::{Error, Result};
use crate::job::backoff::Backoff;
use crate::job::health::Health;
use crate::job::measures::CommitMeasures;
use crate::job::notes::Notes;
use crate::job::report::Account;
use crate::job::task::Status;

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

/// How far the attempts to commit a group got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Nothing,
    /// Its dead letters are durable.
    DeadLetters,
    /// The place was asked, and may have applied it.
    Place,
}

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
    pub(crate) submissions: mpsc::Receiver<Submission>,
}

impl<A: Anchor> Committer<A> {
    /// Commits until all tasks are gone.
    ///
    /// # Errors
    /// If an epoch can not be committed and trying again would not help.
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
            self.commit(group).await?;
        }
    }

    /// Commits a group; tries again for as long as the place is away. An attempt whose outcome is not
    /// known is simply made again: the place knows which epochs it has.
    async fn commit(&self, group: Vec<Submission>) -> Result<()> {
        let (mut epochs, mut waiting): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|Submission { epoch, verdict, status }| (epoch, (verdict, status)))
            .unzip();
        let mut backoff = Backoff::new();
        let mut reached = Reached::Nothing;
        loop {
            // What the place may have applied is asked about again, so that it is accounted for.
            if reached != Reached::Place {
                drop_orphans(&mut epochs, &mut waiting);
            }
            if epochs.is_empty() {
                return Ok(());
            }
            let started = Instant::now();
            self.health.commits();
            match self.attempt(&epochs, &mut reached).await {
                Ok(verdicts) => {
                    backoff.succeeded("commit");
                    self.health.committed();
                    self.measures.group(started.elapsed());
                    return self.tell(&epochs, verdicts, waiting);
                }
                Err(error) if error.is_transient() => {
                    self.health.not_committed(&error);
                    backoff.wait("commit", &error).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, epochs: &[Epoch], reached: &mut Reached) -> Result<Vec<Verdict>> {
        if *reached == Reached::Nothing {
            self.deliver(epochs).await?;
            *reached = Reached::DeadLetters;
        }
        for writer in &self.writers {
            writer.write(epochs).await?;
        }
        *reached = Reached::Place;
        self.anchor.commit(&self.job, epochs).await
    }

    fn tell(&self, epochs: &[Epoch], verdicts: Vec<Verdict>, waiting: Vec<Waiting>) -> Result<()> {
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

    async fn deliver(&self, epochs: &[Epoch]) -> Result<()> {
        let letters = epochs.iter().flat_map(|epoch| &epoch.dead_letters);
        match &self.rejected {
            Rejected::Skipped => self.measures.dead_letters(letters.count()),
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
                if !letters.is_empty() {
                    to.deliver(self.job.as_str(), &letters).await?;
                    self.measures.dead_letters(letters.len());
                }
            }
        }
        Ok(())
    }
}

/// The first epoch of each task, and those behind it. A group has one epoch of a task at most: were
/// there two, and the answer lost, the place would stand behind the second, and the first could not be
/// told from one that was fenced.
fn first_of_each_task(waiting: Vec<Submission>) -> (Vec<Submission>, Vec<Submission>) {
    let mut tasks = HashSet::new();
    waiting.into_iter().partition(|submission| tasks.insert(submission.epoch.task))
}

/// Drops the epochs whose task is gone: it was revoked, and nobody may commit for it any more.
fn drop_orphans(epochs: &mut Vec<Epoch>, waiting: &mut Vec<Waiting>) {
    let orphaned: Vec<bool> = waiting.iter().map(|(verdict, _)| verdict.is_closed()).collect();
    let kept = |number: &mut usize| {
        *number += 1;
        !orphaned.get(*number - 1).copied().unwrap_or(true)
    };
    let (mut epoch, mut verdict) = (0, 0);
    epochs.retain(|_| kept(&mut epoch));
    waiting.retain(|_| kept(&mut verdict));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::barrier::Gathered;
    use crate::element::{Origin, Record, Topic};
    use crate::epoch::{Advance, ChunkPage, Claim, Memory, Task};
    use crate::job::Report;
    use crate::sink::{Place, Sink};
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
            submissions,
        };
        committer.run().await.unwrap();
        let Report { decoded, duplicates, records_out, commits, .. } = account.report();
        assert_eq!((decoded, duplicates, records_out, commits), (2, 1, 2, 1));
    }
}
