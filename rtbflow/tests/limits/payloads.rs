//! A source of values of one size, which holds on to the bytes of its batches as a transport does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream;
use rtbflow::epoch::{DeadLetter, Original};
use rtbflow::source::{Batch, Content, Context, Delivery, FixedFeed, Incoming, Source};
use rtbflow::{BadRecord, Origin, Partition, Result, Timestamp, Topic};

/// Values of this many bytes, in batches.
#[derive(Debug, Clone)]
pub(crate) struct Payloads {
    bytes: usize,
    batch: i64,
    end: i64,
    read: Arc<AtomicU64>,
}

impl Payloads {
    pub(crate) fn endless(bytes: usize, batch: i64) -> Self {
        Self::some(bytes, batch, i64::MAX - batch)
    }

    pub(crate) fn some(bytes: usize, batch: i64, end: i64) -> Self {
        Self { bytes, batch, end, read: Arc::default() }
    }

    /// How many records were taken in.
    pub(crate) fn read(&self) -> impl Fn() -> u64 + use<> {
        let read = Arc::clone(&self.read);
        move || read.load(Ordering::Relaxed)
    }
}

impl Source for Payloads {
    type Batch = Values;
    type Feed = FixedFeed<Values>;

    fn topics(&self) -> Vec<String> {
        vec!["payloads".into()]
    }

    async fn open(&self, _context: Context) -> Result<Self::Feed> {
        let Self { bytes, batch, end, read } = self.clone();
        let partition = Partition::new(Topic::new("payloads"), 0);
        Ok(FixedFeed::new(vec![partition], move |_, from| {
            let starts = (from.unwrap_or(0)..end).step_by(usize::try_from(batch).unwrap());
            let read = Arc::clone(&read);
            let values = move |from: i64| {
                let to = end.min(from + batch);
                let len = usize::try_from(to - from).unwrap();
                Values {
                    from,
                    to,
                    value: bytes,
                    held: vec![1; bytes * len],
                    read: Arc::clone(&read),
                }
            };
            let deliveries = starts.map(move |from| Delivery::Batch(values(from)));
            stream::iter(deliveries.chain([Delivery::Finished]).map(Ok))
        }))
    }
}

/// A batch.
#[derive(Debug)]
pub(crate) struct Values {
    from: i64,
    to: i64,
    value: usize,
    held: Vec<u8>,
    read: Arc<AtomicU64>,
}

impl Batch for Values {
    type Value = Vec<u8>;

    fn len(&self) -> usize {
        usize::try_from(self.to - self.from).unwrap()
    }

    fn get(&self, index: usize) -> Option<Incoming<Vec<u8>>> {
        let offset = self.from + i64::try_from(index).ok()?;
        let value = self.held.get(index * self.value..)?.get(..self.value)?.to_vec();
        self.read.fetch_add(1, Ordering::Relaxed);
        let content = Content::Value(value, Timestamp::from_millis(offset));
        (offset < self.to).then_some(Incoming::new(offset, content))
    }

    fn dead_letter(
        &self,
        partition: Partition,
        offset: i64,
        reason: BadRecord,
    ) -> Option<DeadLetter> {
        let origin = Origin::new(partition, offset);
        Some(DeadLetter::record(origin, Original::default(), reason))
    }

    fn bytes(&self) -> usize {
        self.held.len()
    }
}
