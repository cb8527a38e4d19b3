//! Forgets a job: takes over its tasks, so that nobody commits any more, and deletes the changelog.

use rtbflow::Result;
use rtbflow::epoch::{Kept, Task};

use crate::anchor::options::{OPEN_TRANSACTION_TIMEOUT, PATIENCE};
use crate::anchor::target::Target;
use crate::client::blocking::drop_elsewhere;
use crate::client::create::Creation;
use crate::client::deadline::Deadline;

/// All tasks of the job that have a partition of the changelog; none if there is no changelog.
fn tasks<'a>(target: &Target<'a>) -> Result<Vec<Target<'a>>> {
    // Without a changelog there are none.
    let of = target.partitions(PATIENCE)?.unwrap_or(0);
    Ok((0..of).map(|number| Target { task: Task { number, of }, ..*target }).collect())
}

/// What is kept of the job.
pub(crate) fn kept(target: &Target<'_>, _: Deadline) -> Result<Kept> {
    let mut kept = Kept::default();
    for task in tasks(target)? {
        let replay = task.replay()?;
        let range = replay.decided_range(Deadline::after(OPEN_TRANSACTION_TIMEOUT))?;
        let scan = replay.scan(range)?;
        kept.positions.extend(scan.positions.iter().map(|(partition, at)| (*partition, *at)));
        kept.buckets += scan.finish()?.0.buckets() as u64;
    }
    Ok(kept)
}

/// Removes positions and state.
pub(crate) fn forget(target: &Target<'_>, deadline: Deadline) -> Result<()> {
    let tasks = tasks(target)?;
    let mut producers = Vec::with_capacity(tasks.len());
    // This decides what a former owner has begun, and fences it.
    let fenced = tasks.iter().try_for_each(|task| {
        producers.push(task.producer(deadline)?);
        Ok(())
    });
    let deleted = fenced.and_then(|()| {
        if tasks.is_empty() {
            return Ok(());
        }
        Creation::new(target.kafka, deadline.left())?.delete(&target.changelog())
    });
    drop_elsewhere(producers);
    deleted
}
