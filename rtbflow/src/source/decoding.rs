//! How raw batches become batches of values: by one decoder, or by one for each topic.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Decoder;
use crate::dead_letter::DeadLetter;
use crate::either::Either;
use crate::error::BadRecord;
use crate::record::Partition;
use crate::source::{Batch, Content, EventTime, Incoming, RawBatch};

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
    pub(super) decoder: D,
    pub(super) event_time: EventTime<D::Value>,
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
    pub(super) left: Arc<L>,
    pub(super) right: Arc<R>,
    /// How many topics are the left's.
    pub(super) split: usize,
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
    use crate::record::Topic;
    use crate::source::RawBuffer;
    use crate::time::Timestamp;

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
