//! Says what the key of a record is.

use crate::flow::{Elements, Flow, KeyedFlow};

impl<S: Elements> Flow<S> {
    /// Says what the key of a record is, for the windows, joins and dedup that follow.
    ///
    /// Nothing is moved between tasks: a key's records meet where the source's partitioning brings them
    /// together. Where they are spread over partitions, merge the partial results in the place
    /// ([`combine`](KeyedFlow::combine) before a sink that adds).
    ///
    /// # Time and state
    /// None.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::testing::{run, values};
    ///
    /// let sums = run(values([("a", 1), ("b", 2), ("a", 3)]), |flow| {
    ///     flow.key_by(|pair| pair.0).combine(|sum, next| sum.1 += next.1)
    /// });
    /// assert_eq!(sums, [("a", 4), ("b", 2)]);
    /// ```
    pub fn key_by<K, F>(self, key: F) -> KeyedFlow<S, F>
    where
        F: Fn(&S::Value) -> K + Send + 'static,
    {
        KeyedFlow { stream: self.stream, key, tip: self.tip.then("key_by") }
    }
}
