//! A name that this process has: it beats, and learns when the name is another's.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::barrier::Gathered;
use crate::epoch::{Advance, Anchor, Epoch, Verdict};
use crate::error::{Error, Result};
use crate::job::backoff::Backoff;
use crate::job::instances::silence::{beaten, given_back};
use crate::job::instances::{TASK, partition};
use crate::position::{JobName, Position};

/// How long giving a name back may take: whoever waits for it takes it without that a little later.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// A name that this process has.
pub(crate) struct Held {
    name: Arc<str>,
    lost: watch::Receiver<bool>,
    finish: oneshot::Sender<()>,
    /// The beats; they end with this.
    beats: JoinSet<()>,
}

impl Held {
    /// Beats from here on.
    pub(crate) fn new<A: Anchor>(name: Arc<str>, pulse: Pulse<A>, pause: Duration) -> Self {
        let (is_lost, lost) = watch::channel(false);
        let (finish, finished) = oneshot::channel();
        let mut beats = JoinSet::new();
        beats.spawn(pulse.beat(pause, is_lost, finished));
        Self { name, lost, finish, beats }
    }

    /// The name.
    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Whether it is known to be another's by now.
    pub(crate) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Ends with a transient error once the name is another's.
    pub(crate) fn lost(&self) -> impl Future<Output = Result<()>> + Send + 'static {
        let (name, mut lost) = (self.name(), self.lost.clone());
        async move {
            // Where the beats have ended otherwise, so has the run.
            if lost.wait_for(|lost| *lost).await.is_err() {
                std::future::pending::<()>().await;
            }
            Err(Error::transient(format!(
                "go on as instance {name}: another process has taken the name, since this one was silent for too long; \
                 it stands by from now on. If this happens often, give more time (`Job::failover_after`)"
            )))
        }
    }

    /// Gives it back, so that whoever waits for one need not wait for silence.
    pub(crate) async fn give_back(self) {
        let Self { finish, mut beats, .. } = self;
        drop(finish);
        // Whether or not that gets there.
        let _ = timeout(GIVE_BACK, beats.join_next()).await;
    }
}

/// What beats: a way to the place, and where the name stands there.
pub(crate) struct Pulse<A> {
    pub(crate) job: JobName,
    pub(crate) anchor: A,
    pub(crate) name: Arc<str>,
    pub(crate) at: Position,
}

impl<A: Anchor> Pulse<A> {
    /// Moves the name from where it stands; `false` if it is another's. An answer that was lost is asked for again.
    ///
    /// # Errors
    /// If the place does not answer, or refuses.
    pub(crate) async fn step(&mut self, to: Position) -> Result<bool> {
        let advance = Advance::new(partition(&self.name), self.at, to);
        let epoch = [Epoch::new(TASK, vec![advance], Gathered::default())];
        let verdicts = self.anchor.commit(&self.job, &epoch).await?;
        let is_ours = matches!(verdicts.first(), Some(Verdict::Committed(_)));
        if is_ours {
            self.at = to;
        }
        Ok(is_ours)
    }

    /// Beats until the name is another's, or is given back.
    async fn beat(
        mut self,
        pause: Duration,
        is_lost: watch::Sender<bool>,
        mut finished: oneshot::Receiver<()>,
    ) {
        let mut backoff = Backoff::new();
        loop {
            let finishes = tokio::select! {
                biased;
                _ = &mut finished => true,
                () = sleep(pause) => false,
            };
            let at = self.at;
            let to = if finishes { given_back(&at) } else { beaten(&at, at.owner) };
            match self.step(to).await {
                Ok(true) => backoff.succeeded("beat as an instance"),
                Ok(false) => {
                    // Whoever had it may not want to know any more.
                    let _ = is_lost.send(true);
                    return;
                }
                // The same beat is tried again: the pause stays as it is, since others count.
                Err(error) => drop(backoff.failed("beat as an instance", &error)),
            }
            if finishes {
                return;
            }
        }
    }
}
