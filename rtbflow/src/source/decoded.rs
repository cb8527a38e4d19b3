//! Makes values of raw records: a transport with a decoder, or with one for each topic.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, future};

use crate::codec::Decoder;
use crate::dead_letter::Original;
use crate::error::{Error, Result};
use crate::position::Position;
use crate::record::{Origin, Partition, Topic};
use crate::source::{
    Assignment, ByDecoder, ByTopic, CoGroup, Context, Decoding, Delivery, EventTime, Feed,
    PartitionInput, RawBatch, Source, SourceEvent, TaskInput,
};
use crate::time::Timestamp;

/// A transport of raw records with a decoder: what `.json()` and `.decode()` make. Several that are read
/// [together](Self::with) are one source too.
pub struct Decoded<S, D> {
    transport: S,
    decoding: Arc<D>,
}

impl<S: Source<Batch = RawBatch>, D: Decoder> Decoded<S, ByDecoder<D>> {
    /// Reads `transport` with a decoder; event time is the transport's until
    /// [`event_time`](Self::event_time) says otherwise.
    #[must_use]
    pub fn new(transport: S, decoder: D) -> Self {
        let event_time = EventTime::of_transport();
        Self { transport, decoding: Arc::new(ByDecoder { decoder, event_time }) }
    }

    /// Takes event time from the value; records may be out of order by at most this much.
    #[must_use]
    pub fn event_time(
        self,
        of: impl Fn(&D::Value) -> Timestamp + Send + Sync + 'static,
        out_of_orderness: Duration,
    ) -> Self
    where
        D: Clone,
    {
        let event_time = EventTime::new(of, out_of_orderness);
        let decoding = Arc::new(ByDecoder { decoder: self.decoding.decoder.clone(), event_time });
        Self { transport: self.transport, decoding }
    }
}

impl<S: CoGroup, D: Decoding> Decoded<S, D> {
    /// Reads another topic together with this one: the values of this one are then [`Either::Left`](crate::Either::Left),
    /// those of the other [`Either::Right`](crate::Either::Right). What is set on the transport as a whole is this one's.
    ///
    /// For topics whose records have the same keys, to be joined or merged by key: the partitions that
    /// hold the same keys are one task's, whatever the counts, and no record is sent through another
    /// topic. The count of tasks is the greatest common divisor of the counts of partitions; see
    /// [`Layout`](crate::source::Layout). More topics follow by calling it again, and nest.
    ///
    /// # Time and state
    /// A task has one order of records: from the partition whose event time is lowest, unless that one is
    /// proved to stand at its end. Its watermark is the lowest of its partitions'. Each topic keeps its own
    /// out-of-orderness, so that one whose records come late holds the watermark back by its own bound,
    /// and not by that of the others as well.
    ///
    /// # Errors
    /// Opening fails where a topic is named twice.
    #[must_use]
    pub fn with<E: Decoding>(self, other: Decoded<S, E>) -> Decoded<S, ByTopic<D, E>> {
        let split = self.transport.topics().len();
        let decoding = ByTopic { left: self.decoding, right: other.decoding, split };
        let transport = CoGroup::with(self.transport, other.transport);
        Decoded { transport, decoding: Arc::new(decoding) }
    }
}

impl<S: fmt::Debug, D> fmt::Debug for Decoded<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoded").field(&self.transport).finish()
    }
}

impl<S: Source<Batch = RawBatch>, D: Decoding> Source for Decoded<S, D> {
    type Batch = D::Batch;
    type Feed = DecodedFeed<S::Feed, D>;

    fn topics(&self) -> Vec<String> {
        self.transport.topics()
    }

    fn is_bounded(&self) -> bool {
        self.transport.is_bounded()
    }

    fn out_of_orderness(&self, topic: Topic) -> Duration {
        let topics = self.transport.topics();
        let place = topics.iter().position(|name| name == topic.name());
        // Of another topic there are no records: `decode` refuses them.
        place.map_or(Duration::ZERO, |place| self.decoding.out_of_orderness(place))
    }

    fn validate(&self) -> Result<()> {
        self.transport.validate()
    }

    fn check(&self) -> impl Future<Output = Result<()>> + Send {
        self.transport.check()
    }

    fn read_again(
        &self,
        origins: &[Origin],
    ) -> impl Future<Output = Result<Vec<Option<Original>>>> + Send {
        self.transport.read_again(origins)
    }

    fn open(&self, context: Context) -> impl Future<Output = Result<Self::Feed>> + Send {
        let decoding = Arc::clone(&self.decoding);
        let topics = self.transport.topics().iter().map(|name| Topic::new(name)).collect();
        self.transport.open(context).map(|feed| Ok(DecodedFeed { feed: feed?, topics, decoding }))
    }
}

/// An opened [`Decoded`].
pub struct DecodedFeed<F, D> {
    feed: F,
    topics: Vec<Topic>,
    decoding: Arc<D>,
}

impl<F: fmt::Debug, D> fmt::Debug for DecodedFeed<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DecodedFeed").field(&self.feed).finish()
    }
}

impl<F: Feed<Batch = RawBatch>, D: Decoding> Feed for DecodedFeed<F, D> {
    type Batch = D::Batch;

    async fn next(&mut self) -> Result<SourceEvent<Self::Batch>> {
        Ok(match self.feed.next().await? {
            SourceEvent::Revoked(revocation) => SourceEvent::Revoked(revocation),
            SourceEvent::Assigned(mut assignment) => {
                let tasks = std::mem::take(&mut assignment.tasks);
                let tasks = tasks.into_iter().map(|input| self.decode_task(input));
                let tasks = tasks.collect::<Result<_>>()?;
                SourceEvent::Assigned(Assignment::new(tasks, move |positions| {
                    assignment.begin(positions);
                }))
            }
        })
    }

    fn committed(&mut self, positions: &[(Partition, Position)]) {
        self.feed.committed(positions);
    }

    fn close(self) -> impl Future<Output = ()> + Send {
        self.feed.close()
    }
}

impl<F, D: Decoding> DecodedFeed<F, D> {
    fn decode_task(&self, input: TaskInput<RawBatch>) -> Result<TaskInput<D::Batch>> {
        let TaskInput { task, partitions } = input;
        let partitions = partitions.into_iter().map(|input| self.decode(input));
        Ok(TaskInput { task, partitions: partitions.collect::<Result<_>>()? })
    }

    fn decode(&self, input: PartitionInput<RawBatch>) -> Result<PartitionInput<D::Batch>> {
        let PartitionInput { partition, deliveries } = input;
        let topic = self.topics.iter().position(|topic| *topic == partition.topic);
        let topic = topic.ok_or_else(|| {
            Error::permanent(format!("decode {partition}: its topic is none of the source's"))
        })?;
        let decoding = Arc::clone(&self.decoding);
        let decode = move |delivery| {
            future::ready(match delivery {
                Ok(Delivery::Batch(raw)) => Ok(Delivery::Batch(D::batch(&decoding, topic, raw))),
                Ok(Delivery::AtEnd { asked, offset }) => Ok(Delivery::AtEnd { asked, offset }),
                Ok(Delivery::Reached { offset, log, anew }) => {
                    Ok(Delivery::Reached { offset, log, anew })
                }
                Ok(Delivery::Finished) => Ok(Delivery::Finished),
                Err(error) => Err(error),
            })
        };
        Ok(PartitionInput { partition, deliveries: deliveries.then(decode).boxed() })
    }
}
