//! A source over a simulated log, whose group rebalances as the seed wants it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::Shared;
use futures::stream::unfold;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::log::{Log, TopicId};
use crate::position::Position;
use crate::record::{Partition, Topic};
use crate::source::{
    Assignment, Context, Delivery, Feed, PartitionInput, Revocation, Source, SourceEvent, TaskInput,
};
use crate::testing::sim::broker::Broker;
use crate::testing::sim::fault::FaultKind;
use crate::testing::sim::group::{Group, News, Seat};
use crate::testing::sim::life::Life;
use crate::testing::sim::log::{SimBatch, SimLog};
use crate::testing::sim::truth::Truth;

/// How often a partition that stands at its end says so.
const PROVE_EVERY: Duration = Duration::from_millis(200);

/// A source over a [`SimLog`], for one life of one instance.
pub struct SimSource<T> {
    log: SimLog<T>,
    broker: Broker,
    group: Group,
    truth: Truth,
    life: Life,
}

impl<T> SimSource<T> {
    pub(crate) fn new(
        log: SimLog<T>,
        broker: Broker,
        group: Group,
        truth: Truth,
        life: Life,
    ) -> Self {
        Self { log, broker, group, truth, life }
    }
}

impl<T> fmt::Debug for SimSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimSource({:?} for {})", self.log, self.life.name)
    }
}

impl<T: Clone + Send + Sync + 'static> Source for SimSource<T> {
    type Batch = SimBatch<T>;
    type Feed = SimFeed<T>;

    fn topics(&self) -> Vec<String> {
        self.log.topics()
    }

    /// Its event times have nothing to do with the simulated clock.
    fn is_bounded(&self) -> bool {
        true
    }

    fn out_of_orderness(&self, _topic: Topic) -> Duration {
        self.log.out_of_orderness()
    }

    async fn open(&self, context: Context) -> Result<SimFeed<T>> {
        self.life.pass("opens the source").await;
        if self.life.fails("to open the source") {
            return Err(Error::transient("open the source: it is away"));
        }
        let seat = self.group.join(&self.life, context.instance.clone());
        let (log, broker) = (self.log.clone(), self.broker.clone());
        let (truth, life) = (self.truth.clone(), self.life.clone());
        Ok(SimFeed { log, broker, truth, life, seat, context })
    }
}

/// An opened [`SimSource`].
pub struct SimFeed<T> {
    log: SimLog<T>,
    broker: Broker,
    truth: Truth,
    life: Life,
    seat: Seat,
    context: Context,
}

impl<T> fmt::Debug for SimFeed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFeed({:?} for {})", self.log, self.life.name)
    }
}

impl<T: Clone + Send + Sync + 'static> Feed for SimFeed<T> {
    type Batch = SimBatch<T>;

    async fn next(&mut self) -> Result<SourceEvent<SimBatch<T>>> {
        Ok(match self.seat.next().await? {
            News::Assigned(tasks) => SourceEvent::Assigned(self.assignment(&tasks)),
            News::Revoked { tasks, lost, deadline, done } => {
                let tasks = tasks.into_iter().map(|task| self.log.task(task).0).collect();
                SourceEvent::Revoked(Revocation::new(tasks, lost, deadline, move || {
                    // The group may have stopped waiting.
                    let _ = done.send(());
                }))
            }
            News::Broken => return Err(Error::transient("follow the group: the connection broke")),
        })
    }

    fn committed(&mut self, positions: &[(Partition, Position)]) {
        self.truth.hear(positions, &self.life.chance);
    }

    async fn close(self) {
        self.life.pass("closes the source").await;
    }
}

/// Where reading begins, once it is known.
type Begun = Shared<futures::future::BoxFuture<'static, Option<Arc<[(Partition, Position)]>>>>;

impl<T: Clone + Send + Sync + 'static> SimFeed<T> {
    fn assignment(&self, tasks: &[u32]) -> Assignment<SimBatch<T>> {
        let (begin, begun) = oneshot::channel::<Vec<(Partition, Position)>>();
        let begun: Begun = begun.map(|positions| positions.ok().map(Arc::from)).boxed().shared();
        let input = |task: &u32| {
            let (task, partitions) = self.log.task(*task);
            let partitions = partitions.into_iter().map(|partition| self.input(partition, &begun));
            TaskInput { task, partitions: partitions.collect() }
        };
        Assignment::new(tasks.iter().map(input).collect(), move |positions| {
            let _ = begin.send(positions);
        })
    }

    fn input(&self, partition: Partition, begun: &Begun) -> PartitionInput<SimBatch<T>> {
        let reader = SimReader {
            log: self.log.clone(),
            broker: self.broker.clone(),
            truth: self.truth.clone(),
            life: self.life.clone(),
            clock: Arc::clone(&self.context.clock),
            until_end: self.context.until_end,
            partition,
            reads: format!("reads {partition}"),
            begun: begun.clone(),
            generation: 0,
            next: None,
            term: None,
            finished: false,
        };
        let deliveries = unfold(reader, |mut reader| async {
            let delivery = reader.read().await?;
            Some((delivery, reader))
        });
        PartitionInput { partition, deliveries: deliveries.boxed() }
    }
}

/// Reads one partition.
struct SimReader<T> {
    log: SimLog<T>,
    broker: Broker,
    truth: Truth,
    life: Life,
    clock: Arc<dyn Clock>,
    until_end: bool,
    partition: Partition,
    /// What it does, in words.
    reads: String,
    begun: Begun,
    /// How often the topics had been made anew when it began.
    generation: usize,
    next: Option<i64>,
    /// The leader's term that was reported last.
    term: Option<i32>,
    finished: bool,
}

impl<T: Clone + Send + Sync + 'static> SimReader<T> {
    async fn read(&mut self) -> Option<Result<Delivery<SimBatch<T>>>> {
        if self.finished {
            return None;
        }
        let Some(next) = self.next else {
            return self.begin().await.map(Ok);
        };
        if let Err(error) = self.reach().await {
            return Some(Err(error));
        }
        let log = self.log.generation(self.generation);
        let end = log.end(self.partition);
        if let Some(record) = log.next_record(self.partition, next) {
            return Some(Ok(self.hand_over(next, record)));
        }
        if next < end {
            // Markers are no records, and nobody says of which term they are.
            (self.next, self.term) = (Some(end), None);
            return Some(Ok(self.reached(end, false)));
        }
        if self.until_end {
            self.finished = true;
            return Some(Ok(Delivery::Finished));
        }
        Some(Ok(self.prove_end().await))
    }

    /// Reaches the partition's leader.
    async fn reach(&self) -> Result<()> {
        self.life.pass("reads").await;
        self.wait_for_a_leader().await;
        if self.broker.generation() != self.generation {
            return Err(Error::transient("read: the topic was deleted and made anew"));
        }
        match self.life.chance.strikes_less(8, FaultKind::Error, &self.life.name, "to read") {
            Some(_) => Err(Error::transient("read: the connection broke")),
            None => Ok(()),
        }
    }

    /// Where another term begins, or records of one, from the next on, which has this offset.
    fn hand_over(&mut self, next: i64, record: i64) -> Delivery<SimBatch<T>> {
        let log = self.log.generation(self.generation);
        let term = log.term(self.partition, record);
        if term != self.term {
            self.term = term;
            return self.reached(next, false);
        }
        let mut draw = self.life.draw(&self.reads);
        let most = draw.pick([1, 3, 10, 50]);
        let what = "to read on: hands over again what was read before";
        let again = self.life.chance.strikes_less(8, FaultKind::Error, &self.life.name, what);
        let from =
            again.map_or(next, |mut draw| next.saturating_sub_unsigned(draw.below(20) as u64));
        let below = log.term_end(self.partition, record);
        let batch = log.batch(self.partition, from, below, 1 + draw.below(most));
        self.next = batch.end().map(|end| end.max(next)).or(self.next);
        Delivery::Batch(batch)
    }

    async fn prove_end(&self) -> Delivery<SimBatch<T>> {
        let asked = self.clock.now();
        tokio::time::sleep(PROVE_EVERY).await;
        self.life.stand().await;
        Delivery::AtEnd { asked, offset: self.log.generation(self.generation).end(self.partition) }
    }

    /// Waits while the partition has no leader, which is for all instances alike.
    async fn wait_for_a_leader(&self) {
        let (chance, name) = (&self.life.chance, &self.life.name);
        let what = "a partition that it reads has no leader for a while";
        if let Some(mut draw) = chance.strikes_one_in(300, FaultKind::Log, name, what) {
            let most = draw.pick([300, 3_000, 40_000]);
            let time = draw.millis(most);
            chance.report(|| format!("{} has no leader for {time:?}", self.partition));
            self.broker.goes_away(self.partition, Instant::now() + time);
        }
        while let Some(until) = self.broker.away_until(self.partition) {
            sleep_until(until).await;
            self.life.stand().await;
        }
    }

    /// Waits for the position to begin at, and begins there, or where the log begins by now, or in another log at its
    /// beginning. `None` if the assignment was given up.
    async fn begin(&mut self) -> Option<Delivery<SimBatch<T>>> {
        let positions = self.begun.clone().await?;
        self.life.reads();
        let position = positions.iter().find(|(of, _)| *of == self.partition);
        let position = position.map(|(_, position)| *position).unwrap_or_default();
        self.generation = self.broker.generation();
        let log = self.log.generation(self.generation);
        let id = log.topic_id(self.partition);
        let anew = position.log.is_some_and(|of| Some(of.topic_id) != id);
        let from = if anew { 0 } else { position.offset.unwrap_or(0) };
        let start = self.broker.start(self.partition);
        // What retention has removed was committed.
        let unread = log.next_record(self.partition, from.max(self.committed(id)));
        if unread.is_some_and(|record| record < start) {
            let what = format!("{} had to begin at {from}, but begins at {start}", self.partition);
            self.life.chance.violated(what);
        }
        let from = from.max(start);
        self.term = position.log.filter(|_| !anew).and_then(|log| log.leader_epoch);
        self.next = Some(from);
        Some(self.reached(from, anew))
    }

    /// How far the partition is committed, in the log with this id.
    fn committed(&self, id: Option<TopicId>) -> i64 {
        let at = self.truth.position(self.partition);
        let is_of = at.log.is_none_or(|log| Some(log.topic_id) == id);
        at.offset.filter(|_| is_of).unwrap_or(0)
    }

    fn reached(&self, offset: i64, anew: bool) -> Delivery<SimBatch<T>> {
        let id = self.log.generation(self.generation).topic_id(self.partition);
        let log = id.map(|topic_id| Log { topic_id, leader_epoch: self.term });
        Delivery::Reached { offset, log, anew }
    }
}
