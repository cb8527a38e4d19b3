//! Forgets a job: takes over its tasks, so that nobody commits any more, and deletes the changelog.

use std::time::Duration;

use rtbflow::Result;
use rtbflow::epoch::{Kept, Task};

use crate::anchor::room::{Room, changelog};
use crate::anchor::seat::{PATIENCE, decided};
use crate::client::blocking::drop_elsewhere;
use crate::client::create::Creation;
use crate::client::deadline::Deadline;

/// How long a look waits for the transactions of others.
const LONGEST_DECISION: Duration = Duration::from_secs(20);

/// The rooms of all tasks that have a partition of the changelog; none if there is no changelog.
fn rooms<'a>(room: &Room<'a>) -> Result<Vec<Room<'a>>> {
    let of = room.count(PATIENCE)?.unwrap_or(0);
    Ok((0..of).map(|number| Room { task: Task { number, of }, ..*room }).collect())
}

/// What is kept of the job.
pub(crate) fn kept(room: &Room<'_>, _: Deadline) -> Result<Kept> {
    let mut kept = Kept::default();
    for room in rooms(room)? {
        let replay = room.replay()?;
        let scan = replay.scan(decided(&replay, Deadline::after(LONGEST_DECISION))?)?;
        kept.positions.extend(scan.positions.iter().map(|(partition, at)| (*partition, *at)));
        kept.buckets += scan.finish()?.0.buckets() as u64;
    }
    Ok(kept)
}

/// Removes positions and state.
pub(crate) fn forget(room: &Room<'_>, deadline: Deadline) -> Result<()> {
    let rooms = rooms(room)?;
    let mut producers = Vec::with_capacity(rooms.len());
    // What a former owner has begun is decided by this, and nothing that it sends is taken any more.
    let taken = rooms.iter().try_for_each(|room| {
        producers.push(room.producer(deadline)?);
        Ok(())
    });
    let gone = taken.and_then(|()| {
        if rooms.is_empty() {
            return Ok(());
        }
        Creation::new(room.kafka, deadline.left())?.delete(&changelog(room.job))
    });
    drop_elsewhere(producers);
    gone
}
