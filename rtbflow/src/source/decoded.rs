//! Makes values of raw records: a transport with a decoder, or with one for each topic.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, future};

use crate::codec::Decoder;
use crate::dead_letter::{DeadLetter, Original};
use crate::either::Either;
use crate::error::{BadRecord, Error, Result};
use crate::position::Position;
use crate::record::{Origin, Partition, Topic};
use crate::source::{
    Assignment, Batch, CoGroup, Content, Context, Delivery, Feed, Incoming, PartitionInput,
    RawBatch, Source, SourceEvent, TaskInput,
};
use crate::time::Timestamp;

/// How the event time of a value is found, and how far it may be out of order.
pub struct EventTime<T> {
    of: Option<Box<dyn Fn(&T) -> Timestamp + Send + Sync>>,
    pub(crate) out_of_orderness: Duration,
}

impl<T> EventTime<T> {
    /// The time that the transport gave the record, in order.
    #[must_use]
    pub fn of_transport() -> Self {
        Self { of: None, out_of_orderness: Duration::ZERO }
    }

    /// The time in the value; records may be out of order by this much.
    #[must_use]
    pub fn new(
        of: impl Fn(&T) -> Timestamp + Send + Sync + 'static,
        out_of_orderness: Duration,
    ) -> Self {
        Self { of: Some(Box::new(of)), out_of_orderness }
    }
}

impl<T> EventTime<T> {
    /// The event time of a value whose record has this time of the transport's.
    #[inline]
    pub(crate) fn of(&self, value: &T, transport: Timestamp) -> Timestamp {
        self.of.as_ref().map_or(transport, |of| of(value))
    }
}

impl<T> fmt::Debug for EventTime<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventTime(out of order by {:?})", self.out_of_orderness)
    }
}

/// How the raw batches of a topic become batches of values: by a decoder, or each topic by its own.
pub trait Decoding: Send + Sync + 'static {
    /// What it makes.
    type Batch: Batch;

    /// The batch of values behind a raw batch of a topic; `topic` is its place among the transport's.
    fn batch(this: &Arc<Self>, topic: usize, raw: RawBatch) -> Self::Batch;

    /// By how much the event times in a partition of a topic may be out of order.
    fn out_of_orderness(&self, topic: usize) -> Duration;
}

/// One decoder for whatever is read.
#[derive(Debug)]
pub struct ByDecoder<D: Decoder> {
    decoder: D,
    event_time: EventTime<D::Value>,
}

impl<D: Decoder> Decoding for ByDecoder<D> {
    type Batch = DecodedBatch<D>;

    fn batch(this: &Arc<Self>, _topic: usize, raw: RawBatch) -> DecodedBatch<D> {
        DecodedBatch { raw, decoding: Arc::clone(this) }
    }

    fn out_of_orderness(&self, _topic: usize) -> Duration {
        self.event_time.out_of_orderness
    }
}

/// One way of decoding for the first topics, and another for those that were joined to them.
#[derive(Debug)]
pub struct ByTopic<L, R> {
    left: Arc<L>,
    right: Arc<R>,
    /// How many topics are the left's.
    split: usize,
}

impl<L: Decoding, R: Decoding> Decoding for ByTopic<L, R> {
    type Batch = Either<L::Batch, R::Batch>;

    fn batch(this: &Arc<Self>, topic: usize, raw: RawBatch) -> Self::Batch {
        match topic.checked_sub(this.split) {
            None => Either::Left(L::batch(&this.left, topic, raw)),
            Some(topic) => Either::Right(R::batch(&this.right, topic, raw)),
        }
    }

    fn out_of_orderness(&self, topic: usize) -> Duration {
        match topic.checked_sub(self.split) {
            None => self.left.out_of_orderness(topic),
            Some(topic) => self.right.out_of_orderness(topic),
        }
    }
}

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
    /// Reads another topic together with this one: the values of this one are then [`Either::Left`],
    /// those of the other [`Either::Right`]. What is set on the transport as a whole is this one's.
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

/// A raw batch whose records are decoded as they are taken.
pub struct DecodedBatch<D: Decoder> {
    raw: RawBatch,
    decoding: Arc<ByDecoder<D>>,
}

impl<D: Decoder> fmt::Debug for DecodedBatch<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodedBatch({:?})", self.raw)
    }
}

impl<D: Decoder> Batch for DecodedBatch<D> {
    type Value = D::Value;

    fn len(&self) -> usize {
        self.raw.len()
    }

    #[inline]
    fn get(&self, index: usize) -> Option<Incoming<D::Value>> {
        let record = self.raw.get(index)?;
        let content = match record.value {
            None => Content::Tombstone,
            Some(_) => match self.decoding.decoder.decode(&record) {
                Err(bad) => Content::Bad(bad),
                Ok(value) => {
                    let at = self.decoding.event_time.of(&value, record.timestamp);
                    Content::Value(value, at)
                }
            },
        };
        Some(Incoming { offset: record.offset, content })
    }

    fn dead_letter(
        &self,
        partition: Partition,
        offset: i64,
        reason: BadRecord,
    ) -> Option<DeadLetter> {
        self.raw.dead_letter(partition, offset, reason)
    }

    fn bytes(&self) -> usize {
        self.raw.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;
    use crate::raw_record::RawRecord;
    use crate::source::RawBuffer;

    fn raw(value: &str) -> RawBatch {
        let timestamp = Timestamp::from_millis(9);
        let record = RawRecord { offset: 3, timestamp, key: None, value: Some(value.as_bytes()) };
        let mut buffer = RawBuffer::default();
        buffer.push(record, []);
        buffer.into()
    }

    #[test]
    fn each_topic_is_decoded_by_its_own_decoder() {
        let by = |seconds| ByDecoder {
            decoder: json::<i64>(),
            event_time: EventTime::new(
                |ms| Timestamp::from_millis(*ms),
                Duration::from_secs(seconds),
            ),
        };
        let texts = ByDecoder { decoder: json::<String>(), event_time: EventTime::of_transport() };
        let two = ByTopic { left: Arc::new(by(1)), right: Arc::new(texts), split: 1 };
        let three = Arc::new(ByTopic { left: Arc::new(two), right: Arc::new(by(2)), split: 2 });
        let get = |topic, value| ByTopic::batch(&three, topic, raw(value)).get(0).unwrap().content;
        let at = Timestamp::from_millis;
        assert_eq!(get(0, "7"), Content::Value(Either::Left(Either::Left(7)), at(7)));
        let text = Either::Left(Either::Right("a".to_owned()));
        assert_eq!(get(1, "\"a\""), Content::Value(text, at(9)));
        assert_eq!(get(2, "8"), Content::Value(Either::Right(8), at(8)));
        assert!(matches!(get(1, "7"), Content::Bad(_)));
        let bounds = [0, 1, 2].map(|topic| three.out_of_orderness(topic).as_secs());
        assert_eq!(bounds, [1, 0, 2]);
        let batch = ByTopic::batch(&three, 2, raw("8"));
        let partition = Partition::new(Topic::new("third"), 0);
        let letter = batch.dead_letter(partition, 3, BadRecord::new("why")).unwrap();
        assert_eq!((letter.value, batch.len()), (Some(b"8".to_vec()), 1));
    }
}
