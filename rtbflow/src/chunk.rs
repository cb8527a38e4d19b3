//! A change of state.

use std::sync::Arc;

use bytes::Bytes;

/// A change of one bucket of one operator's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The operator's name.
    pub operator: Arc<str>,
    /// The bucket: what it means is the operator's own business.
    pub bucket: i64,
    /// What becomes of it.
    pub change: BucketChange,
}

/// What becomes of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketChange {
    /// These bytes follow the ones before.
    Append(Bytes),
    /// These bytes take the place of all before.
    Replace(Bytes),
    /// The bucket ends.
    Drop,
}

impl Chunk {
    /// The end of a bucket.
    #[must_use]
    pub fn drop_bucket(operator: Arc<str>, bucket: i64) -> Self {
        Self { operator, bucket, change: BucketChange::Drop }
    }

    /// Bytes that the change adds to the log.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.change {
            BucketChange::Append(bytes) | BucketChange::Replace(bytes) => bytes.len(),
            BucketChange::Drop => 0,
        }
    }

    /// Whether the change adds nothing to the log.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
