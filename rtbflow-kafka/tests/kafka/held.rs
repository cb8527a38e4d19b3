//! A source of which one partition is held: what it hands over does not arrive, as in a fetch that takes long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use rtbflow::epoch::Position;
use rtbflow::source::{
    Assignment, CoGroup, Context, Delivery, Feed, PartitionInput, RawBatch, Source, SourceEvent,
    TaskInput,
};
use rtbflow::{Partition, Result, Topic};
use rtbflow_kafka::{KafkaFeed, KafkaTopic};
use tokio::sync::watch;

/// What is held, and what the tasks were handed.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    topic: Arc<str>,
    /// Records of the topic to hand over before it is held.
    after: usize,
    held: watch::Receiver<bool>,
    passed: Arc<AtomicUsize>,
    others: Arc<AtomicUsize>,
}

impl Hold {
    /// Holds the partitions of a topic, after this many of its records, until the sender says otherwise.
    pub(crate) fn new(topic: &str, after: usize) -> (Self, watch::Sender<bool>) {
        let (release, held) = watch::channel(true);
        let (passed, others) = (Arc::default(), Arc::default());
        (Self { topic: topic.into(), after, held, passed, others }, release)
    }

    /// Records of other partitions that tasks were handed so far.
    pub(crate) fn others(&self) -> usize {
        self.others.load(Ordering::Relaxed)
    }
}

/// A topic of Kafka, or several, one of which is held.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    source: KafkaTopic,
    hold: Hold,
}

impl Held {
    pub(crate) fn new(source: KafkaTopic, hold: &Hold) -> Self {
        Self { source, hold: hold.clone() }
    }
}

impl CoGroup for Held {
    fn with(self, other: Self) -> Self {
        Self { source: self.source.with(other.source), hold: self.hold }
    }
}

impl Source for Held {
    type Batch = RawBatch;
    type Feed = HeldFeed;

    fn topics(&self) -> Vec<String> {
        self.source.topics()
    }

    fn out_of_orderness(&self, topic: Topic) -> Duration {
        self.source.out_of_orderness(topic)
    }

    async fn open(&self, context: Context) -> Result<HeldFeed> {
        Ok(HeldFeed { feed: self.source.open(context).await?, hold: self.hold.clone() })
    }
}

pub(crate) struct HeldFeed {
    feed: KafkaFeed,
    hold: Hold,
}

impl HeldFeed {
    fn hold(&self, input: PartitionInput<RawBatch>) -> PartitionInput<RawBatch> {
        let (partition, hold) = (input.partition, self.hold.clone());
        let held = partition.topic.name() == &*hold.topic;
        let deliveries = input.deliveries.then(move |delivery| {
            let mut hold = hold.clone();
            async move {
                let count = match &delivery {
                    Ok(Delivery::Batch(batch)) => batch.len(),
                    Ok(Delivery::AtEnd { .. } | Delivery::Reached { .. } | Delivery::Finished)
                    | Err(_) => 0,
                };
                if !held {
                    hold.others.fetch_add(count, Ordering::Relaxed);
                } else if hold.passed.fetch_add(count, Ordering::Relaxed) + count > hold.after {
                    // The sender is gone when the test is over.
                    let _ = hold.held.wait_for(|held| !held).await;
                }
                delivery
            }
        });
        PartitionInput::new(partition, deliveries.boxed())
    }
}

impl Feed for HeldFeed {
    type Batch = RawBatch;

    async fn next(&mut self) -> Result<SourceEvent<RawBatch>> {
        Ok(match self.feed.next().await? {
            SourceEvent::Assigned(mut assignment) => {
                let tasks = std::mem::take(&mut assignment.tasks);
                let tasks = tasks.into_iter().map(|input| {
                    let (task, partitions) = (input.task, input.partitions.into_iter());
                    let partitions = partitions.map(|input| self.hold(input));
                    TaskInput::new(task, partitions.collect())
                });
                let tasks = tasks.collect();
                SourceEvent::Assigned(Assignment::new(tasks, move |begin| assignment.begin(begin)))
            }
            SourceEvent::Revoked(revocation) => SourceEvent::Revoked(revocation),
        })
    }

    fn committed(&mut self, positions: &[(Partition, Position)]) {
        self.feed.committed(positions);
    }

    async fn close(self) {
        self.feed.close().await;
    }
}
