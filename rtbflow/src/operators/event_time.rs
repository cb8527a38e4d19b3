//! Takes event time from the value.

use std::fmt;
use std::time::Duration;

use crate::chunk::Chunk;
use crate::error::Result;
use crate::flow::{Elements, Flow};
use crate::operators::{Logic, Outbox, Snapshot};
use crate::record::Record;
use crate::state::{ChunkReader, ChunkWriter, Format};
use crate::time::Timestamp;

impl<S: Elements> Flow<S> {
    /// Takes event time from the value instead of what the source said, with a watermark of its own:
    /// the highest event time so far less `out_of_orderness`.
    ///
    /// Where the records come from several partitions, prefer the source's own `event_time`: it keeps a
    /// watermark for each partition and takes the lowest, and it knows when a partition is idle.
    ///
    /// # Time and state
    /// Keeps the highest event time, under `name`. The watermarks that come in are dropped, except the
    /// last one (the end of all time).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use rtbflow::Timestamp;
    /// use rtbflow::testing::{elements, values};
    ///
    /// let flow = |flow: rtbflow::testing::TestFlow<i64>| {
    ///     flow.event_time("by-value", |ms| Timestamp::from_millis(*ms), Duration::from_millis(5))
    /// };
    /// assert_eq!(elements(values([10, 7, 20]), flow), ["10@10", "w5", "7@7", "20@20", "w15", "w+inf"]);
    /// ```
    pub fn event_time<F>(
        self,
        name: &str,
        of: F,
        out_of_orderness: Duration,
    ) -> Flow<impl Elements<Value = S::Value>>
    where
        F: Fn(&S::Value) -> Timestamp + Send + 'static,
    {
        let logic = EventTimeLogic {
            of,
            out_of_orderness,
            highest: None,
            logged: None,
            values: std::marker::PhantomData,
        };
        self.logic("event_time", name, logic)
    }
}

/// The logic behind [`Flow::event_time`].
pub(super) struct EventTimeLogic<T, F> {
    of: F,
    out_of_orderness: Duration,
    highest: Option<Timestamp>,
    /// What the place knows as the highest.
    logged: Option<Timestamp>,
    values: std::marker::PhantomData<fn(T)>,
}

impl<T, F> fmt::Debug for EventTimeLogic<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventTimeLogic(highest {:?})", self.highest)
    }
}

impl<T, F> Logic for EventTimeLogic<T, F>
where
    T: Send + 'static,
    F: Fn(&T) -> Timestamp + Send + 'static,
{
    type In = T;
    type Out = T;
    const VERSION: u16 = 1;

    fn on_record(&mut self, record: Record<T>, out: &mut Outbox<T>) {
        let timestamp = (self.of)(&record.value);
        out.push(Record { timestamp, ..record });
        if self.highest.is_none_or(|highest| highest < timestamp) {
            self.highest = Some(timestamp);
            out.watermark(timestamp - self.out_of_orderness);
        }
    }

    fn on_watermark(&mut self, watermark: Timestamp, _out: &mut Outbox<T>) -> Option<Timestamp> {
        (watermark == Timestamp::MAX).then_some(watermark)
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) {
        if let Some(highest) = self.highest.filter(|_| self.highest > self.logged) {
            self.logged = Some(highest);
            let mut entry = ChunkWriter::new(Format::of_watermark(Self::VERSION));
            entry.put(&highest);
            snapshot.replace(0, entry);
        }
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<()> {
        self.highest =
            ChunkReader::open(chunk, Format::of_watermark(Self::VERSION))?.only_entry()?;
        self.logged = self.highest;
        Ok(())
    }

    fn restored(&mut self, out: &mut Outbox<T>) {
        if let Some(highest) = self.highest {
            out.watermark(highest - self.out_of_orderness);
        }
    }
}
