//! Gives back what the source takes away: tasks finish their epochs and commit, until a deadline.

use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::epoch::Anchor;
use crate::error::{Error, Result};
use crate::flow::{End, Flow};
use crate::job::intake::Intake;
use crate::job::report::Status;
use crate::job::running::{Handle, Running, joined};
use crate::position::Task;
use crate::source::{Batch, Revocation, Source};

impl<S, A, P> Running<S, A, P>
where
    S: Source,
    S::Batch: Batch,
    A: Anchor,
    P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
{
    /// Releases tasks: they finish their epochs and commit, unless another may own them already.
    pub(super) async fn revoke(&mut self, revocation: Revocation) -> Result<()> {
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
        tasks.iter().for_each(|task| self.owned.revoked(*task));
        // Behind the last commit: what is pending of a task that is gone is another's to count.
        tasks.iter().for_each(|task| self.account.release(*task));
        self.heard &= !self.tasks.is_empty();
        finished
    }

    pub(super) fn tasks_being_claimed(&self) -> Vec<Task> {
        let assignments = self.claiming.iter().map(|claiming| &claiming.assignment);
        assignments.flat_map(|assignment| &assignment.tasks).map(|input| input.task).collect()
    }

    /// Releases tasks until a deadline, of those that are claimed as well as of those that are at work.
    pub(super) async fn release(
        &mut self,
        tasks: &[Task],
        handles: Vec<(Task, Handle)>,
        deadline: Instant,
    ) -> Result<()> {
        for claiming in &self.claiming {
            claiming.revoke(tasks.iter().copied());
        }
        // Only of the first any claim has set out. It is taken out while it is waited for, as tasks are at the same
        // time: neither may take the deadline from the other.
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
    pub(super) async fn finish(
        &mut self,
        handles: Vec<(Task, Handle)>,
        deadline: Instant,
    ) -> Result<()> {
        let mut waiting: Vec<(Task, AbortHandle, Arc<Status>)> = Vec::new();
        for (task, Handle { finish, abort, status }) in handles {
            // All at once: they commit together, within one deadline.
            drop(finish);
            waiting.push((task, abort, status));
        }
        while !waiting.is_empty() {
            let Ok(Some(ended)) = timeout_at(deadline, self.ended.join_next_with_id()).await else {
                // The time is up: what is left is dropped below.
                break;
            };
            let (life, answer) = joined(ended)?;
            let at = waiting.iter().position(|(_, abort, _)| abort.id() == life);
            match (at.map(|at| waiting.swap_remove(at)), answer) {
                (None, answer) => self.backlog.push_back((life, answer)),
                (Some(_), Ok(())) => {}
                (Some((task, ..)), Err(error)) if error.is_fenced() || error.is_transient() => {
                    warn_of_dropped(task, &error);
                }
                (Some(_), Err(error)) => return Err(error),
            }
        }
        waiting.into_iter().for_each(give_up);
        Ok(())
    }
}

/// Drops a task whose deadline has passed.
fn give_up((task, abort, status): (Task, AbortHandle, Arc<Status>)) {
    tracing::warn!(
        %task,
        records = status.pending(),
        "drop what a task that ends did not commit within the deadline: its next owner reads it again"
    );
    abort.abort();
}

#[cold]
fn warn_of_dropped(task: Task, error: &Error) {
    tracing::warn!(
        %task,
        error = %error.report(),
        "drop the last epochs of a task that ends: their commit failed; its next owner reads their records again"
    );
}
