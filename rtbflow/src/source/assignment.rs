//! What a source says that this instance has to read, and what not any more.

use std::fmt;
use std::time::Duration;

use futures::stream::BoxStream;

use crate::error::Result;
use crate::position::{Position, Task};
use crate::record::Partition;
use crate::source::delivery::Delivery;

/// A change of what this instance has to do.
#[derive(Debug)]
pub enum SourceEvent<B> {
    /// These tasks are this instance's now.
    Assigned(Assignment<B>),
    /// These tasks are revoked.
    Revoked(Revocation),
}

/// Tasks that are this instance's from now on.
pub struct Assignment<B> {
    /// The tasks with their input. May be empty: another instance has them all.
    pub tasks: Vec<TaskInput<B>>,
    begin: Option<Box<dyn FnOnce(Vec<(Partition, Position)>) + Send>>,
}

impl<B> Assignment<B> {
    /// An assignment; `begin` is called once, with the claimed positions of all its partitions but those
    /// that were revoked meanwhile, and starts the reading. If it is dropped instead, the assignment was
    /// given up.
    #[must_use]
    pub fn new(
        tasks: Vec<TaskInput<B>>,
        begin: impl FnOnce(Vec<(Partition, Position)>) + Send + 'static,
    ) -> Self {
        Self { tasks, begin: Some(Box::new(begin)) }
    }

    /// Starts the reading at these positions.
    pub fn begin(&mut self, positions: Vec<(Partition, Position)>) {
        // A second time, reading has begun.
        if let Some(begin) = self.begin.take() {
            begin(positions);
        }
    }
}

impl<B> fmt::Debug for Assignment<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tasks.iter().map(|input| input.task)).finish()
    }
}

/// A task and its partitions.
#[non_exhaustive]
pub struct TaskInput<B> {
    /// The task.
    pub task: Task,
    /// Its partitions, in the same order in every life of the task.
    pub partitions: Vec<PartitionInput<B>>,
}

impl<B> TaskInput<B> {
    /// A task with these partitions.
    #[must_use]
    pub fn new(task: Task, partitions: Vec<PartitionInput<B>>) -> Self {
        Self { task, partitions }
    }
}

impl<B> fmt::Debug for TaskInput<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.partitions.iter().map(|input| input.partition)).finish()
    }
}

/// One partition of a task.
#[non_exhaustive]
pub struct PartitionInput<B> {
    /// The partition.
    pub partition: Partition,
    /// What is read of it, from the position given to [`Assignment::begin`] on. Bounded: it holds little
    /// and waits for its reader. That it ends says nothing; [`Delivery::Finished`] does.
    pub deliveries: BoxStream<'static, Result<Delivery<B>>>,
}

impl<B> PartitionInput<B> {
    /// A partition, and what is read of it.
    #[must_use]
    pub fn new(partition: Partition, deliveries: BoxStream<'static, Result<Delivery<B>>>) -> Self {
        Self { partition, deliveries }
    }
}

impl<B> fmt::Debug for PartitionInput<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionInput({})", self.partition)
    }
}

/// Tasks that are revoked: the job gives them back. When it is dropped, the source gives them up.
pub struct Revocation {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Whether another instance may own them already: then nothing can be committed any more.
    pub lost: bool,
    /// How long the source can wait for the last commits.
    pub deadline: Duration,
    done: Option<Box<dyn FnOnce() + Send>>,
}

impl Revocation {
    /// A revocation; `done` is called when it is dropped.
    #[must_use]
    pub fn new(
        tasks: Vec<Task>,
        lost: bool,
        deadline: Duration,
        done: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self { tasks, lost, deadline, done: Some(Box::new(done)) }
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done();
        }
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = if self.lost { ", lost" } else { "" };
        write!(f, "Revocation({:?}{lost})", self.tasks)
    }
}
