//! The committer: what waits holds up no other, and what was applied is accounted for.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::barrier::Gathered;
use crate::epoch::{Advance, Anchor, ChunkPage, Claim, Epoch, Memory, Verdict};
use crate::error::{Error, Result};
use crate::job::Report;
use crate::job::committer::{Committed, Committer, Rejected};
use crate::job::health::Health;
use crate::job::lookout::Owned;
use crate::job::measures::CommitMeasures;
use crate::job::notes::Notes;
use crate::job::pace::Pace;
use crate::job::report::Account;
use crate::job::submission::Submission;
use crate::position::{JobName, Position, Task};
use crate::record::{Origin, Partition, Record, Topic};
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
    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
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

pub(super) fn committer<A: Anchor>(job: JobName, anchor: A) -> (Committer<A>, Account) {
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
        owned: Owned::default(),
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
    let mut sink = anchor.place.collected().sink().distinct(|a: &u8, b| a == b);
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
    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
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
pub(super) struct Own {
    task: Task,
    partition: Partition,
    at: Position,
    submissions: mpsc::Sender<Submission>,
}

impl Own {
    pub(super) async fn claim(
        number: u32,
        anchor: &impl Anchor,
        submissions: &mpsc::Sender<Submission>,
    ) -> Self {
        let task = Task { number, of: 8 };
        let partition = Partition::new(Topic::new("test"), i32::try_from(number).unwrap());
        let claim = Claim { task, partitions: vec![partition], owner: 7 };
        let at = anchor.claim(&JobName::new("test").unwrap(), &claim).await.unwrap()[0];
        Self { task, partition, at, submissions: submissions.clone() }
    }

    pub(super) async fn submit(&mut self) -> oneshot::Receiver<Verdict> {
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
