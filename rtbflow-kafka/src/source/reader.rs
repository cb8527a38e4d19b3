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
//!
//! Here is the loop; what a rebalance does is in [`rebalance`](super::rebalance), how reading begins and goes on in
//! [`begin`](super::begin).

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rtbflow::epoch::JobName;
use rtbflow::source::{Layout, RawBatch, SourceEvent};
use rtbflow::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tracing::warn;

use crate::client::context::{Callbacks, Rebalance};
use crate::client::failure::{failure, kind};
use crate::client::offsets::{Offsets, positions};
use crate::client::option::Secrets;
use crate::source::assignment::Assigned;
use crate::source::end_offsets::OffsetLookup;
use crate::source::mailbox::{ReaderMailbox, TopicChange};
use crate::source::offset_commit::OffsetCommit;
use crate::source::partition_reader::Served;
use crate::source::range::made_anew;
use crate::source::rejoin::{self, Rejoin};

/// The longest sleep: what a lost wake-up costs.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// What the reader is made with.
pub(crate) struct ReaderSetup {
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
pub(crate) struct ReaderThread {
    pub(super) consumer: Arc<BaseConsumer<Callbacks>>,
    pub(super) plan: ReaderSetup,
    pub(super) mailbox: Arc<ReaderMailbox>,
    pub(super) lookup: OffsetLookup,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) generation: u64,
    pub(super) assigned: Option<Assigned>,
    pub(super) offset_commit: OffsetCommit,
    /// How often the client has found a topic with another id, as of the last check that was asked for.
    new_topic_ids: u64,
    /// Whether the client comes back to its group.
    pub(super) rejoin: Rejoin,
}

/// Why the thread ends.
enum ThreadEnd {
    /// The feed was closed or dropped.
    Closed,
    /// The source has to be opened again, or stopped.
    Failed(Error),
}

impl From<Error> for ThreadEnd {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl ReaderThread {
    /// A reader with a consumer that has subscribed to the topic of the group.
    pub(crate) fn new(
        consumer: Arc<BaseConsumer<Callbacks>>,
        plan: ReaderSetup,
        mailbox: Arc<ReaderMailbox>,
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
            rejoin: Rejoin::within(rejoin::PATIENCE),
        }
    }

    /// Reads until the feed is closed or something fails; then leaves the group.
    pub(crate) fn run(mut self) {
        let end = loop {
            if let Err(end) = self.run_once() {
                break end;
            }
        };
        if let ThreadEnd::Failed(error) = end {
            warn!("stop reading from Kafka: {}", error.report());
            // If the channel is full, the feed finds it closed behind what is in it, and says the same.
            let _ = self.events.try_send(Err(error));
        }
        self.leave();
    }

    fn run_once(&mut self) -> Result<(), ThreadEnd> {
        if self.events.is_closed() || self.mailbox.read(|slots| slots.close) {
            return Err(ThreadEnd::Closed);
        }
        // Events come before records: a batch that is delivered behind a revocation would be of a partition that
        // another instance may read already.
        self.serve_events()?;
        if let Some(rebalance) = self.consumer.context().take_rebalance() {
            // And nothing else in this round: what the mailbox holds may be about the assignment before.
            self.rebalance(rebalance)?;
            return Ok(());
        }
        self.check_brokers()?;
        // The ends come before the records: an end is a proof as of the time at which it was asked for, and is
        // delivered behind the records that were taken until then.
        self.read_mailbox()?;
        let served = if self.topics_are_checked() { self.serve() } else { Served::Idle };
        self.note_skipped()?;
        // Commits that wait for a coordinator hold up joining the group again.
        if self.offset_commit.is_due() && self.assigned.is_some() {
            self.offset_commit.commit(&self.consumer);
        }
        if served == Served::Idle {
            thread::park_timeout(LONGEST_SLEEP);
        }
        Ok(())
    }

    /// Ends where the client does not come back to its group: another one takes its place.
    fn check_brokers(&mut self) -> Result<()> {
        let all_down = self.consumer.context().take_all_down();
        match self.rejoin.has_failed(all_down, self.assigned.is_some()) {
            false => Ok(()),
            true => Err(Error::transient(format!(
                "read Kafka as a member of the group {}: the client has lost its brokers, and was assigned nothing for \
                 {:?}; the source is opened again",
                self.plan.job,
                rejoin::PATIENCE
            ))),
        }
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
        // So that a client that logs without end does not keep records from being delivered.
        const MOST_EVENTS: usize = 100;
        for _ in 0..MOST_EVENTS {
            let before = self.consumer.context().served();
            match self.consumer.poll(Duration::ZERO) {
                Some(Err(error)) => self.check_error(&error)?,
                Some(Ok(message)) => {
                    drop(message);
                    return Err(Error::transient(
                        "read Kafka: a record arrived on the consumer's queue, which is for events only; \
                         the source is opened again",
                    ));
                }
                // `poll` returns nothing for a log line or a rebalance as well: only when the context has seen
                // nothing either, the queue is empty.
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
        // Without a code it is the end of a partition, which proves nothing here: the ends are asked for.
        let Some(code) = fatal.or(error.rdkafka_error_code()) else { return Ok(()) };
        if fatal.is_none() && kind(code) == ErrorKind::Transient {
            return Ok(());
        }
        let hint = if kind(code) == ErrorKind::Fenced {
            ": another process has the same instance name; give each one of its own (KafkaTopic::instance)"
        } else {
            ""
        };
        let attempt = format!("read Kafka as a member of the group {}{hint}", self.plan.job);
        Err(Error::new(kind(code), attempt).because(code.to_string()))
    }

    fn rebalance(&mut self, rebalance: Rebalance) -> Result<()> {
        match rebalance {
            Rebalance::Assign(numbers) => self.accept(&numbers),
            Rebalance::Revoke => self.revoke(self.consumer.assignment_lost()),
        }
    }

    fn read_mailbox(&mut self) -> Result<()> {
        // All slots at once: a begin and the ends that belong to it are never read apart.
        let (begin, ends, committed, changed, refused) = self.mailbox.read(|slots| {
            let committed = std::mem::take(&mut slots.committed);
            let (begin, ends) = (slots.begin.take(), slots.ends.take());
            (begin, ends, committed, slots.changed.take(), slots.refused.take())
        });
        if let Some(error) = refused.or_else(|| self.topic_changed(changed?)) {
            return Err(error);
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

    /// The error that a topic is not any more as it was when the source was opened: it is opened again, or somebody
    /// has to look.
    fn topic_changed(&self, change: TopicChange) -> Option<Error> {
        Some(match change {
            TopicChange::Partitions(topic, count) => Error::transient(format!(
                "read {topic}: it has {count} partitions now, and had others when the source was opened"
            )),
            TopicChange::Recreated(topic, was, is) if self.plan.begins_anew => {
                Error::transient(format!("read {topic}: begin anew"))
                    .because(made_anew(topic, was, is))
            }
            TopicChange::Recreated(topic, was, is) => made_anew(topic, was, is),
        })
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

    fn serve(&mut self) -> Served {
        // Nothing is assigned: there is nothing to read until the group says so.
        let Some(assigned) = &mut self.assigned else { return Served::Idle };
        let round = assigned.serve(self.plan.most_records);
        if round.out_of_range {
            self.lookup.ask_starts(assigned.generation, assigned.offsets_to_validate());
        }
        round.served
    }

    /// Notes what was skipped, since it is never delivered.
    fn note_skipped(&mut self) -> Result<()> {
        if self.assigned.as_ref().is_some_and(Assigned::may_have_skipped) {
            let positions = self.positions()?;
            if let Some(assigned) = &mut self.assigned {
                assigned.skip_to(&positions);
            }
        }
        Ok(())
    }

    /// What came out of the native queues so far; a local call.
    pub(super) fn positions(&self) -> Result<Offsets> {
        let attempt = "ask librdkafka how far partitions were read";
        positions(&self.consumer).map_err(|error| self.failure(attempt, &error))
    }

    pub(super) fn assign(&self, list: &TopicPartitionList) -> Result<()> {
        let assigned = self.consumer.assign(list);
        assigned.map_err(|error| self.failure("assign partitions", &error))
    }

    pub(super) fn failure(&self, attempt: &str, error: &KafkaError) -> Error {
        failure(attempt, error, &self.plan.secrets)
    }
}
