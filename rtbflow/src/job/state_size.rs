//! How many bytes of state the place holds of each operator of a task, reckoned from what goes there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::chunk::{BucketChange, Chunk};

/// Bytes of state by operator.
#[derive(Debug, Default)]
pub(crate) struct StateSize {
    buckets: HashMap<(Arc<str>, i64), u64>,
    operators: BTreeMap<Arc<str>, u64>,
}

impl StateSize {
    /// Chunks were read back from the place, or go there, in their order.
    pub(crate) fn add(&mut self, chunks: &[Chunk]) {
        for chunk in chunks {
            let key = (Arc::clone(&chunk.operator), chunk.bucket);
            let whole = self.operators.entry(Arc::clone(&chunk.operator)).or_default();
            let before = match chunk.change {
                BucketChange::Append(_) => 0,
                BucketChange::Replace(_) | BucketChange::Drop => {
                    self.buckets.remove(&key).unwrap_or(0)
                }
            };
            let added = chunk.len() as u64;
            *whole = whole.saturating_sub(before) + added;
            if !matches!(chunk.change, BucketChange::Drop) {
                *self.buckets.entry(key).or_default() += added;
            }
        }
    }

    /// Each operator that has had any, with what it has now.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.operators.iter().map(|(operator, bytes)| (operator, *bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_logs_hold() {
        let chunk =
            |operator: &str, bucket, change| Chunk { operator: operator.into(), bucket, change };
        let append = |bytes: &'static str| BucketChange::Append(bytes.into());
        let mut size = StateSize::default();
        size.add(&[
            chunk("a", 1, append("12")),
            chunk("a", 1, append("345")),
            chunk("a", 2, append("6")),
        ]);
        size.add(&[chunk("b", 1, append("7")), chunk("a", 1, BucketChange::Replace("8".into()))]);
        let found = |size: &StateSize| size.iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
        assert_eq!(found(&size), [2, 1]);
        size.add(&[Chunk::drop_bucket("a".into(), 1), Chunk::drop_bucket("a".into(), 2)]);
        size.add(&[Chunk::drop_bucket("a".into(), 3)]);
        assert_eq!(found(&size), [0, 1]);
    }
}
