//! Claims what the source assigns, and starts its tasks.

use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::oneshot;

use crate::activity::Activity;
use crate::alarm::Alarm;
use crate::epoch::Anchor;
use crate::error::{Error, Result};
use crate::flow::{End, Flow};
use crate::job::claiming::{Claimed, Claiming};
use crate::job::intake::{Intake, IntakeMailbox};
use crate::job::lookout::check_is_not_older;
use crate::job::measures::TaskMeasures;
use crate::job::report::Status;
use crate::job::running::{Handle, Running};
use crate::job::task::{TaskLoop, TaskPartition, Work};
use crate::position::Position;
use crate::record::Partition;
use crate::source::{Assignment, Batch, Source, TaskInput};
use crate::topology::Tip;

impl<S, A, P> Running<S, A, P>
where
    S: Source,
    S::Batch: Batch,
    A: Anchor,
    P: Fn(Flow<Intake<S::Batch>>) -> End + Send + Sync + 'static,
{
    /// Begins to claim the positions of an assignment.
    pub(super) fn claim(&mut self, assignment: Assignment<S::Batch>) {
        self.assigned = self.job.setup.settings.until_end && assignment.tasks.is_empty();
        self.heard = true;
        tracing::info!(job = %self.job.setup.name, tasks = ?assignment, "assigned");
        let (job, anchor) = (self.job.setup.name.clone(), self.job.anchor.clone());
        self.claiming.push_back(Claiming::new(job, anchor, assignment));
    }

    /// The positions are claimed: the tasks begin.
    pub(super) fn begin(&mut self, claimed: Vec<Claimed>) -> Result<()> {
        let claiming = self.claiming.pop_front();
        let mut claiming =
            claiming.ok_or_else(|| Error::broken("what was not assigned has been claimed"))?;
        let mut begin: Vec<(Partition, Position)> = Vec::new();
        let tasks = std::mem::take(&mut claiming.assignment.tasks);
        if tasks.len() != claimed.len() {
            return Err(Error::broken("an assignment has other tasks than were claimed for it"));
        }
        for (input, positions) in tasks.into_iter().zip(claimed) {
            let positions = positions.filter(|_| !claiming.has_revoked(input.task));
            // It was taken away before it was claimed, or by now.
            let Some(positions) = positions else { continue };
            let positions = of_partitions(&input, positions)?;
            begin.extend(&positions);
            self.spawn(input, &positions)?;
        }
        // Only now, when the tasks are there: whatever the source hands over finds its task.
        claiming.assignment.begin(begin);
        Ok(())
    }

    /// Draws the pipeline for a task, and lets it run.
    fn spawn(
        &mut self,
        input: TaskInput<S::Batch>,
        positions: &[(Partition, Position)],
    ) -> Result<()> {
        let (task, job) = (input.task, Arc::clone(&self.job));
        let (finish, finished) = oneshot::channel();
        let status = Arc::new(Status::default());
        let mut run = self.task_loop(input, positions, (finished, &status))?;
        let restoring = job.setup.health.restoring();
        self.owned.claimed(task, positions);
        let claimed = positions.to_vec();
        let abort = self.ended.spawn(async move {
            let restored = run.restore(&job.setup.name, &job.anchor).await;
            // In any case: an instance whose task cannot be restored is not one that is still restoring.
            drop(restoring);
            if restored.as_ref().is_err_and(|error| !error.is_transient()) {
                // Pages of two states fit nothing. Those of an older self are read anew.
                check_is_not_older(&job.setup.name, &job.anchor, &claimed).await?;
            }
            match restored? {
                true => run.run().await,
                false => Ok(()),
            }
        });
        self.account.begin(task, Arc::clone(&status));
        self.tasks.insert(task, Handle { finish, abort, status });
        self.share();
        Ok(())
    }

    /// As many as there are tasks share what all of them may hold, and, where one commit is for all of them, the rows that
    /// the place takes in time.
    fn share(&self) {
        let apart = self.job.anchor.commits_apart();
        self.pace.share(if apart { 1 } else { self.tasks.len() });
        self.batch_limit.share(self.tasks.len());
    }

    /// The loop of a task at these positions.
    ///
    /// # Errors
    /// If the pipeline is not drawn rightly.
    fn task_loop(
        &self,
        TaskInput { task, partitions }: TaskInput<S::Batch>,
        positions: &[(Partition, Position)],
        (finished, status): (oneshot::Receiver<()>, &Arc<Status>),
    ) -> Result<TaskLoop<S::Batch>> {
        let (setup, (end, mailbox, activity)) = (&self.job.setup, self.drawn(positions)?);
        let owned = partitions.iter().map(|input| input.partition);
        let measures = TaskMeasures::new(&setup.name, task, owned);
        let inputs = partitions.into_iter().zip(positions);
        Ok(TaskLoop {
            task,
            settings: setup.settings,
            clock: Arc::clone(&setup.clock),
            end,
            mailbox,
            activity,
            inputs: inputs.map(|(input, at)| TaskPartition::new(input, at)).collect(),
            commits: self.commits.clone(),
            finish: finished.fuse(),
            status: Arc::clone(status),
            pace: self.pace.clone(),
            batch_limit: self.batch_limit.clone(),
            measures,
            work: Work::new(&setup.renames),
        })
    }

    /// A pipeline for a task alone: tasks share nothing but the committer.
    fn drawn(
        &self,
        positions: &[(Partition, Position)],
    ) -> Result<(End, IntakeMailbox<S::Batch>, Activity)> {
        let alarm = Alarm::new(|duration| tokio::time::sleep(duration).boxed());
        let (job, tip) = (&self.job, Tip::rung_by(alarm, &self.job.source.topics()));
        let activity = tip.activity();
        let (intake, mailbox) = Intake::new(
            positions,
            job.bounds(),
            |topic| job.source.out_of_orderness(topic),
            (job.setup.clock.now(), activity.clone()),
        );
        let end = (job.pipeline)(Flow { stream: intake, tip });
        end.tip.finish().fits()?;
        Ok((end, mailbox, activity))
    }
}

/// The positions of a task's partitions, as they were claimed.
///
/// # Errors
/// If the place has answered for more or fewer: a partition without a position would not be read.
fn of_partitions<B>(
    input: &TaskInput<B>,
    positions: Vec<Position>,
) -> Result<Vec<(Partition, Position)>> {
    let (partitions, claimed) = (input.partitions.len(), positions.len());
    if partitions != claimed {
        return Err(Error::permanent(format!(
            "claim task {}: the place answered with {claimed} positions for {partitions} partitions; this is a fault \
             of the place's `Anchor`",
            input.task
        )));
    }
    Ok(input.partitions.iter().map(|input| input.partition).zip(positions).collect())
}
