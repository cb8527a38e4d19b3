//! Looks whether the place is there, and whether it still has what this instance has committed to it.
//!
//! A server that comes back from a backup, or a replica that was behind and takes over, is an older self of the place:
//! results, state and positions are from one moment there, so what is missing is read again from its positions. A task
//! with traffic notices by its next commit, which is fenced; of a quiet one nobody would know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::epoch::{Anchor, Epoch};
use crate::error::{Error, Result};
use crate::job::health::Health;
use crate::position::{JobName, Position, Task};
use crate::record::Partition;

/// The pause between two questions.
const PAUSE: Duration = Duration::from_secs(2);

/// Where the partitions of this instance's tasks stand, as the place has said.
#[derive(Clone, Default)]
pub(crate) struct Owned(Arc<Mutex<BTreeMap<Task, Vec<(Partition, Position)>>>>);

impl Owned {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Task, Vec<(Partition, Position)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task was claimed.
    pub(crate) fn claimed(&self, task: Task, positions: &[(Partition, Position)]) {
        self.lock().insert(task, positions.to_vec());
    }

    /// An epoch was committed.
    pub(crate) fn committed(&self, epoch: &Epoch) {
        let mut tasks = self.lock();
        // Of a task that was given back meanwhile: another's by now.
        let Some(positions) = tasks.get_mut(&epoch.task) else { return };
        for (partition, at) in positions {
            let mut advances = epoch.advances.iter();
            let advance = advances.find(|advance| advance.partition == *partition);
            // One that was claimed anew meanwhile stands at its claim.
            if let Some(to) = advance.map(|advance| advance.to)
                && to.owner == at.owner
                && to.commit > at.commit
            {
                *at = to;
            }
        }
    }

    /// A task was taken away.
    pub(crate) fn revoked(&self, task: Task) {
        self.lock().remove(&task);
    }

    fn all(&self) -> Vec<(Partition, Position)> {
        self.lock().values().flatten().copied().collect()
    }
}

/// Asks the place, again and again; ready once it is an older self of what this instance has committed to. The health
/// learns whether it answers, while nothing else says so.
///
/// # Errors
/// Ends with nothing else: transient, as what the place lacks is read again from its positions, or permanent if its
/// answers do not go with what was asked.
pub(crate) async fn look_out<A: Anchor>(
    job: JobName,
    anchor: A,
    health: Health,
    owned: Owned,
) -> Result<()> {
    loop {
        sleep(PAUSE).await;
        // Before the place is asked: what it answers is then never older than this, unless it is.
        let known = owned.all();
        let partitions: Vec<Partition> = known.iter().map(|(partition, _)| *partition).collect();
        let answer = anchor.probe(&job, &partitions).await;
        if health.is_quiet() {
            health.probed(answer.as_ref().err());
        }
        // One that does not answer is away; commits say so, or the health.
        if let Ok(Some(found)) = answer {
            compare(&anchor, &known, &found)?;
        }
    }
}

/// Asks the place once whether it still stands where these positions were claimed.
///
/// # Errors
/// Transient if it does not answer, or is an older self.
pub(crate) async fn check_is_not_older<A: Anchor>(
    job: &JobName,
    anchor: &A,
    claimed: &[(Partition, Position)],
) -> Result<()> {
    let partitions: Vec<Partition> = claimed.iter().map(|(partition, _)| *partition).collect();
    match anchor.probe(job, &partitions).await? {
        Some(found) => compare(anchor, claimed, &found),
        None => Ok(()),
    }
}

/// # Errors
/// If the place stands before what it has acknowledged.
fn compare<A: Anchor>(
    anchor: &A,
    known: &[(Partition, Position)],
    found: &[Position],
) -> Result<()> {
    if known.len() != found.len() {
        return Err(Error::permanent(format!(
            "look where {} partitions stand: the place answered with {} positions; this is a fault of the place's \
             `Anchor`",
            known.len(),
            found.len()
        )));
    }
    // A claim counts as a commit. Where another owner is ahead of this one, the source says so.
    let older = |known: &Position, found: &Position| {
        found.commit < known.commit || (found.commit == known.commit && found.owner != known.owner)
    };
    let mut pairs = known.iter().zip(found);
    match pairs.find(|((_, known), found)| older(known, found)) {
        Some(((partition, known), found)) => Err(an_older_self(anchor, *partition, known, found)),
        None => Ok(()),
    }
}

#[cold]
fn an_older_self<A: Anchor>(
    anchor: &A,
    partition: Partition,
    known: &Position,
    found: &Position,
) -> Error {
    let at = |position: &Position| {
        let offset =
            position.offset.map_or_else(|| "the beginning".to_owned(), |at| at.to_string());
        format!("commit {} (offset {offset})", position.commit)
    };
    Error::transient(format!(
        "look where {partition} stands in {}: it is at {}, and has acknowledged {}; the place has come back as an older \
         self (a replica that was behind, a backup), or the job was reset. What is missing there is read again; see to \
         it that the server acknowledges only what it cannot lose",
        anchor.place().kind(),
        at(found),
        at(known)
    ))
}
