//! A sink that does to Redis what a closure says, record by record.

use std::fmt;

use rtbflow::sink::{Place, Sink, Staged};
use rtbflow::{Origin, Record};

use crate::redis::batch::{SinkBatch, Work};
use crate::redis::{Operations, Redis};

/// Stages the operations of each record; made by [`Redis::write`].
pub struct Write<F> {
    place: Place,
    operations: Operations,
    /// Where the records were read that have operations.
    origins: Vec<Option<Origin>>,
    apply: F,
}

impl Redis {
    /// A sink that does for each record what the closure puts into [`Operations`]. For results that are
    /// merged from partials choose [`merge_hash`](Self::merge_hash), for decisions that need to read
    /// first [`script`](Self::script).
    ///
    /// # Errors
    /// A record of which Redis refuses an operation for what it is (a sum beyond 64 bits, a key that holds
    /// something else) becomes a dead letter, and none of its operations is applied.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use rtbflow::sink::Sink;
    /// use rtbflow::{Record, Timestamp};
    /// use rtbflow_sinks::redis::Redis;
    ///
    /// struct Click { campaign: String, price: i64 }
    ///
    /// let redis = Redis::connect_to("redis://127.0.0.1/2").build()?;
    /// let mut spent = redis.write(|click: &Click, operations| {
    ///     let key = format!("spent:{}", click.campaign);
    ///     operations
    ///         .increment(&key, "clicks", 1)
    ///         .increment(&key, "won", click.price)
    ///         .expire(&key, Duration::from_hours(48));
    /// });
    ///
    /// let click = Click { campaign: "summer".into(), price: 1200 };
    /// spent.write(&Record::derived(click, Timestamp::from_millis(0)));
    /// assert_eq!(spent.pending(), 3);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    #[must_use]
    pub fn write<T, F>(&self, apply: F) -> Write<F>
    where
        F: Fn(&T, &mut Operations) + Send + 'static,
    {
        Write { place: self.place(), operations: Operations::default(), origins: Vec::new(), apply }
    }
}

impl<T, F> Sink<T> for Write<F>
where
    F: Fn(&T, &mut Operations) + Send + 'static,
{
    fn write(&mut self, record: &Record<T>) {
        self.operations.begin_row(self.origins.len());
        (self.apply)(&record.value, &mut self.operations);
        // A record without operations has no row.
        if self.operations.is_used() {
            self.origins.push(record.origin);
        }
    }

    fn pending(&self) -> usize {
        self.operations.len()
    }

    fn stage(&mut self, out: &mut Vec<Staged>) {
        if !self.operations.is_empty() {
            let operations = Work::Operations(std::mem::take(&mut self.operations));
            out.push(
                SinkBatch::new(operations, std::mem::take(&mut self.origins)).staged(self.place),
            );
        }
    }

    fn places(&self) -> Vec<Place> {
        vec![self.place]
    }
}

impl<F> fmt::Debug for Write<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Write({} staged)", self.operations.len())
    }
}
