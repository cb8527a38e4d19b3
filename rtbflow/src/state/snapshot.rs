//! Where an operator puts what changed in its state.

use std::sync::Arc;

use bytes::Bytes;

use crate::chunk::{BucketChange, Chunk};
use crate::error::Error;
use crate::state::ChunkWriter;

/// What changed in the state of one operator since the barrier before.
#[derive(Debug)]
pub struct Snapshot {
    operator: Arc<str>,
    chunks: Vec<Chunk>,
    failure: Option<Error>,
}

impl Snapshot {
    pub(crate) fn new(operator: Arc<str>) -> Self {
        Self { operator, chunks: Vec::new(), failure: None }
    }

    /// These entries follow those that the bucket has.
    pub fn append(&mut self, bucket: i64, entries: ChunkWriter) {
        self.change(bucket, entries, BucketChange::Append);
    }

    /// These entries take the place of those that the bucket has.
    pub fn replace(&mut self, bucket: i64, entries: ChunkWriter) {
        self.change(bucket, entries, BucketChange::Replace);
    }

    /// The bucket ends.
    pub fn drop_bucket(&mut self, bucket: i64) {
        self.chunks.push(Chunk::drop_bucket(Arc::clone(&self.operator), bucket));
    }

    fn change(&mut self, bucket: i64, entries: ChunkWriter, change: fn(Bytes) -> BucketChange) {
        match entries.finish() {
            Ok(bytes) => {
                let operator = Arc::clone(&self.operator);
                self.chunks.push(Chunk { operator, bucket, change: change(bytes) });
            }
            Err(error) => drop(self.failure.get_or_insert(error)),
        }
    }

    /// The changes, in the order in which they must be applied, and what went wrong as they were written.
    pub(crate) fn finish(self) -> (Vec<Chunk>, Option<Error>) {
        (self.chunks, self.failure)
    }

    /// What a logic hands over.
    #[cfg(test)]
    pub(crate) fn of(of: impl FnOnce(&mut Self)) -> Vec<Chunk> {
        let mut snapshot = Self::new("under-test".into());
        of(&mut snapshot);
        let (chunks, failure) = snapshot.finish();
        assert!(failure.is_none(), "{failure:?}");
        chunks
    }
}
