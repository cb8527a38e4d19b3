//! Topics that are read together: transports that can, and batches that are of the one kind or of the other.

use crate::dead_letter::DeadLetter;
use crate::either::Either;
use crate::error::BadRecord;
use crate::record::Partition;
use crate::source::{Batch, Content, Incoming, RawBatch, Source};

/// A transport of raw records that can read several topics together, by co-groups of their partitions.
pub trait CoGroup: Source<Batch = RawBatch> + Sized {
    /// The topics of this one and then those of the other, as one source. Where the two are set up
    /// differently as a whole, this one's settings hold.
    #[must_use]
    fn with(self, other: Self) -> Self;
}

/// A batch of the one kind or of the other: the values say which.
impl<L: Batch, R: Batch> Batch for Either<L, R> {
    type Value = Either<L::Value, R::Value>;

    fn len(&self) -> usize {
        match self {
            Self::Left(left) => left.len(),
            Self::Right(right) => right.len(),
        }
    }

    #[inline]
    fn get(&self, index: usize) -> Option<Incoming<Self::Value>> {
        match self {
            Self::Left(left) => left.get(index).map(|incoming| incoming.map(Either::Left)),
            Self::Right(right) => right.get(index).map(|incoming| incoming.map(Either::Right)),
        }
    }

    fn dead_letter(
        &self,
        partition: Partition,
        offset: i64,
        reason: BadRecord,
    ) -> Option<DeadLetter> {
        match self {
            Self::Left(left) => left.dead_letter(partition, offset, reason),
            Self::Right(right) => right.dead_letter(partition, offset, reason),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Left(left) => left.bytes(),
            Self::Right(right) => right.bytes(),
        }
    }
}

impl<T> Incoming<T> {
    #[inline]
    fn map<U>(self, into: impl FnOnce(T) -> U) -> Incoming<U> {
        let content = match self.content {
            Content::Value(value, at) => Content::Value(into(value), at),
            Content::Bad(reason) => Content::Bad(reason),
            Content::Tombstone => Content::Tombstone,
        };
        Incoming { offset: self.offset, content }
    }
}
