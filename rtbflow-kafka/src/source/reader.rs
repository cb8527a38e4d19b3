//! The thread that reads: one for each opened source, woken when there is something to do.
//!
//! ```text
//!   broker ─▶ native queue per partition ─▶ PartitionReader ─▶ channel of two batches ─▶ task
//!               (bounded in bytes)          ▲
//!   consumer queue (events only) ─▶ poll ───┤ rebalance, errors
//!   mailbox ─▶ begin, ends, committed, close┘
//! ```
//!
//! The consumer is only ever *polled*, for events; records come by batches out of the partitions' own
//! native queues, and only where the task's channel has capacity, so the native queues are the
//! back-pressure and nothing is paused or resumed. A batch call on the consumer's own queue would
//! swallow rebalances.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::epoch::JobName;
use rtbflow::source::{Assignment, Layout, RawBatch, Revocation, SourceEvent};
use rtbflow::{Error, ErrorKind, Partition, Result};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::client::context::{Context, Rebalance};
use crate::client::deadline::Deadline;
use crate::client::failure::{failure, kind};
use crate::client::native::Queue;
use crate::client::offsets::Offsets;
use crate::client::option::Secrets;
use crate::source::assignment::{self, Assigned, Begun};
use crate::source::end_offsets::OffsetLookup;
use crate::source::mailbox::{Begin, EndOffsets, Mailbox, StartOffsets, TopicChange};
use crate::source::offset_commit::OffsetCommit;
use crate::source::partition_reader::Served;
use crate::source::range::made_anew;
use crate::source::watchdog::Advice;

/// The longest sleep: what a lost wake-up costs.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// How long records that tasks still have may keep the consumer from being closed.
const LONGEST_WAIT_FOR_RECORDS: Duration = Duration::from_secs(1);
/// How soon it is seen that they are gone.
const POLL_WHILE_LEAVING: Duration = Duration::from_millis(5);

/// What the reader is made with.
pub(crate) struct Plan {
    /// Whose partitions they are: a label of what is measured.
    pub(crate) job: JobName,
    /// Topics and tasks.
    pub(crate) layout: Layout,
    /// Whether reading begins anew where the log does not hold a position.
    pub(crate) begins_anew: bool,
    /// Where each partition is to end; empty to go on for ever.
    pub(crate) until: Offsets,
    /// Messages in one batch at most.
    pub(crate) most_records: usize,
    /// Answers without progress before a partition is assigned again.
    pub(crate) patience: u32,
    /// How long a rebalance may wait for the last commits.
    pub(crate) grace: Duration,
    /// Whether the group knows this instance by name.
    pub(crate) named: bool,
    /// What must not be printed.
    pub(crate) secrets: Secrets,
}

pub(crate) type Event = Result<SourceEvent<RawBatch>>;

/// The state of the reading thread.
pub(crate) struct Reader {
    consumer: Arc<BaseConsumer<Context>>,
    plan: Plan,
    mailbox: Arc<Mailbox>,
    lookup: OffsetLookup,
    events: mpsc::Sender<Event>,
    generation: u64,
    assigned: Option<Assigned>,
    offset_commit: OffsetCommit,
    /// How often the client has found a topic with another id, as of the last check that was asked for.
    new_topic_ids: u64,
}

/// Why the thread ends.
enum End {
    /// The feed was closed or dropped.
    Closed,
    /// The source has to be opened again, or stopped.
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Reader {
    /// A reader with a consumer that has subscribed to the topic of the group.
    pub(crate) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        plan: Plan,
        mailbox: Arc<Mailbox>,
        lookup: OffsetLookup,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (assigned, offset_commit) = (None, OffsetCommit::new());
        Self {
            consumer,
            plan,
            mailbox,
            lookup,
            events,
            generation: 0,
            assigned,
            offset_commit,
            new_topic_ids: 0,
        }
    }

    /// Reads until the feed is closed or something fails; then leaves the group.
    pub(crate) fn run(mut self) {
        let end = loop {
            if let Err(end) = self.run_once() {
                break end;
            }
        };
        if let End::Failed(error) = end {
            warn!("stop reading from Kafka: {}", error.report());
            // If the channel is full, the feed finds it closed.
            let _ = self.events.try_send(Err(error));
        }
        self.leave();
    }

    fn run_once(&mut self) -> Result<(), End> {
        if self.events.is_closed() || self.mailbox.read(|slots| slots.close) {
            return Err(End::Closed);
        }
        self.serve_events()?;
        if let Some(rebalance) = self.consumer.context().take_rebalance() {
            self.rebalance(rebalance)?;
            return Ok(());
        }
        self.read_mailbox()?;
        let served = if self.topics_are_checked() { self.serve() } else { Served::Idle };
        self.note_skipped();
        // Commits that wait for a coordinator hold up joining the group again.
        if self.offset_commit.is_due() && self.assigned.is_some() {
            self.offset_commit.commit(&self.consumer);
        }
        if served == Served::Idle {
            thread::park_timeout(LONGEST_SLEEP);
        }
        Ok(())
    }

    /// Whether the topics are known to be those of the positions. What comes after the client has found one with
    /// another id may be of a topic made anew: nothing of it is delivered before that was checked.
    fn topics_are_checked(&mut self) -> bool {
        let new_topic_ids = self.consumer.context().new_topic_ids();
        if new_topic_ids != self.new_topic_ids {
            self.new_topic_ids = new_topic_ids;
            self.lookup.check_topics(new_topic_ids);
        }
        self.new_topic_ids == 0 || self.mailbox.read(|slots| slots.checked) == self.new_topic_ids
    }

    /// Serves the consumer's events. Records never come this way.
    fn serve_events(&mut self) -> Result<()> {
        const MOST_EVENTS: usize = 100;
        for _ in 0..MOST_EVENTS {
            let before = self.consumer.context().served();
            match self.consumer.poll(Duration::ZERO) {
                Some(Err(error)) => self.check_error(&error)?,
                Some(Ok(message)) => {
                    drop(message);
                    return Err(Error::transient(
                        "read Kafka: a record arrived on the consumer's queue, which is for events only",
                    ));
                }
                None if self.consumer.context().served() == before => break,
                None => {}
            }
        }
        Ok(())
    }

    /// Most errors pass by themselves, and librdkafka goes on trying; some need another consumer or
    /// somebody's help.
    fn check_error(&self, error: &KafkaError) -> Result<()> {
        let fatal = self.consumer.client().fatal_error().map(|(code, _)| code);
        let Some(code) = fatal.or(error.rdkafka_error_code()) else { return Ok(()) };
        if fatal.is_none() && kind(code) == ErrorKind::Transient {
            return Ok(());
        }
        let fenced = kind(code) == ErrorKind::Fenced;
        let hint = if fenced {
            ": another process has the same instance name; give each one of its own (KafkaTopic::instance)"
        } else {
            ""
        };
        let attempt = format!("read Kafka as a member of the group{hint}");
        Err(Error::new(kind(code), attempt).because(code.to_string()))
    }

    fn rebalance(&mut self, rebalance: Rebalance) -> Result<()> {
        match rebalance {
            Rebalance::Assign(numbers) => self.accept(&numbers),
            Rebalance::Revoke => self.revoke(self.consumer.assignment_lost()),
        }
    }

    /// Takes over what the group gives. Nothing is assigned yet: that waits for the positions, while
    /// the group is answered at once.
    fn accept(&mut self, numbers: &[i32]) -> Result<()> {
        if self.assigned.is_some() {
            self.revoke(true)?;
        }
        self.assign(&TopicPartitionList::new())?;
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
        let mailbox = Arc::clone(&self.mailbox);
        let assignment = Assignment::new(inputs, move |positions| {
            mailbox.update(|slots| slots.begin = Some(Begin { generation, positions }));
        });
        self.send(SourceEvent::Assigned(assignment))
    }

    /// Gives the tasks back: waits for their last commits, unless another instance may own them already.
    fn revoke(&mut self, lost: bool) -> Result<()> {
        let Some(assigned) = self.assigned.take() else {
            return self.unassign();
        };
        self.lookup.watch(Vec::new());
        if !assigned.tasks.is_empty() {
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
        }
        self.unassign()?;
        assigned.unforward();
        Ok(())
    }

    fn wait_for_release(&self, generation: u64, deadline: Deadline) {
        let waits = || {
            let answered = |slots: &mut crate::source::mailbox::Slots| {
                slots.released >= generation || slots.close
            };
            !self.mailbox.read(answered) && !self.consumer.assignment_lost()
        };
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

    fn read_mailbox(&mut self) -> Result<()> {
        let (begin, ends, committed, changed) = self.mailbox.read(|slots| {
            let committed = std::mem::take(&mut slots.committed);
            (slots.begin.take(), slots.ends.take(), committed, slots.changed.take())
        });
        if let Some(error) = self.mailbox.read(|slots| slots.refused.take()) {
            return Err(error);
        }
        match changed {
            Some(TopicChange::Partitions(topic, count)) => {
                return Err(Error::transient(format!(
                    "read {topic}: it has {count} partitions now, and had others when the source was opened"
                )));
            }
            Some(TopicChange::Recreated(topic, was, is)) => {
                let error = made_anew(topic, was, is);
                let begin_anew = || Error::transient(format!("read {topic}: begin anew"));
                return Err(if self.plan.begins_anew {
                    begin_anew().because(error)
                } else {
                    error
                });
            }
            None => {}
        }
        if let Some(assigned) = &mut self.assigned {
            assigned.committed(&committed);
        }
        self.offset_commit.note(committed);
        #[cfg(test)]
        self.sabotage();
        if let Some(begin) = begin {
            self.prepare(begin);
        }
        if let Some(ends) = ends {
            self.note_ends(&ends)?;
        }
        Ok(())
    }

    /// Stops forwarding, as a fault would, for as long as a test says so; one that lasts stops fetching.
    #[cfg(test)]
    fn sabotage(&self) {
        if let (Some(assigned), Some(fetches)) =
            (&self.assigned, self.mailbox.read(|slots| slots.fetches))
        {
            let list = assigned.list().unwrap();
            match fetches {
                true => self.consumer.resume(&list).unwrap(),
                false => self.consumer.pause(&list).unwrap(),
            }
            self.mailbox.read(|slots| slots.fetches = None);
        }
        let faults = self.mailbox.read(|slots| {
            slots.faults = slots.faults.saturating_sub(1);
            slots.faults
        });
        let Some(assigned) = self.assigned.as_ref().filter(|_| faults > 0) else { return };
        assigned.unforward();
        if faults > 1000 {
            self.consumer.pause(&assigned.list().unwrap()).unwrap();
        }
    }

    /// Takes the claimed positions and asks where the partitions begin and end now.
    fn prepare(&mut self, begin: Begin) {
        let Some(assigned) = &mut self.assigned else { return };
        if assigned.prepare(begin) {
            self.lookup.watch(assigned.partitions());
            self.lookup.ask_starts(assigned.generation, assigned.offsets_to_validate());
        }
    }

    fn note_ends(&mut self, ends: &EndOffsets) -> Result<()> {
        if let Some(starts) = &ends.starts
            && self
                .assigned
                .as_ref()
                .is_some_and(|assigned| assigned.generation == starts.generation)
        {
            self.begin(starts, &ends.ends)?;
        }
        let positions = self.positions();
        let Some(assigned) = &mut self.assigned else { return Ok(()) };
        match assigned.note_ends(ends, &positions) {
            Advice::Nothing | Advice::Forward => Ok(()),
            Advice::Assign => {
                warn!("assign all partitions again, each at its position");
                self.assign_all()
            }
            Advice::Reopen => Err(Error::transient(
                "read Kafka: librdkafka delivers no record of a partition, although it was assigned again",
            )),
        }
    }

    /// Begins to read, now that starts and ends are known; fails what was out of range.
    fn begin(&mut self, starts: &StartOffsets, ends: &Offsets) -> Result<()> {
        let Some(assigned) = &mut self.assigned else { return Ok(()) };
        let queue = || Queue::new(&self.consumer, thread::current(), self.plan.most_records);
        let anew = self.plan.begins_anew;
        let begun = assigned.begin(starts, ends, anew, queue)?;
        assigned.fail_out_of_range(starts, ends, anew);
        match begun {
            Begun::Nothing => Ok(()),
            Begun::Unknown => {
                self.lookup.ask_starts(assigned.generation, assigned.offsets_to_validate());
                Ok(())
            }
            Begun::All => self.assign_all(),
        }
    }

    /// Assigns every open partition where it stands, forwarded to its own queue before and after.
    fn assign_all(&self) -> Result<()> {
        let Some(assigned) = &self.assigned else { return Ok(()) };
        let list = assigned.list().map_err(|error| self.failure("assign partitions", &error))?;
        assigned.forward();
        self.assign(&list)?;
        assigned.forward();
        Ok(())
    }

    fn serve(&mut self) -> Served {
        let Some(assigned) = &mut self.assigned else { return Served::Idle };
        let round = assigned.serve(self.plan.most_records);
        if round.out_of_range {
            self.lookup.ask_starts(assigned.generation, assigned.offsets_to_validate());
        }
        round.served
    }

    /// Notes what was skipped, since it is never delivered.
    fn note_skipped(&mut self) {
        if self.assigned.as_ref().is_some_and(Assigned::may_have_skipped) {
            let positions = self.positions();
            if let Some(assigned) = &mut self.assigned {
                assigned.skip_to(&positions);
            }
        }
    }

    /// What came out of the native queues so far; a local call. Partitions that nothing came from yet
    /// are not in it.
    fn positions(&self) -> Offsets {
        let list = self.consumer.position().ok();
        let elements = list.iter().flat_map(TopicPartitionList::elements);
        let known = elements.filter_map(|element| match element.offset() {
            Offset::Offset(offset) => {
                let topic = rtbflow::Topic::new(element.topic());
                Some((Partition::new(topic, element.partition()), offset))
            }
            Offset::Beginning
            | Offset::End
            | Offset::Stored
            | Offset::Invalid
            | Offset::OffsetTail(_) => None,
        });
        known.collect()
    }

    fn assign(&self, list: &TopicPartitionList) -> Result<()> {
        let assigned = self.consumer.assign(list);
        assigned.map_err(|error| self.failure("assign partitions", &error))
    }

    fn unassign(&self) -> Result<()> {
        let unassigned = self.consumer.unassign();
        unassigned.map_err(|error| self.failure("give partitions back", &error))
    }

    fn failure(&self, attempt: &str, error: &KafkaError) -> Error {
        failure(attempt, error, &self.plan.secrets)
    }

    fn send(&self, event: SourceEvent<RawBatch>) -> Result<()> {
        let sent = self.events.try_send(Ok(event));
        sent.map_err(|_| Error::transient("read Kafka: the job does not take the group's events"))
    }

    /// Leaves the group; the consumer is dropped here, where it may wait for its broker.
    fn leave(mut self) {
        let rest = self.mailbox.read(|slots| std::mem::take(&mut slots.committed));
        self.offset_commit.note(rest);
        self.offset_commit.commit(&self.consumer);
        let assigned = self.assigned.take();
        if let Err(error) = self.unassign() {
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
