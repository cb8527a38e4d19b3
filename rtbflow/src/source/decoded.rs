//! Makes values of raw records: a transport with a decoder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, future};

use crate::codec::Decoder;
use crate::element::Partition;
use crate::epoch::{DeadLetter, Position};
use crate::error::{BadRecord, Result};
use crate::source::{
    Assignment, Batch, Content, Context, Delivery, Feed, Incoming, PartitionInput, RawBatch,
    Source, SourceEvent, TaskInput,
};
use crate::time::Timestamp;

/// How event time is told of a value, and how far it may be out of order.
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

    /// The time in the value; records may be out of order by so much.
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

/// A transport of raw records with a decoder: what `.json()` and `.decode()` make.
pub struct Decoded<S, D: Decoder> {
    transport: S,
    shared: Arc<Decoding<D>>,
}

struct Decoding<D: Decoder> {
    decoder: D,
    event_time: EventTime<D::Value>,
}

impl<S: Source<Batch = RawBatch>, D: Decoder> Decoded<S, D> {
    /// Reads `transport` with a decoder; event time is the transport's until
    /// [`event_time`](Self::event_time) says otherwise.
    #[must_use]
    pub fn new(transport: S, decoder: D) -> Self {
        let event_time = EventTime::of_transport();
        Self { transport, shared: Arc::new(Decoding { decoder, event_time }) }
    }

    /// Takes event time from the value; records may be out of order by so much.
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
        let shared = Arc::new(Decoding { decoder: self.shared.decoder.clone(), event_time });
        Self { transport: self.transport, shared }
    }
}

impl<S: fmt::Debug, D: Decoder> fmt::Debug for Decoded<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoded").field(&self.transport).finish()
    }
}

impl<S: Source<Batch = RawBatch>, D: Decoder> Source for Decoded<S, D> {
    type Batch = DecodedBatch<D>;
    type Feed = DecodedFeed<S::Feed, D>;

    fn topics(&self) -> Vec<String> {
        self.transport.topics()
    }

    fn out_of_orderness(&self) -> Duration {
        self.shared.event_time.out_of_orderness
    }

    fn open(&self, context: Context) -> impl Future<Output = Result<Self::Feed>> + Send {
        let shared = Arc::clone(&self.shared);
        self.transport.open(context).map(|feed| Ok(DecodedFeed { feed: feed?, shared }))
    }
}

/// An opened [`Decoded`].
pub struct DecodedFeed<F, D: Decoder> {
    feed: F,
    shared: Arc<Decoding<D>>,
}

impl<F: fmt::Debug, D: Decoder> fmt::Debug for DecodedFeed<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DecodedFeed").field(&self.feed).finish()
    }
}

impl<F: Feed<Batch = RawBatch>, D: Decoder> Feed for DecodedFeed<F, D> {
    type Batch = DecodedBatch<D>;

    async fn next(&mut self) -> Result<SourceEvent<Self::Batch>> {
        Ok(match self.feed.next().await? {
            SourceEvent::Revoked(revocation) => SourceEvent::Revoked(revocation),
            SourceEvent::Assigned(mut assignment) => {
                let tasks = std::mem::take(&mut assignment.tasks);
                let tasks =
                    tasks.into_iter().map(|input| decode_task(input, &self.shared)).collect();
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

fn decode_task<D: Decoder>(
    input: TaskInput<RawBatch>,
    shared: &Arc<Decoding<D>>,
) -> TaskInput<DecodedBatch<D>> {
    let partitions =
        input.partitions.into_iter().map(|PartitionInput { partition, deliveries }| {
            let shared = Arc::clone(shared);
            let decode = move |delivery| {
                future::ready(match delivery {
                    Ok(Delivery::Batch(raw)) => {
                        let decoding = Arc::clone(&shared);
                        Ok(Delivery::Batch(DecodedBatch { raw, decoding }))
                    }
                    Ok(Delivery::AtEnd { asked, offset }) => Ok(Delivery::AtEnd { asked, offset }),
                    Ok(Delivery::Finished) => Ok(Delivery::Finished),
                    Err(error) => Err(error),
                })
            };
            PartitionInput { partition, deliveries: deliveries.then(decode).boxed() }
        });
    TaskInput { task: input.task, partitions: partitions.collect() }
}

/// A raw batch whose records are decoded as they are taken.
pub struct DecodedBatch<D: Decoder> {
    raw: RawBatch,
    decoding: Arc<Decoding<D>>,
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
