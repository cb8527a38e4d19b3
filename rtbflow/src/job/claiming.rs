//! Claiming the positions of an assignment, task by task, while tasks of it may be taken away.
//!
//! A claim that has set out reaches the place whether anybody waits for it or not, and fences whoever owned
//! the task before. So a task is given back only after the claim for it has come to its end: else it would
//! fence the next owner, which claimed in between. (A source that fails, or a group that takes its tasks
//! without asking, waits for nothing: then the fence decides.)

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures::FutureExt;
use futures::future::{BoxFuture, Fuse};
use tokio::time::{Instant, timeout_at};

use crate::epoch::{Anchor, Claim};
use crate::error::Result;
use crate::job::backoff::retried;
use crate::position::{JobName, Position, Task};
use crate::source::Assignment;

/// The positions of a task; `None` if it was taken away before it was claimed.
pub(crate) type Claimed = Option<Vec<Position>>;

/// An assignment whose positions are being claimed.
pub(crate) struct Claiming<B> {
    pub(crate) assignment: Assignment<B>,
    claims: Fuse<BoxFuture<'static, Result<Vec<Claimed>>>>,
    standing: Standing,
}

/// How far it is.
#[derive(Clone, Default)]
struct Standing(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Tasks of it that were taken away meanwhile.
    revoked: BTreeSet<Task>,
    /// The task whose claim has set out.
    under_way: Option<Task>,
}

impl Standing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a claim, unless the task was taken away: what is another's by now must not be claimed from under
    /// it.
    async fn claim<F>(&self, task: Task, claim: impl FnOnce() -> F) -> Result<Claimed>
    where
        F: Future<Output = Result<Vec<Position>>>,
    {
        {
            let mut state = self.lock();
            if state.revoked.contains(&task) {
                return Ok(None);
            }
            // In one step with the look at what was revoked: whoever revokes it next sees that it has set out, and
            // waits for it.
            state.under_way = Some(task);
        }
        let claimed = claim().await;
        self.lock().under_way = None;
        claimed.map(Some)
    }
}

impl<B> Claiming<B> {
    /// Claims for an assignment, which are made as this is waited for.
    pub(crate) fn new<A: Anchor>(job: JobName, anchor: A, assignment: Assignment<B>) -> Self {
        let claims = assignment.tasks.iter().map(|input| Claim {
            task: input.task,
            partitions: input.partitions.iter().map(|input| input.partition).collect(),
            owner: RandomState::new().build_hasher().finish(),
        });
        let claims: Vec<Claim> = claims.collect();
        let standing = Standing::default();
        let standing_of_claims = standing.clone();
        let claims = async move {
            let mut claimed = Vec::new();
            // One after another: of those that come later, whatever is taken away meanwhile is never claimed.
            for claim in &claims {
                let attempt = || standing_of_claims.claim(claim.task, || anchor.claim(&job, claim));
                claimed.push(retried(None, "claim positions", attempt).await?);
            }
            Ok(claimed)
        };
        Self { assignment, claims: claims.boxed().fuse(), standing }
    }

    /// The positions of its tasks, in order. Cancel safe; pending for ever once it has answered.
    pub(crate) async fn claimed(&mut self) -> Result<Vec<Claimed>> {
        (&mut self.claims).await
    }

    /// These tasks are taken away: they are not claimed any more.
    pub(crate) fn revoke(&self, tasks: impl IntoIterator<Item = Task>) {
        self.standing.lock().revoked.extend(tasks);
    }

    pub(crate) fn has_revoked(&self, task: Task) -> bool {
        self.standing.lock().revoked.contains(&task)
    }

    /// Whether nothing is left of it. One that was empty to begin with is none of that.
    pub(crate) fn is_revoked(&self) -> bool {
        let mut tasks = self.assignment.tasks.iter();
        !self.assignment.tasks.is_empty() && tasks.all(|input| self.has_revoked(input.task))
    }

    /// Waits, until a deadline, while a claim is under way for a task that was taken away. Should all be
    /// claimed meanwhile, this is the answer.
    pub(crate) async fn settle(&mut self, deadline: Instant) -> Option<Result<Vec<Claimed>>> {
        let Self { claims, standing, .. } = self;
        let settled = poll_fn(|context| {
            if let Poll::Ready(claimed) = claims.poll_unpin(context) {
                return Poll::Ready(Some(claimed));
            }
            let state = standing.lock();
            match state.under_way {
                Some(task) if state.revoked.contains(&task) => Poll::Pending,
                Some(_) | None => Poll::Ready(None),
            }
        });
        let settled = timeout_at(deadline, settled).await;
        settled.unwrap_or_else(|_| {
            let task = self.standing.lock().under_way;
            tracing::warn!(
                ?task,
                "a claim does not end in time: it may fence the task's next owner"
            );
            None
        })
    }
}
