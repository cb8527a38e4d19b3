//! What a driven pipeline has committed, and how it stood after each commit.

use std::collections::BTreeMap;

use crate::barrier::{Reject, Tally};
use crate::chunk::{BucketChange, Chunk};
use crate::epoch::Epoch;
use crate::error::BadRecord;
use crate::testing::driver::outputs::Outputs;

/// One bucket of one operator's state, as it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateBucket {
    /// The operator's name.
    pub operator: String,
    /// The bucket.
    pub bucket: i64,
    /// How many chunks its log has.
    pub chunks: usize,
    /// How many bytes they have.
    pub bytes: usize,
}

/// The place of a driven pipeline: it stands as it does after the last of its commits.
#[derive(Default)]
pub(super) struct DrivenStore {
    stands: Standing,
    after: Vec<Standing>,
}

/// How the place stands after a commit.
#[derive(Clone, Default)]
struct Standing {
    buckets: BTreeMap<(String, i64), Vec<Chunk>>,
    rejects: Vec<Reject>,
    tally: Tally,
    /// Elements of the input that had passed.
    passed: usize,
    /// How much there was of each output.
    rows: BTreeMap<String, usize>,
}

impl DrivenStore {
    /// A place that holds these chunks and has seen no commit.
    pub(super) fn holding(chunks: Vec<Chunk>) -> Self {
        let mut store = Self::default();
        for chunk in chunks {
            let key = (chunk.operator.to_string(), chunk.bucket);
            store.stands.buckets.entry(key).or_default().push(chunk);
        }
        store
    }

    pub(super) fn commits(&self) -> usize {
        self.after.len()
    }

    pub(super) fn commit(
        &mut self,
        epoch: Epoch,
        rejects: Vec<Reject>,
        passed: usize,
        rows: BTreeMap<String, usize>,
    ) {
        let Standing { buckets, .. } = &mut self.stands;
        for chunk in epoch.chunks {
            let key = (chunk.operator.to_string(), chunk.bucket);
            match &chunk.change {
                BucketChange::Append(_) => buckets.entry(key).or_default().push(chunk),
                BucketChange::Replace(_) => drop(buckets.insert(key, vec![chunk])),
                BucketChange::Drop => drop(buckets.remove(&key)),
            }
        }
        self.stands.rejects.extend(rejects);
        self.stands.tally.merge(epoch.tally);
        (self.stands.passed, self.stands.rows) = (passed, rows);
        self.after.push(self.stands.clone());
    }

    /// Goes back to a commit. Returns how much of the input had passed then.
    pub(super) fn rewind(&mut self, commit: usize, outputs: &Outputs) -> usize {
        self.after.truncate(commit);
        self.stands = self.after.last().cloned().unwrap_or_default();
        outputs.truncate(&self.stands.rows);
        self.stands.passed
    }

    pub(super) fn chunks(&self) -> Vec<Chunk> {
        self.stands.buckets.values().flatten().cloned().collect()
    }

    pub(super) fn state(&self) -> Vec<StateBucket> {
        let bucket = |((operator, bucket), log): (&(String, i64), &Vec<Chunk>)| StateBucket {
            operator: operator.clone(),
            bucket: *bucket,
            chunks: log.len(),
            bytes: log.iter().map(Chunk::len).sum(),
        };
        self.stands.buckets.iter().map(bucket).collect()
    }

    pub(super) fn dead_letters(&self) -> Vec<(i64, BadRecord)> {
        let letter = |reject: &Reject| (reject.origin.offset(), reject.reason.clone());
        self.stands.rejects.iter().map(letter).collect()
    }

    pub(super) fn tally(&self) -> Tally {
        self.stands.tally
    }
}
