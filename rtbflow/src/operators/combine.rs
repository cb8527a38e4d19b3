//! Merges the records of a key that meet within one epoch.

use std::fmt;
use std::hash::Hash;

use crate::chunk::Chunk;
use crate::error::Result;
use crate::flow::{Elements, Flow, KeyedFlow};
use crate::operators::stateful::{Logic, Outbox, Snapshot, Stateful};
use crate::record::{Origin, Record};
use crate::table::Table;
use crate::time::Timestamp;

impl<S, K, F> KeyedFlow<S, F>
where
    S: Elements,
    K: Hash + Eq + Send + 'static,
    F: Fn(&S::Value) -> K + Send + 'static,
{
    /// Merges the records of a key that meet within one epoch into one, before a sink that merges too:
    /// many small additions become one.
    ///
    /// `merge` must be associative and commutative, and so must be what the sink does: where an epoch
    /// ends is not defined. For results that do not depend on epochs take a window.
    ///
    /// # Time and state
    /// Holds one value per key until the next barrier, and nothing beyond it. A merged record has the
    /// latest timestamp, and the origin of the one record it was made of, if it was one.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let spent = run(values([("a", 1), ("b", 2), ("a", 3)]), |flow| {
    ///     flow.key_by(|pair| pair.0).combine(|sum, next| sum.1 += next.1)
    /// });
    /// assert_eq!(spent, [("a", 4), ("b", 2)]);
    /// ```
    pub fn combine<M>(self, merge: M) -> Flow<impl Elements<Value = S::Value>>
    where
        M: Fn(&mut S::Value, S::Value) + Send + 'static,
    {
        let logic = Combine { key: self.key, merge, merged: Table::new() };
        let tip = self.tip.then("combine");
        Flow { stream: Stateful::new(self.stream, "", logic, &tip), tip }
    }
}

/// The logic behind [`KeyedFlow::combine`].
pub(super) struct Combine<K, T, F, M> {
    key: F,
    merge: M,
    merged: Table<K, Record<T>>,
}

impl<K, T, F, M> fmt::Debug for Combine<K, T, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Combine")
    }
}

impl<K, T, F, M> Logic for Combine<K, T, F, M>
where
    K: Hash + Eq + Send + 'static,
    T: Send + 'static,
    F: Fn(&T) -> K + Send + 'static,
    M: Fn(&mut T, T) + Send + 'static,
{
    type In = T;
    type Out = T;
    const VERSION: u16 = 1;

    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<T>) {
        let key = (self.key)(&record.value);
        match self.merged.find_mut(&key) {
            Some(merged) => {
                merged.timestamp = merged.timestamp.max(record.timestamp);
                merged.origin = None;
                (self.merge)(&mut merged.value, record.value);
            }
            None => {
                let origin = record.origin.map(Origin::shared);
                self.merged.insert_new(key, Record { origin, ..record });
                out.hold_back();
            }
        }
    }

    fn on_barrier(&mut self, _wall_clock: Timestamp, out: &mut Outbox<T>) {
        for (_, record) in self.merged.drain() {
            out.push(record);
        }
    }

    fn snapshot(&mut self, _snapshot: &mut Snapshot) {}

    fn restore(&mut self, _chunk: &Chunk) -> Result<()> {
        Ok(())
    }
}
