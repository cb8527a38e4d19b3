//! What the group gives and takes back: tasks are accepted, revoked and, at the end, left.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::TopicPartitionList;
use rtbflow::source::{Assignment, RawBatch, Revocation, SourceEvent};
use rtbflow::{Error, Result};
use tracing::{debug, info, warn};

use crate::client::deadline::Deadline;
use crate::source::assignment::{self, Assigned};
use crate::source::mailbox::{Begin, Slots};
use crate::source::reader::{LONGEST_SLEEP, ReaderThread};

/// How long records that tasks still have may keep the consumer from being closed.
const LONGEST_WAIT_FOR_RECORDS: Duration = Duration::from_secs(1);
/// How soon it is seen that they are gone.
const POLL_WHILE_LEAVING: Duration = Duration::from_millis(5);

impl ReaderThread {
    /// Takes over what the group gives. Nothing is assigned yet: that waits for the positions, while
    /// the group is answered at once.
    pub(super) fn accept(&mut self, numbers: &[i32]) -> Result<()> {
        if self.assigned.is_some() {
            // An assignment that comes without a revocation before it: whoever has those tasks now did not wait.
            self.revoke(true)?;
        }
        // Empty, and only so that the group goes on: an assignment without positions would fetch from where
        // librdkafka thinks fit.
        self.assign(&TopicPartitionList::new())?;
        // What was claimed for the assignment before may still be on its way.
        self.generation += 1;
        let generation = self.generation;
        let open = |partition| {
            let until = self.plan.until.get(&partition).copied();
            assignment::open(&self.plan.job, partition, until, self.plan.patience, &self.mailbox)
        };
        let (assigned, inputs) = Assigned::new(generation, numbers, &self.plan.layout, open)?;
        info!(tasks = ?assigned.tasks.iter().map(|task| task.number).collect::<Vec<_>>(),
            of = self.plan.layout.tasks(), "the group gives these tasks to this instance");
        self.assigned = Some(assigned);
        self.rejoin.note_assigned();
        let mailbox = Arc::clone(&self.mailbox);
        let assignment = Assignment::new(inputs, move |positions| {
            mailbox.update(|slots| slots.begin = Some(Begin { generation, positions }));
        });
        self.send(SourceEvent::Assigned(assignment))
    }

    /// Gives the tasks back: waits for their last commits, unless another instance may own them already.
    pub(super) fn revoke(&mut self, lost: bool) -> Result<()> {
        let Some(assigned) = self.assigned.take() else {
            // There was nothing, but the group waits for an answer all the same.
            return self.unassign();
        };
        self.lookup.watch(Vec::new());
        if !assigned.tasks.is_empty() {
            self.release(&assigned, lost)?;
        }
        // Only now: the group gives the tasks to others as soon as it has this answer.
        self.unassign()?;
        assigned.unforward();
        Ok(())
    }

    /// Lets the tasks commit what they have, and waits for that.
    fn release(&mut self, assigned: &Assigned, lost: bool) -> Result<()> {
        let (mailbox, generation) = (Arc::clone(&self.mailbox), assigned.generation);
        let deadline = if lost { Duration::ZERO } else { self.plan.grace };
        let done = move || mailbox.update(|slots| slots.released = generation);
        let tasks = assigned.tasks.clone();
        self.send(SourceEvent::Revoked(Revocation::new(tasks, lost, deadline, done)))?;
        if lost {
            warn!(
                "the consumer group revoked all tasks: it heard no heartbeat of this instance in time"
            );
        } else {
            self.wait_for_release(generation, Deadline::after(deadline));
            self.offset_commit.commit(&self.consumer);
        }
        Ok(())
    }

    fn wait_for_release(&self, generation: u64, deadline: Deadline) {
        let answered = |slots: &mut Slots| slots.released >= generation || slots.close;
        // An assignment that gets lost meanwhile is somebody else's: nothing that is waited for could be committed.
        let waits = || !self.mailbox.read(answered) && !self.consumer.assignment_lost();
        while waits() {
            if deadline.is_over() {
                warn!(
                    "the tasks did not commit in time for the rebalance; what they have not committed is \
                     dropped"
                );
                return;
            }
            thread::park_timeout(deadline.left().min(LONGEST_SLEEP));
        }
    }

    fn unassign(&self) -> Result<()> {
        let unassigned = self.consumer.unassign();
        unassigned.map_err(|error| self.failure("give partitions back", &error))
    }

    fn send(&self, event: SourceEvent<RawBatch>) -> Result<()> {
        let sent = self.events.try_send(Ok(event));
        sent.map_err(|_| Error::transient("read Kafka: the job does not take the group's events"))
    }

    /// Leaves the group; the consumer is dropped here, where it may wait for its broker.
    pub(super) fn leave(mut self) {
        let rest = self.mailbox.read(|slots| std::mem::take(&mut slots.committed));
        self.offset_commit.note(rest);
        self.offset_commit.commit(&self.consumer);
        let assigned = self.assigned.take();
        if let Err(error) = self.unassign() {
            // The group finds out by itself that a member is gone.
            debug!("{}", error.report());
        }
        if let Some(assigned) = assigned {
            assigned.unforward();
        }
        self.consumer.context().close();
        self.wait_for_records();
        drop(self);
        debug!("left the group");
    }

    /// Waits for records that tasks still have, since the client ends with the last of them. The group is
    /// not kept waiting, unless it knows this instance by name: then leaving would be for good.
    fn wait_for_records(&self) {
        let deadline = Deadline::after(LONGEST_WAIT_FOR_RECORDS);
        let is_held = || Arc::strong_count(&self.consumer) > 1;
        if is_held() && !self.plan.named {
            self.consumer.unsubscribe();
        }
        while is_held() && !deadline.is_over() {
            // A revocation is answered here; records do not come.
            drop(self.consumer.poll(POLL_WHILE_LEAVING));
        }
    }
}
