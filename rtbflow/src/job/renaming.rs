//! Operators that have another name now, or are gone: their state is moved, or given up, epoch by epoch.
//!
//! What was kept under an old name comes back under the new one. It is kept under the new one from the first
//! epoch on that changes it: that epoch begins with the end of the old bucket and the beginning of the new one,
//! so that at any time each bucket stands in the place once. Buckets that nobody changes follow, some in each
//! epoch, as no epoch should have to carry all of a large state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::chunk::{BucketChange, Chunk};
use crate::error::{Error, Result};
use crate::topology::Topology;

/// Bytes of state that are moved with an epoch, besides what it changes itself.
const MOST_BYTES: usize = 1 << 20;

/// What became of operators that a pipeline had.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renames {
    /// New names by old ones; none for an operator that is gone.
    new: Arc<BTreeMap<Arc<str>, Option<Arc<str>>>>,
    /// Old names that were set to become more than one thing.
    unclear: BTreeSet<Arc<str>>,
}

impl Renames {
    pub(crate) fn add(&mut self, old: &str, new: Option<&str>) {
        let new = new.map(Arc::from);
        let before = Arc::make_mut(&mut self.new).insert(old.into(), new.clone());
        if before.is_some_and(|before| before != new) {
            self.unclear.insert(old.into());
        }
    }

    /// Whether they fit the pipeline.
    ///
    /// # Errors
    /// With all that do not.
    pub(crate) fn fit(&self, topology: &Topology) -> Result<()> {
        let unclear = self.unclear.iter().map(|old| {
            Err(Error::config(format!(
                "take operator {old:?} for one of another name: it was renamed or removed more than once, and \
                 not to the same; leave out all but one"
            )))
        });
        Error::all(
            self.new.iter().map(|(old, new)| fits(topology, old, new.as_deref())).chain(unclear),
        )
    }
}

fn fits(topology: &Topology, old: &str, new: Option<&str>) -> Result<()> {
    if topology.has(old) {
        return Err(Error::config(format!(
            "take operator {old:?} for one of another name: the pipeline has an operator {old:?}; leave \
             out that it was renamed or removed, or give the operator another name"
        )));
    }
    match new.filter(|new| !topology.has(new)) {
        None => Ok(()),
        Some(new) => Err(Error::config(format!(
            "take operator {old:?} for {new:?}: the pipeline has no operator {new:?}; correct the name"
        ))),
    }
}

/// What has still to be moved, of one task.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    renames: Renames,
    waiting: BTreeMap<(Arc<str>, i64), Moving>,
    /// Buckets that stand under the new name already.
    settled: BTreeSet<(Arc<str>, i64)>,
}

/// One bucket.
#[derive(Debug)]
struct Moving {
    old: Arc<str>,
    /// What its log holds, under the new name; nothing of an operator that is gone.
    log: Vec<Chunk>,
}

impl Moves {
    pub(crate) fn new(renames: &Renames) -> Self {
        Self { renames: renames.clone(), ..Self::default() }
    }

    /// Chunks were read back: gives them their new names.
    ///
    /// # Errors
    /// If both operators have kept state, in one bucket.
    pub(crate) fn restored(&mut self, chunks: Vec<Chunk>) -> Result<Vec<Chunk>> {
        if self.renames.new.is_empty() {
            return Ok(chunks);
        }
        let mut named = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let Some(new) = self.renames.new.get(&chunk.operator) else {
                self.settled.insert((Arc::clone(&chunk.operator), chunk.bucket));
                named.push(chunk);
                continue;
            };
            // What is gone for good keeps its name: it moves nowhere, and its end is moved as others are.
            let name = new.as_ref().unwrap_or(&chunk.operator);
            let key = (Arc::clone(name), chunk.bucket);
            let old = Arc::clone(&chunk.operator);
            let moving = self.waiting.entry(key).or_insert_with(|| Moving { old, log: Vec::new() });
            if let Some(new) = new {
                let chunk = Chunk { operator: Arc::clone(new), ..chunk };
                moving.log.push(chunk.clone());
                named.push(chunk);
            }
        }
        self.collision().map_or(Ok(named), Err)
    }

    /// The error of a bucket that both operators have.
    fn collision(&self) -> Option<Error> {
        let mut waiting = self.waiting.iter();
        let ((new, bucket), Moving { old, .. }) =
            waiting.find(|(key, _)| self.settled.contains(*key))?;
        Some(Error::config(format!(
            "take the state of operator {old:?} for that of {new:?}: both have kept some, in bucket {bucket}; two \
             operators' states cannot become one. Give one of them a name of its own"
        )))
    }

    /// An epoch is about to be built of these changes: puts before them what has to be moved with it, and more,
    /// if it is the last one all of it.
    pub(crate) fn join(&mut self, changes: &mut Vec<Chunk>, is_last: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let most = if is_last { usize::MAX } else { MOST_BYTES };
        self.join_some(changes, most);
    }

    fn join_some(&mut self, changes: &mut Vec<Chunk>, most: usize) {
        let mut moved = Vec::new();
        for change in changes.iter() {
            let key = (Arc::clone(&change.operator), change.bucket);
            // It had this name before, or was moved with an earlier epoch.
            let Some(moving) = self.waiting.remove(&key) else { continue };
            // What is written anew, or ends, needs nothing of what it was.
            let is_needed = matches!(change.change, BucketChange::Append(_));
            moved.extend(moving.end(key.1, is_needed));
        }
        let mut bytes = 0;
        while bytes < most
            && let Some(((_, bucket), moving)) = self.waiting.pop_first()
        {
            let chunks = moving.end(bucket, true);
            bytes += chunks.iter().map(Chunk::len).sum::<usize>().max(1);
            moved.extend(chunks);
        }
        moved.append(changes);
        *changes = moved;
    }
}

impl Moving {
    /// The end of the old bucket and, if it is needed, the beginning of the new one.
    fn end(self, bucket: i64, is_needed: bool) -> Vec<Chunk> {
        let mut chunks = vec![Chunk::drop_bucket(self.old, bucket)];
        if is_needed {
            chunks.extend(self.log);
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Store = BTreeMap<(String, i64), Vec<Chunk>>;

    fn append(operator: &str, bucket: i64, bytes: &'static str) -> Chunk {
        Chunk { operator: operator.into(), bucket, change: BucketChange::Append(bytes.into()) }
    }

    fn apply(store: &mut Store, chunks: Vec<Chunk>) {
        for chunk in chunks {
            let key = (chunk.operator.to_string(), chunk.bucket);
            match &chunk.change {
                BucketChange::Append(_) => store.entry(key).or_default().push(chunk),
                BucketChange::Replace(_) => drop(store.insert(key, vec![chunk])),
                BucketChange::Drop => drop(store.remove(&key)),
            }
        }
    }

    fn renames() -> Renames {
        let mut renames = Renames::default();
        renames.add("old", Some("new"));
        renames.add("gone", None);
        renames
    }

    fn restored(store: &Store) -> (Moves, Vec<Chunk>) {
        let mut moves = Moves::new(&renames());
        let named = moves.restored(store.values().flatten().cloned().collect()).unwrap();
        (moves, named)
    }

    /// In which order buckets come, whatever changes, and wherever the process ends: what is read back is what
    /// the operator has.
    #[test]
    fn each_bucket_stands_once_at_any_time() {
        let mut store = Store::new();
        for bucket in 0..5 {
            apply(&mut store, vec![append("old", bucket, "1"), append("old", bucket, "2")]);
        }
        apply(&mut store, vec![append("gone", 7, "x"), append("other", 0, "y")]);
        let changes = [
            vec![append("new", 4, "3"), append("new", 4, "4")],
            vec![Chunk::drop_bucket("new".into(), 3)],
            vec![Chunk {
                operator: "new".into(),
                bucket: 2,
                change: BucketChange::Replace("whole".into()),
            }],
            vec![append("new", 9, "5")],
            vec![],
            vec![],
            vec![],
        ];
        let expected = |store: &Store| -> Vec<Chunk> {
            let mut all: Vec<Chunk> = restored(store).1;
            all.sort_by_key(|chunk| (chunk.operator.to_string(), chunk.bucket));
            all
        };
        let (mut moves, mut has) = restored(&store);
        for mut epoch in changes {
            let mut model = Store::new();
            apply(&mut model, has);
            apply(&mut model, epoch.clone());
            has = model.values().flatten().cloned().collect();
            moves.join_some(&mut epoch, 1);
            apply(&mut store, epoch);
            assert_eq!(expected(&store), has, "after any epoch");
        }
        assert!(moves.waiting.is_empty());
        assert!(store.keys().all(|(operator, _)| operator != "old" && operator != "gone"));
    }

    #[test]
    fn two_states_do_not_become_one() {
        let mut store = Store::new();
        apply(&mut store, vec![append("old", 1, "1"), append("new", 1, "2")]);
        let mut moves = Moves::new(&renames());
        let error = moves.restored(store.values().flatten().cloned().collect()).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("bucket 1"), "{error:?}");
    }
}
