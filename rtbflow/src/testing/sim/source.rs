//! A source over a simulated log, whose group rebalances as the seed wants it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::Shared;
use futures::stream::unfold;
use futures::{FutureExt, StreamExt};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::position::Position;
use crate::record::{Partition, Topic};
use crate::source::{
    Assignment, Context, Delivery, Feed, PartitionInput, Revocation, Source, SourceEvent, TaskInput,
};
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
    group: Group,
    truth: Truth,
    life: Life,
}

impl<T> SimSource<T> {
    pub(crate) fn new(log: SimLog<T>, group: Group, truth: Truth, life: Life) -> Self {
        Self { log, group, truth, life }
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
        let seat = self.group.join(&self.life);
        let (log, truth, life) = (self.log.clone(), self.truth.clone(), self.life.clone());
        Ok(SimFeed { log, truth, life, seat, context })
    }
}

/// An opened [`SimSource`].
pub struct SimFeed<T> {
    log: SimLog<T>,
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
            life: self.life.clone(),
            clock: Arc::clone(&self.context.clock),
            until_end: self.context.until_end,
            partition,
            reads: format!("reads {partition}"),
            begun: begun.clone(),
            next: None,
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
    life: Life,
    clock: Arc<dyn Clock>,
    until_end: bool,
    partition: Partition,
    /// What it does, in words.
    reads: String,
    begun: Begun,
    next: Option<i64>,
    finished: bool,
}

impl<T: Clone + Send + Sync + 'static> SimReader<T> {
    async fn read(&mut self) -> Option<Result<Delivery<SimBatch<T>>>> {
        if self.finished {
            return None;
        }
        let next = match self.next {
            Some(next) => next,
            None => self.begin().await?,
        };
        self.life.pass("reads").await;
        let fault = self.life.chance.strikes_less(8, FaultKind::Error, &self.life.name, "to read");
        if fault.is_some() {
            return Some(Err(Error::transient("read: the connection broke")));
        }
        let mut draw = self.life.draw(&self.reads);
        let most = draw.pick([1, 3, 10, 50]);
        let what = "to read on: hands over again what was read before";
        let again = self.life.chance.strikes_less(8, FaultKind::Error, &self.life.name, what);
        let from =
            again.map_or(next, |mut draw| next.saturating_sub_unsigned(draw.below(20) as u64));
        let batch = self.log.batch(self.partition, from, 1 + draw.below(most));
        if let Some(end) = batch.end() {
            self.next = Some(end.max(next));
            return Some(Ok(Delivery::Batch(batch)));
        }
        if self.until_end {
            self.finished = true;
            return Some(Ok(Delivery::Finished));
        }
        Some(Ok(self.prove_end().await))
    }

    async fn prove_end(&self) -> Delivery<SimBatch<T>> {
        let asked = self.clock.now();
        tokio::time::sleep(PROVE_EVERY).await;
        self.life.stand().await;
        Delivery::AtEnd { asked, offset: self.log.end(self.partition) }
    }

    /// Waits for the position to begin at. `None` if the assignment was given up.
    async fn begin(&mut self) -> Option<i64> {
        let positions = self.begun.clone().await?;
        let position = positions.iter().find(|(of, _)| *of == self.partition);
        let next = position.and_then(|(_, position)| position.offset).unwrap_or(0);
        self.next = Some(next);
        Some(next)
    }
}
