//! A feed without a group: all partitions are this instance's, from the beginning to the end.

use std::fmt;
use std::future;
use std::sync::Arc;

use futures::channel::oneshot;
use futures::{FutureExt, Stream, StreamExt, stream};

use crate::either::Either;
use crate::error::{Error, Result};
use crate::position::{Position, Task};
use crate::record::{Partition, Topic};
use crate::source::{Assignment, Delivery, Feed, Layout, PartitionInput, SourceEvent, TaskInput};

/// The feed of a source whose partitions are all this instance's: a file, a channel, something in
/// memory.
///
/// Each partition is a task, so that they are worked on side by side. A second instance of the job would
/// read the same records: the place lets only one of them commit.
///
/// # Examples
/// A source of one's own, of ten numbers, which are there to be read again:
/// ```
/// use rtbflow::source::{Context, Delivery, EventTime, FixedFeed, MemoryBatch, Source};
/// use rtbflow::{Partition, Result, Topic};
///
/// struct Ten;
///
/// impl Source for Ten {
///     type Batch = MemoryBatch<i64>;
///     type Feed = FixedFeed<MemoryBatch<i64>>;
///
///     fn topics(&self) -> Vec<String> {
///         vec!["ten".into()]
///     }
///
///     async fn open(&self, context: Context) -> Result<Self::Feed> {
///         let partitions = vec![Partition::new(Topic::new("ten"), 0)];
///         Ok(FixedFeed::new(partitions, move |_, from| {
///             let from = from.unwrap_or(0);
///             let event_time = EventTime::of_transport().into();
///             let values: Vec<i64> = (from..10).collect();
///             let batch = MemoryBatch::new(values, from, event_time, context.clock.now());
///             futures::stream::iter([Ok(Delivery::Batch(batch)), Ok(Delivery::Finished)])
///         }))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let place = rtbflow::epoch::Memory::new();
/// let out = place.collected::<i64>();
/// let job = rtbflow::Job::new("tens").source(Ten).anchor(place.clone()).pipeline({
///     let out = out.clone();
///     move |numbers| numbers.map(|n| n * 10).to(out.sink())
/// });
/// assert_eq!(job.run().await?.records_in(), 10);
/// assert_eq!(out.values(), (0..10).map(|n| n * 10).collect::<Vec<_>>());
/// # Ok::<(), rtbflow::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FixedFeed<B> {
    assignment: Option<Assignment<B>>,
    on_committed: Option<Box<OnCommitted>>,
}

/// What is called with how far was committed.
type OnCommitted = dyn FnMut(&[(Partition, Position)]) + Send;

impl<B> fmt::Debug for FixedFeed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixedFeed(assigned: {})", self.assignment.is_none())
    }
}

impl<B: Send + 'static> FixedFeed<B> {
    /// A feed of these partitions. Once positions are known, `read` is asked for what each has from an
    /// offset on, which is `None` where nothing was committed before.
    #[must_use]
    pub fn new<R>(
        partitions: Vec<Partition>,
        read: impl Fn(Partition, Option<i64>) -> R + Send + Sync + 'static,
    ) -> Self
    where
        R: Stream<Item = Result<Delivery<B>>> + Send + 'static,
    {
        let (begin, begun) = oneshot::channel::<Vec<(Partition, Position)>>();
        let begun = begun.map(std::result::Result::ok).shared();
        let read = Arc::new(read);
        // Partitions are numbered in fewer bits: there are not more of them.
        let of = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
        let tasks = (0..of).zip(partitions).map(|(number, partition)| {
            let read = Arc::clone(&read);
            let deliveries = begun.clone().map(move |begun| {
                match begun.map(|positions| position_of(partition, &positions)) {
                    Some(Ok(position)) => read(partition, position.offset).left_stream(),
                    Some(Err(missing)) => stream::iter(Some(Err(missing))).right_stream(),
                    // The assignment was given up.
                    None => stream::iter(None).right_stream(),
                }
            });
            let deliveries = deliveries.flatten_stream().boxed();
            let partitions = vec![PartitionInput { partition, deliveries }];
            TaskInput { task: Task { number, of }, partitions }
        });
        let assignment = Assignment::new(tasks.collect(), move |positions| {
            // Whoever was to read may be gone.
            let _ = begin.send(positions);
        });
        Self { assignment: Some(assignment), on_committed: None }
    }

    /// The partitions of this feed and of another, by co-groups.
    ///
    /// # Errors
    /// If both have partitions of one topic, or one has none.
    pub(crate) fn with<C: Send + 'static>(
        self,
        other: FixedFeed<C>,
    ) -> Result<FixedFeed<Either<B, C>>> {
        let (left, mut begin_left) = inputs(self.assignment, Either::Left)?;
        let (right, mut begin_right) = inputs(other.assignment, Either::Right)?;
        let layout = layout(&left, &right)?;
        let tasks = co_groups(&layout, left.into_iter().chain(right).collect())?;
        let assignment = Assignment::new(tasks, move |positions| {
            begin_left(positions.clone());
            begin_right(positions);
        });
        let (mut left, mut right) = (self.on_committed, other.on_committed);
        let tell: Box<OnCommitted> = Box::new(move |positions| {
            for tell in [&mut left, &mut right].into_iter().flatten() {
                tell(positions);
            }
        });
        Ok(FixedFeed { assignment: Some(assignment), on_committed: Some(tell) })
    }

    /// Tells a source how far was committed, so that it can drop what need not be read again.
    #[must_use]
    pub fn on_committed(self, tell: impl FnMut(&[(Partition, Position)]) + Send + 'static) -> Self {
        Self { on_committed: Some(Box::new(tell)), ..self }
    }
}

/// What is called with where reading begins.
type Begin = Box<dyn FnMut(Vec<(Partition, Position)>) + Send>;

/// The partitions of an assignment, whose batches become others, and what starts the reading.
fn inputs<B: Send + 'static, C: Send + 'static>(
    assignment: Option<Assignment<B>>,
    into: fn(B) -> C,
) -> Result<(Vec<PartitionInput<C>>, Begin)> {
    let mut assignment = assignment.ok_or_else(|| {
        Error::broken("a feed is read together with another and has begun before")
    })?;
    let tasks = std::mem::take(&mut assignment.tasks);
    let inputs = tasks.into_iter().flat_map(|task| task.partitions);
    let inputs = inputs.map(|PartitionInput { partition, deliveries }| {
        let deliveries = deliveries.map(move |delivery| {
            delivery.map(|delivery| match delivery {
                Delivery::Batch(batch) => Delivery::Batch(into(batch)),
                Delivery::AtEnd { asked, offset } => Delivery::AtEnd { asked, offset },
                Delivery::Reached { offset, log, anew } => Delivery::Reached { offset, log, anew },
                Delivery::Finished => Delivery::Finished,
            })
        });
        PartitionInput { partition, deliveries: deliveries.boxed() }
    });
    Ok((inputs.collect(), Box::new(move |positions| assignment.begin(positions))))
}

/// The topics of partitions, each with the count of them.
fn topics<B>(inputs: &[PartitionInput<B>]) -> Vec<(Topic, u32)> {
    let mut counts: Vec<(Topic, u32)> = Vec::new();
    for PartitionInput { partition: Partition { topic, .. }, .. } in inputs {
        match counts.iter_mut().find(|(known, _)| known == topic) {
            Some((_, count)) => *count += 1,
            None => counts.push((*topic, 1)),
        }
    }
    counts
}

/// The co-groups of the partitions of two sources.
///
/// # Errors
/// If both have partitions of one topic, or none has any.
fn layout<B>(left: &[PartitionInput<B>], right: &[PartitionInput<B>]) -> Result<Layout> {
    let (mut counts, others) = (topics(left), topics(right));
    if let Some((topic, _)) = others.iter().find(|other| counts.iter().any(|c| c.0 == other.0)) {
        return Err(Error::config(format!(
            "read topic {topic} together with itself: read it once and split the flow"
        )));
    }
    counts.extend(others);
    let layout = Layout::new(counts);
    layout.ok_or_else(|| Error::config("read two sources together: neither has partitions"))
}

/// The tasks of a layout, each with its partitions.
///
/// # Errors
/// If one is not there: another would be read by no task.
fn co_groups<B>(layout: &Layout, mut inputs: Vec<PartitionInput<B>>) -> Result<Vec<TaskInput<B>>> {
    let mut take = |partition: Partition| {
        let at = inputs.iter().position(|input| input.partition == partition);
        let at = at.ok_or_else(|| {
            Error::config(format!(
                "read two sources together: there is no {partition}; number the partitions of each topic from 0 on, \
                 without a gap"
            ))
        })?;
        Ok(inputs.swap_remove(at))
    };
    let tasks = (0..layout.tasks()).filter_map(|number| layout.task(number));
    let tasks = tasks.map(|(task, members)| {
        let partitions = members.into_iter().map(&mut take).collect::<Result<_>>()?;
        Ok(TaskInput { task, partitions })
    });
    tasks.collect()
}

impl<B: Send + 'static> Feed for FixedFeed<B> {
    type Batch = B;

    async fn next(&mut self) -> Result<SourceEvent<B>> {
        match self.assignment.take() {
            Some(assignment) => Ok(SourceEvent::Assigned(assignment)),
            None => future::pending().await,
        }
    }

    fn committed(&mut self, positions: &[(Partition, Position)]) {
        if let Some(tell) = &mut self.on_committed {
            tell(positions);
        }
    }

    async fn close(self) {}
}

/// Where a partition is to be read from; without its position it would be read from its beginning once more.
fn position_of(partition: Partition, positions: &[(Partition, Position)]) -> Result<Position> {
    let claimed = positions.iter().find(|(of, _)| *of == partition);
    let missing = || Error::broken("a partition is to be read and was not claimed");
    claimed.map(|(_, position)| *position).ok_or_else(missing)
}
