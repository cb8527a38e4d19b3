//! A stream that replays records with their watermarks, as a task's intake does.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use rtbflow::{Element, Elements, Flow, Origin, Partition, Record, Timestamp, Topic};

use crate::Ad;

/// How far records may be out of order.
pub(crate) const OUT_OF_ORDERNESS: Duration = Duration::from_secs(5);

/// Replays records, each with the watermark before it, and the end of all time at last.
#[derive(Debug)]
pub struct Replay {
    ads: Arc<[Ad]>,
    next: usize,
    partition: Partition,
    highest: Timestamp,
    ended: bool,
}

impl Replay {
    /// A flow of these records.
    pub fn flow(ads: &Arc<[Ad]>) -> Flow<Self> {
        Flow::from_elements(Self {
            ads: Arc::clone(ads),
            next: 0,
            partition: Partition::new(Topic::new("ads"), 0),
            highest: Timestamp::MIN,
            ended: false,
        })
    }
}

/// The record with this number, as a source hands it over.
#[inline]
pub(crate) fn read(ad: Ad, partition: Partition, number: usize) -> Record<Ad> {
    let offset = i64::try_from(number).unwrap_or(i64::MAX);
    Record::read(ad, ad.at, Origin::new(partition, offset))
}

impl Stream for Replay {
    type Item = Element<Ad>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Element<Ad>>> {
        let this = self.get_mut();
        let Some(ad) = this.ads.get(this.next) else {
            let end = !std::mem::replace(&mut this.ended, true);
            return Poll::Ready(end.then_some(Element::Watermark(Timestamp::MAX)));
        };
        let record = read(*ad, this.partition, this.next);
        this.next += 1;
        let watermark = this.highest - OUT_OF_ORDERNESS;
        this.highest = this.highest.max(ad.at);
        Poll::Ready(Some(Element::Record(record, watermark)))
    }
}

/// Pulls everything out of a flow and gives each record to a closure.
pub fn drain<S: Elements>(flow: Flow<S>, mut each: impl FnMut(Record<S::Value>)) {
    let mut stream = pin!(flow.into_elements());
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(element)) = stream.as_mut().poll_next(&mut context) {
        if let Element::Record(record, _) = element {
            each(record);
        }
    }
}
