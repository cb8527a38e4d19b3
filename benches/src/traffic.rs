//! Endless dense traffic, of which a benchmark takes as many records as it measures: the state that goes
//! with the last hour is there, and nothing of it is emitted at an end that real streams do not have.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use rtbflow::{Element, Elements, Flow, Partition, Record, Timestamp, Topic};

use crate::replay::{OUT_OF_ORDERNESS, read};
use crate::{Ad, ads};

/// Seconds of event time in which each key has one record, before the traffic gets dense: an hour, and as
/// long again as it takes until the first windows of an hour have been left behind.
const FILLED_SECONDS: u32 = 3_700;
/// The dense traffic repeats itself after this many seconds.
const LAP_SECONDS: u32 = 10;

/// First an hour with one record for each key and second, then a number of records a second, over and over.
#[derive(Debug)]
pub struct Traffic {
    ads: Vec<Ad>,
    keys: u32,
    number: usize,
    filling: u32,
    /// The place in `ads`, and how much later it is this time.
    next: usize,
    later_ms: i64,
    partition: Partition,
    highest: Timestamp,
    asked: Arc<AtomicU64>,
}

impl Traffic {
    fn new(keys: u32, per_second: u32, asked: Arc<AtomicU64>) -> Self {
        let dense = |(n, ad): (i64, Ad)| {
            let disorder_ms = n - ad.at.as_millis();
            let at = Timestamp::from_millis(n * 1_000 / i64::from(per_second) - disorder_ms);
            Ad { at, ..ad }
        };
        Self {
            ads: (0..).zip(ads(per_second * LAP_SECONDS, keys)).map(dense).collect(),
            keys,
            number: 0,
            filling: FILLED_SECONDS * keys,
            next: 0,
            later_ms: i64::from(FILLED_SECONDS) * 1_000,
            partition: Partition::new(Topic::new("ads"), 0),
            highest: Timestamp::MIN,
            asked,
        }
    }

    #[inline]
    fn ad(&mut self) -> Ad {
        if let Some(left) = self.filling.checked_sub(1) {
            self.filling = left;
            let n = FILLED_SECONDS * self.keys - left - 1;
            let at = Timestamp::from_millis(i64::from(n / self.keys) * 1_000);
            return Ad {
                kind: 0,
                campaign: n % self.keys,
                advertiser: 0,
                price: i64::from(n % 1_009),
                at,
            };
        }
        let Some(ad) = self.ads.get(self.next) else { return Ad::default() };
        let ad = Ad { at: Timestamp::from_millis(ad.at.as_millis() + self.later_ms), ..*ad };
        self.next += 1;
        if self.next == self.ads.len() {
            self.next = 0;
            self.later_ms += i64::from(LAP_SECONDS) * 1_000;
        }
        ad
    }
}

impl Stream for Traffic {
    type Item = Element<Ad>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Element<Ad>>> {
        let this = self.get_mut();
        let Some(asked) = this.asked.load(Ordering::Relaxed).checked_sub(1) else {
            return Poll::Pending;
        };
        this.asked.store(asked, Ordering::Relaxed);
        let record = read(this.ad(), this.partition, this.number);
        this.number += 1;
        let watermark = this.highest - OUT_OF_ORDERNESS;
        this.highest = this.highest.max(record.timestamp);
        Poll::Ready(Some(Element::Record(record, watermark)))
    }
}

/// A pipeline with an hour of traffic behind it.
#[derive(Debug)]
pub struct Running<S> {
    stream: Pin<Box<S>>,
    asked: Arc<AtomicU64>,
}

impl<S: Elements> Running<S> {
    /// Runs the pipeline until its hour is full: over this many keys, then with this many records a second.
    pub fn new(
        keys: u32,
        per_second: u32,
        pipeline: impl FnOnce(Flow<Traffic>) -> Flow<S>,
    ) -> Self {
        let asked = Arc::new(AtomicU64::new(0));
        let traffic = Traffic::new(keys, per_second, Arc::clone(&asked));
        let stream = Box::pin(pipeline(Flow::from_elements(traffic)).into_elements());
        let mut running = Self { stream, asked };
        // Until the disorder of the dense traffic is what it is later, too.
        running.take(u64::from(FILLED_SECONDS * keys) + u64::from(per_second) * 10, |_| {});
        running
    }

    /// Lets this many more records in, and gives each result to a closure.
    pub fn take(&mut self, records: u64, mut each: impl FnMut(Record<S::Value>)) {
        self.asked.store(records, Ordering::Relaxed);
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(element)) = self.stream.as_mut().poll_next(&mut context) {
            if let Element::Record(record, _) = element {
                each(record);
            }
        }
    }
}
