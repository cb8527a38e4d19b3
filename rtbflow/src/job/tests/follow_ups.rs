//! What a commit leaves to be done behind it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, Memory, Verdict};
use crate::error::{Error, Result};
use crate::job::tests::commits::{Own, committer};
use crate::position::{JobName, Position, Task};
use crate::staged::Place;

/// A place that is asked, after each commit, to do the rest, and answers with what is written down; at last that it
/// is done.
#[derive(Debug, Clone)]
struct Following {
    place: Memory,
    answers: Arc<Mutex<Vec<Error>>>,
    asked: Arc<AtomicUsize>,
}

impl Following {
    fn new(answers: impl IntoIterator<Item = Error>) -> Self {
        let answers = Arc::new(Mutex::new(answers.into_iter().collect()));
        Self { place: Memory::new(), answers, asked: Arc::default() }
    }
}

impl Anchor for Following {
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
        self.place.commit(job, epochs).await
    }
    async fn after_commit(&self, _: &JobName) -> Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answers.lock().unwrap().pop().map_or(Ok(()), Err)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_commit_leaves_to_be_done_is_asked_for_again_until_it_is_done() {
    let (sender, submissions) = mpsc::channel(64);
    let anchor = Following::new((0..3).map(|_| Error::transient("index the rest: no answer")));
    let mut own = Own::claim(0, &anchor, &sender).await;
    drop(sender);
    let (committer, account) = committer(JobName::new("test").unwrap(), anchor.clone());
    let committer = tokio::spawn(committer.run(submissions));
    // The task goes on at once: it is committed, whatever is left to be done behind it.
    assert_eq!(own.submit().await.await.unwrap(), Verdict::COMMITTED);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(anchor.asked.load(Ordering::Relaxed), 1);
    let next = own.submit().await;
    assert_eq!(next.await.unwrap(), Verdict::COMMITTED, "once the place is done with the first");
    drop(own);
    committer.await.unwrap().unwrap();
    assert_eq!(
        anchor.asked.load(Ordering::Relaxed),
        5,
        "four times for one, and once for the next"
    );
    assert_eq!((account.report().commits, account.report().decoded), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_cannot_do_what_a_commit_leaves_to_be_done_ends_the_job() {
    let (sender, submissions) = mpsc::channel(64);
    let anchor = Following::new([Error::permanent("index the rest: no right to")]);
    let mut own = Own::claim(0, &anchor, &sender).await;
    drop(sender);
    let (committer, account) = committer(JobName::new("test").unwrap(), anchor);
    let committer = tokio::spawn(committer.run(submissions));
    assert_eq!(own.submit().await.await.unwrap(), Verdict::COMMITTED, "that was done before");
    let error = committer.await.unwrap().unwrap_err();
    assert_eq!(error.report(), "index the rest: no right to");
    assert_eq!(account.report().commits, 1);
}
