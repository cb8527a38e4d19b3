//! The thread that reads: one for each opened source, woken when there is something to do.
//!
//! ```text
//!   broker ─▶ native queue a partition ─▶ Inlet ─▶ channel of two batches ─▶ task
//!               (bounded in bytes)          ▲
//!   consumer queue (events only) ─▶ poll ───┤ rebalance, errors
//!   mailbox ─▶ begin, ends, committed, close┘
//! ```
//!
//! The consumer is only ever *polled*, for events; records come by batches out of the partitions' own
//! native queues, and only where the task's channel has room, so the native queues are the
//! back-pressure and nothing is paused or resumed. A batch call on the consumer's own queue would
//! swallow rebalances.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow::epoch::{Position, Task};
use rtbflow::source::{Assignment, PartitionInput, RawBatch, Revocation, SourceEvent, TaskInput};
use rtbflow::{Error, ErrorKind, Partition, Result};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::context::{Context, Rebalance};
use crate::deadline::Deadline;
use crate::ends::{Asker, Ends};
use crate::failure::{failure, kind};
use crate::inlet::{Inlet, Served};
use crate::layout::Layout;
use crate::mailbox::{Begin, Mailbox};
use crate::native::Queue;
use crate::option::Secrets;
use crate::range::begin_at;
use crate::watchdog::Advice;

/// The longest sleep: what a lost wake-up costs.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);
/// The pause between two commits of the group's own offsets.
const COMMIT_PAUSE: Duration = Duration::from_secs(1);

/// What the reader is told when it is made.
pub(crate) struct Plan {
    /// Topics and tasks.
    pub(crate) layout: Layout,
    /// Where each partition is to end; empty to go on for ever.
    pub(crate) until: BTreeMap<Partition, i64>,
    /// Messages in one batch at most.
    pub(crate) most_records: usize,
    /// Answers without progress before a partition is assigned again.
    pub(crate) patience: u32,
    /// How long a rebalance may wait for the last commits.
    pub(crate) grace: Duration,
    /// What must not be printed.
    pub(crate) secrets: Secrets,
}

/// What the group has given to this instance.
struct Given {
    generation: u64,
    tasks: Vec<Task>,
    inlets: Vec<Inlet>,
    /// The claimed positions, until reading begins.
    positions: Option<BTreeMap<Partition, Position>>,
}

pub(crate) type Event = Result<SourceEvent<RawBatch>>;

/// The state of the reading thread.
pub(crate) struct Reader {
    consumer: Arc<BaseConsumer<Context>>,
    plan: Plan,
    mailbox: Arc<Mailbox>,
    asker: Asker,
    events: mpsc::Sender<Event>,
    generation: u64,
    given: Option<Given>,
    /// Offsets to tell the group, and when.
    committed: BTreeMap<Partition, i64>,
    next_commit: Deadline,
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
    /// A reader with a consumer that has subscribed to the lead topic.
    pub(crate) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        plan: Plan,
        mailbox: Arc<Mailbox>,
        asker: Asker,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let next_commit = Deadline::after(COMMIT_PAUSE);
        let (given, committed) = (None, BTreeMap::new());
        Self {
            consumer,
            plan,
            mailbox,
            asker,
            events,
            generation: 0,
            given,
            committed,
            next_commit,
        }
    }

    /// Reads until the feed is closed or something fails; then leaves the group.
    pub(crate) fn run(mut self) {
        let end = loop {
            if let Err(end) = self.round() {
                break end;
            }
        };
        if let End::Failed(error) = end {
            warn!("stop reading from Kafka: {}", error.report());
            // If there is no room, the feed finds the channel closed.
            let _ = self.events.try_send(Err(error));
        }
        self.leave();
    }

    fn round(&mut self) -> Result<(), End> {
        if self.events.is_closed() || self.mailbox.look(|slots| slots.close) {
            return Err(End::Closed);
        }
        self.serve_events()?;
        if let Some(rebalance) = self.consumer.context().take_rebalance() {
            self.rebalance(rebalance)?;
            return Ok(());
        }
        self.read_mailbox()?;
        let served = self.serve();
        self.look_for_the_end();
        if self.next_commit.is_over() {
            self.commit();
        }
        if served == Served::Idle {
            thread::park_timeout(LONGEST_SLEEP);
        }
        Ok(())
    }

    /// Serves the consumer's events. Records never come this way.
    fn serve_events(&mut self) -> Result<()> {
        const MOST_EVENTS: usize = 100;
        for _ in 0..MOST_EVENTS {
            let before = self.consumer.context().served();
            match self.consumer.poll(Duration::ZERO) {
                Some(Err(error)) => self.judge(&error)?,
                Some(Ok(message)) => {
                    drop(message);
                    return Err(Error::transient(
                        "read Kafka: a record came by a way that none may",
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
    fn judge(&self, error: &KafkaError) -> Result<()> {
        let fatal = self.consumer.client().fatal_error().map(|(code, _)| code);
        let Some(code) = fatal.or(error.rdkafka_error_code()) else { return Ok(()) };
        if fatal.is_none() && kind(code) == ErrorKind::Transient {
            return Ok(());
        }
        let fenced = kind(code) == ErrorKind::Fenced;
        let hint = if fenced { ": another process has the same instance name" } else { "" };
        let attempt = format!("read Kafka as a member of the group{hint}");
        Err(Error::new(kind(code), attempt).because(code.to_string()))
    }

    fn rebalance(&mut self, rebalance: Rebalance) -> Result<()> {
        match rebalance {
            Rebalance::Assign(leads) => self.accept(&leads),
            Rebalance::Revoke => self.give_back(self.consumer.assignment_lost()),
        }
    }

    /// Takes over what the group gives. Nothing is assigned yet: that waits for the positions, while
    /// the group is told at once that all is well.
    fn accept(&mut self, leads: &[i32]) -> Result<()> {
        if self.given.is_some() {
            self.give_back(true)?;
        }
        self.assign(&TopicPartitionList::new())?;
        self.generation += 1;
        let generation = self.generation;
        let (mut tasks, mut inlets, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
        for lead in leads {
            let (task, members) = self.plan.layout.task(*lead).ok_or_else(|| self.grown(*lead))?;
            let opened = members.into_iter().map(|partition| {
                let until = self.plan.until.get(&partition).copied().unwrap_or(i64::MAX);
                let mailbox = Arc::clone(&self.mailbox);
                let (inlet, deliveries) = Inlet::new(partition, until, self.plan.patience, mailbox);
                (inlet, PartitionInput { partition, deliveries })
            });
            let (opened, partitions): (Vec<_>, Vec<_>) = opened.unzip();
            inlets.extend(opened);
            tasks.push(task);
            inputs.push(TaskInput { task, partitions });
        }
        info!(tasks = ?tasks.iter().map(|task| task.number).collect::<Vec<_>>(), of = self.plan.layout.tasks(),
            "the group gives these tasks to this instance");
        self.given = Some(Given { generation, tasks, inlets, positions: None });
        let mailbox = Arc::clone(&self.mailbox);
        let assignment = Assignment::new(inputs, move |positions| {
            mailbox.put(|slots| slots.begin = Some(Begin { generation, positions }));
        });
        self.send(SourceEvent::Assigned(assignment))
    }

    fn grown(&self, lead: i32) -> Error {
        let topic = self.plan.layout.lead().map_or("", rtbflow::Topic::name);
        let tasks = self.plan.layout.tasks();
        Error::transient(format!(
            "read {topic}: it has got a partition {lead}, and had {tasks} when it was opened"
        ))
    }

    /// Hands the tasks back: waits for their last commits, unless another instance may own them already.
    fn give_back(&mut self, lost: bool) -> Result<()> {
        let Some(given) = self.given.take() else {
            return self.unassign();
        };
        self.asker.watch(Vec::new());
        if !given.tasks.is_empty() {
            let (mailbox, generation) = (Arc::clone(&self.mailbox), given.generation);
            let deadline = if lost { Duration::ZERO } else { self.plan.grace };
            let done = move || mailbox.put(|slots| slots.released = generation);
            let tasks = given.tasks.clone();
            self.send(SourceEvent::Revoked(Revocation::new(tasks, lost, deadline, done)))?;
            if lost {
                warn!("the group has taken all tasks: this instance was not heard for too long");
            } else {
                self.wait_for_release(generation, Deadline::after(deadline));
                self.commit();
            }
        }
        self.unassign()?;
        for inlet in &given.inlets {
            if let Some(queue) = &inlet.queue {
                queue.unforward(inlet.partition.topic.name(), inlet.partition.number);
            }
        }
        Ok(())
    }

    fn wait_for_release(&self, generation: u64, deadline: Deadline) {
        let waits = || {
            let answered =
                |slots: &mut crate::mailbox::Slots| slots.released >= generation || slots.close;
            !self.mailbox.look(answered) && !self.consumer.assignment_lost()
        };
        while waits() {
            if deadline.is_over() {
                warn!(
                    "the tasks did not commit in time for the rebalance; what they hold is dropped"
                );
                return;
            }
            thread::park_timeout(deadline.left().min(LONGEST_SLEEP));
        }
    }

    fn read_mailbox(&mut self) -> Result<()> {
        let (begin, ends, committed) = self.mailbox.look(|slots| {
            let committed = std::mem::take(&mut slots.committed);
            (slots.begin.take(), slots.ends.take(), committed)
        });
        self.committed.extend(committed);
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
        let faults = self.mailbox.look(|slots| {
            slots.faults = slots.faults.saturating_sub(1);
            slots.faults
        });
        for inlet in self.given.iter().flat_map(|given| &given.inlets).filter(|_| faults > 0) {
            let Partition { topic, number } = inlet.partition;
            if let Some(queue) = &inlet.queue {
                queue.unforward(topic.name(), number);
            }
            if faults > 1000 {
                let mut list = TopicPartitionList::new();
                list.add_partition(topic.name(), number);
                self.consumer.pause(&list).unwrap();
            }
        }
    }

    /// Takes the claimed positions and asks where the partitions begin and end now.
    fn prepare(&mut self, begin: Begin) {
        let Some(given) = &mut self.given else { return };
        if given.generation != begin.generation || given.inlets.is_empty() {
            return;
        }
        given.positions = Some(begin.positions.into_iter().collect());
        self.asker.watch(given.inlets.iter().map(|inlet| inlet.partition).collect());
        self.asker.ask_starts(given.generation);
    }

    fn note_ends(&mut self, ends: &Ends) -> Result<()> {
        if let Some((generation, starts)) = &ends.starts
            && self.given.as_ref().is_some_and(|given| given.generation == *generation)
        {
            self.begin(starts, &ends.ends)?;
            self.settle_doubts(starts, &ends.ends);
        }
        let positions = self.positions();
        let Some(given) = &mut self.given else { return Ok(()) };
        let mut worst = Advice::Nothing;
        for inlet in &mut given.inlets {
            let Some(end) = ends.ends.get(&inlet.partition) else { continue };
            let position = positions.get(&inlet.partition).copied().unwrap_or(-1);
            let advice = inlet.ends_at(*end, position, ends.asked);
            match (advice, &inlet.queue) {
                (Advice::Forward, Some(queue)) => {
                    queue.forward(inlet.partition.topic.name(), inlet.partition.number);
                }
                (Advice::Assign | Advice::Reopen, _) => {
                    warn!(partition = %inlet.partition, at = inlet.next, end,
                        "the partition has records but hands none over");
                    worst = if worst == Advice::Reopen { worst } else { advice };
                }
                _ => {}
            }
        }
        match worst {
            Advice::Nothing | Advice::Forward => Ok(()),
            Advice::Assign => {
                warn!("assign all partitions again, each where it stands");
                self.assign_all()
            }
            Advice::Reopen => Err(Error::transient(
                "read Kafka: a partition hands nothing over although it was assigned again",
            )),
        }
    }

    /// Begins to read, now that positions, starts and ends are known.
    fn begin(
        &mut self,
        starts: &BTreeMap<Partition, i64>,
        ends: &BTreeMap<Partition, i64>,
    ) -> Result<()> {
        let Some(given) = &mut self.given else { return Ok(()) };
        let Some(positions) = given.positions.take() else { return Ok(()) };
        let known = |inlet: &Inlet| {
            starts.contains_key(&inlet.partition) && ends.contains_key(&inlet.partition)
        };
        if !given.inlets.iter().all(known) {
            given.positions = Some(positions);
            self.asker.ask_starts(given.generation);
            return Ok(());
        }
        for inlet in &mut given.inlets {
            let bound =
                |of: &BTreeMap<Partition, i64>| of.get(&inlet.partition).copied().unwrap_or(0);
            let (start, end) = (bound(starts), bound(ends));
            let position = positions.get(&inlet.partition).and_then(|position| position.offset);
            match begin_at(inlet.partition, position, start, end) {
                Err(error) => inlet.fail(error),
                Ok(from) => {
                    let queue =
                        Queue::new(&self.consumer, thread::current(), self.plan.most_records);
                    let queue =
                        queue.ok_or_else(|| Error::transient("make a native queue of Kafka's"))?;
                    info!(partition = %inlet.partition, from, end, "begin to read");
                    inlet.begin(from, queue);
                }
            }
        }
        self.assign_all()
    }

    /// Answers for partitions whose offset was out of range while they were read.
    fn settle_doubts(
        &mut self,
        starts: &BTreeMap<Partition, i64>,
        ends: &BTreeMap<Partition, i64>,
    ) {
        let Some(given) = &mut self.given else { return };
        for inlet in given.inlets.iter_mut().filter(|inlet| inlet.doubtful) {
            let (start, end) = (starts.get(&inlet.partition), ends.get(&inlet.partition));
            let (Some(start), Some(end)) = (start, end) else { continue };
            let at = inlet.next;
            let error = begin_at(inlet.partition, Some(at), *start, *end).err();
            let passing = || {
                Error::transient(format!(
                    "read {} from offset {at}: the broker does not find it, though the log goes from \
                     {start} to {end}",
                    inlet.partition
                ))
            };
            let error = error.unwrap_or_else(passing);
            inlet.doubtful = false;
            inlet.fail(error);
        }
    }

    /// Assigns every open partition where it stands, forwarded to its own queue before and after.
    fn assign_all(&self) -> Result<()> {
        let Some(given) = &self.given else { return Ok(()) };
        let open = || given.inlets.iter().filter(|inlet| inlet.is_open());
        let mut list = TopicPartitionList::new();
        for inlet in open() {
            let Partition { topic, number } = inlet.partition;
            let added = list.add_partition_offset(topic.name(), number, Offset::Offset(inlet.next));
            added.map_err(|error| self.failure("assign partitions", &error))?;
        }
        let forward = || {
            for inlet in open() {
                if let Some(queue) = &inlet.queue {
                    queue.forward(inlet.partition.topic.name(), inlet.partition.number);
                }
            }
        };
        forward();
        self.assign(&list)?;
        forward();
        Ok(())
    }

    fn serve(&mut self) -> Served {
        let Some(given) = &mut self.given else { return Served::Idle };
        let (mut served, mut doubtful) = (Served::Idle, false);
        for inlet in &mut given.inlets {
            let known = inlet.doubtful;
            if inlet.serve(self.plan.most_records) == Served::Busy {
                served = Served::Busy;
            }
            doubtful |= inlet.doubtful && !known;
        }
        if doubtful {
            self.asker.ask_starts(given.generation);
        }
        served
    }

    /// Notices partitions that reach their agreed end by what is never handed over: transaction markers
    /// and aborted records.
    fn look_for_the_end(&mut self) {
        let awaited = |given: &Given| given.inlets.iter().any(Inlet::awaits_end);
        if !self.given.as_ref().is_some_and(awaited) {
            return;
        }
        let positions = self.positions();
        let Some(given) = &mut self.given else { return };
        for inlet in given.inlets.iter_mut().filter(|inlet| inlet.awaits_end()) {
            if let Some(position) = positions.get(&inlet.partition) {
                inlet.passed(*position);
            }
        }
    }

    /// What came out of the native queues so far; a local call. Partitions that nothing came from yet
    /// are not in it.
    fn positions(&self) -> BTreeMap<Partition, i64> {
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

    /// Tells the group what was committed, for tools that show lag.
    fn commit(&mut self) {
        self.next_commit = Deadline::after(COMMIT_PAUSE);
        if self.committed.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (Partition { topic, number }, offset) in std::mem::take(&mut self.committed) {
            if let Err(error) =
                list.add_partition_offset(topic.name(), number, Offset::Offset(offset))
            {
                debug!("note the offset of {topic}/{number}: {error}");
            }
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            debug!("tell the group what was committed: {error}");
        }
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
        let rest = self.mailbox.look(|slots| std::mem::take(&mut slots.committed));
        self.committed.extend(rest);
        self.commit();
        let given = self.given.take();
        if let Err(error) = self.unassign() {
            debug!("{}", error.report());
        }
        for inlet in given.iter().flat_map(|given| &given.inlets) {
            if let Some(queue) = &inlet.queue {
                queue.unforward(inlet.partition.topic.name(), inlet.partition.number);
            }
        }
        drop(given);
        self.consumer.context().close();
        drop(self);
        debug!("left the group");
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use rdkafka::producer::{FutureProducer, FutureRecord};
    use rtbflow::clock::{Clock, SystemClock};
    use rtbflow::epoch::JobName;
    use rtbflow::source::{Context, Delivery, Feed, Source};
    use tokio::time::timeout;

    use super::*;
    use crate::{Kafka, KafkaFeed, TopicSpec};

    const SOON: Duration = Duration::from_secs(20);

    fn address() -> String {
        let address = std::env::var("RTBFLOW_TEST_KAFKA");
        address.expect("RTBFLOW_TEST_KAFKA is not set: the tests need a broker; run ./dev test")
    }

    async fn open() -> (KafkaFeed, PartitionInput<RawBatch>, String) {
        let name = format!("test-watchdog-{}", SystemClock.now().as_millis());
        let kafka = Kafka::new(address());
        kafka.create_topics(&[TopicSpec::new(&name, 1, SOON)]).await.unwrap();
        let context = Context {
            job: JobName::new(&name).unwrap(),
            clock: Arc::new(SystemClock),
            until_end: false,
            idle_timeout: Duration::from_millis(200),
        };
        let topic = kafka.topic(&name).stall_timeout(Duration::from_millis(400));
        let mut feed = topic.open(context).await.unwrap();
        let event = timeout(SOON, feed.next()).await.unwrap().unwrap();
        let SourceEvent::Assigned(mut assignment) = event else { panic!("assigned") };
        let input = assignment.tasks.remove(0).partitions.remove(0);
        assignment.begin(vec![(input.partition, Position::default())]);
        (feed, input, name)
    }

    async fn write(topic: &str) {
        let mut config = rdkafka::ClientConfig::new();
        let producer: FutureProducer = config.set("bootstrap.servers", address()).create().unwrap();
        let record = FutureRecord::<str, str>::to(topic).partition(0).payload("v");
        producer.send(record, SOON).await.map_err(|(error, _)| error).unwrap();
    }

    async fn read_one(input: &mut PartitionInput<RawBatch>) -> i64 {
        loop {
            let delivery = timeout(SOON, input.deliveries.next()).await.unwrap().unwrap().unwrap();
            if let Delivery::Batch(batch) = delivery {
                return batch.get(0).unwrap().offset;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_partition_that_lost_its_forwarding_is_cured_or_the_source_gives_up() {
        let (mut feed, mut input, topic) = open().await;
        write(&topic).await;
        assert_eq!(read_one(&mut input).await, 0);
        feed.mailbox.put(|slots| slots.faults = 3);
        while feed.mailbox.look(|slots| slots.faults) > 0 {
            tokio::task::yield_now().await;
        }
        write(&topic).await;
        assert_eq!(read_one(&mut input).await, 1, "cured by the watchdog");
        feed.mailbox.put(|slots| slots.faults = u32::MAX);
        write(&topic).await;
        let error = timeout(SOON, feed.next()).await.unwrap().unwrap_err();
        assert!(error.is_transient() && error.report().contains("hands nothing over"), "{error:?}");
        feed.close().await;
    }
}
