//! How far a job has read, and who says so.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::log::Log;
use crate::time::Timestamp;

/// The name of a job: the same for all its instances, and the key of all that it keeps in the place.
/// With Kafka it is the consumer group too.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JobName(Arc<str>);

impl JobName {
    /// Checks a name.
    ///
    /// # Errors
    /// If it is empty, longer than 200 bytes, or has other characters than ASCII letters, digits, `.`,
    /// `_` and `-`.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = Self::unchecked(name.as_ref());
        name.check()?;
        Ok(name)
    }

    /// A name that may be one that [`check`](Self::check) refuses.
    pub(crate) fn unchecked(name: &str) -> Self {
        Self(name.into())
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn check(&self) -> Result<()> {
        let name = self.as_str();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 200 || !name.chars().all(legal) {
            return Err(Error::config(format!(
                "name a job {name:?}: up to 200 ASCII letters, digits, '.', '_' and '-' are allowed"
            )));
        }
        Ok(())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A task of a job: one co-group of partitions, the same whatever the number of instances.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    /// The task's number, from 0.
    pub number: u32,
    /// How many tasks the job has. State is laid out for this number.
    pub of: u32,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.number, self.of)
    }
}

impl Task {
    /// The error of a [claim](crate::epoch::Anchor::claim) on this task where `place` (a server and what it is) holds
    /// state of the job for another number of tasks: what was found, and each way out.
    #[cold]
    #[must_use]
    pub fn laid_out_for(self, tasks: impl fmt::Display, job: &JobName, place: &str) -> Error {
        Error::config(format!(
            "claim task {self} of job {job}: {place} holds its state for {tasks} tasks; the number of \
             tasks follows from the partition counts, and state cannot be laid out anew. If the source still \
             has every record, reset the job: remove positions, state and results together (`forget_with` of \
             the place), and start it again. If not, start it under another name with results of its own. \
             Before partitions are added the next time, run the job to its end (`until_end`): windows and \
             joins then leave no state behind"
        ))
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// How far a partition was read, as the place knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The offset of the next record to be read; `None` before the first commit.
    pub offset: Option<i64>,
    /// The highest event time so far, from which the partition's watermark follows; `None` before the
    /// first record.
    pub event_time: Option<Timestamp>,
    /// How often this position was claimed or committed.
    pub commit: u64,
    /// Who claimed it: a random number of the task's current life.
    pub owner: u64,
    /// Which log the offset is of; `None` where the source does not know, and where the position was written
    /// before positions had it: then it is taken on with the next commit.
    pub log: Option<Log>,
}

impl Position {
    /// Whether the place, standing at `self`, was moved there by the step to `to`.
    #[must_use]
    pub fn is(&self, to: &Self) -> bool {
        (self.commit, self.owner) == (to.commit, to.owner)
    }
}
