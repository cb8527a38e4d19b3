//! What somebody writes without the library: a loop that does the same to the same records.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::fast::RandomState;
use futures::Stream;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use rtbflow::operators::window::{Window, Windowed};
use rtbflow::{Element, Flow, Partition, Record, Timestamp, Topic};

use crate::replay::read;
use crate::{Ad, Charge, Replay, Totals};

const OUT_OF_ORDERNESS: Duration = Duration::from_secs(5);

/// The clicks and what they cost, and how many records were dropped: a loop over the same stream of
/// elements that the operators get.
pub fn filter_map_by_hand(flow: Flow<Replay>, mut each: impl FnMut(Record<Charge>)) -> u64 {
    let mut stream = pin!(flow.into_elements());
    let mut context = Context::from_waker(Waker::noop());
    let mut dropped = 0;
    while let Poll::Ready(Some(element)) = stream.as_mut().poll_next(&mut context) {
        match element {
            Element::Record(record, _) if record.value.kind == 1 => {
                each(record.map(|ad| Charge { advertiser: ad.advertiser, amount: ad.price }));
            }
            Element::Record(record, _) => dropped += u64::from(record.is_accountable()),
            Element::Watermark(_) => {}
            Element::Barrier(barrier) => barrier.complete(),
        }
    }
    dropped
}

/// The same over a plain slice: no stream, no watermark in the element, nothing that could wait.
pub fn filter_map_over_slice(ads: &[Ad], mut each: impl FnMut(Record<Charge>)) -> Timestamp {
    let partition = Partition::new(Topic::new("ads"), 0);
    let mut watermark = Timestamp::MIN;
    for (number, ad) in ads.iter().enumerate() {
        let record = read(*ad, partition, number);
        watermark = watermark.max(record.timestamp - OUT_OF_ORDERNESS);
        if record.value.kind != 1 {
            continue;
        }
        each(record.map(|ad| Charge { advertiser: ad.advertiser, amount: ad.price }));
    }
    watermark
}

/// The campaigns of a window: totals in the order in which the campaigns came first, so that a restart
/// repeats it, and which of them changed, so that a commit can write them down.
#[derive(Default)]
struct Campaigns {
    index: HashMap<u32, usize, RandomState>,
    totals: Vec<(u32, Totals, bool)>,
    changed: Vec<usize>,
}

impl Campaigns {
    fn add(&mut self, ad: &Ad) {
        let next = self.totals.len();
        let at = *self.index.entry(ad.campaign).or_insert(next);
        if at == next {
            self.totals.push((ad.campaign, Totals::default(), false));
        }
        let Some((_, totals, changed)) = self.totals.get_mut(at) else { return };
        totals.add(ad);
        if !std::mem::replace(changed, true) {
            self.changed.push(at);
        }
    }
}

/// Totals per campaign and window.
#[derive(Default)]
struct Tumbling {
    size_ms: i64,
    /// By their ends.
    open: BTreeMap<i64, Campaigns>,
}

impl Tumbling {
    /// Adds a record; one whose window is over is dropped.
    #[inline]
    fn add(&mut self, record: &Record<Ad>, watermark: i64) {
        let at = record.timestamp.as_millis();
        let end = at - at.rem_euclid(self.size_ms) + self.size_ms;
        if end > watermark {
            self.open.entry(end).or_default().add(&record.value);
        }
    }

    /// Emits the windows that the watermark has passed.
    #[inline]
    fn close(&mut self, watermark: i64, each: &mut impl FnMut(Record<Windowed<u32, Totals>>)) {
        while let Some(first) = self.open.first_entry().filter(|first| *first.key() <= watermark) {
            let (end, campaigns) = first.remove_entry();
            let [start, last, end] = [end - self.size_ms, end - 1, end].map(Timestamp::from_millis);
            let window = Window { start, end };
            for (key, value, _) in campaigns.totals {
                each(Record::derived(Windowed { key, window, value }, last));
            }
        }
    }
}

/// Totals per campaign and window, emitted when the watermark passes a window's end; late records are
/// dropped: a loop over the same stream of elements that the operators get.
pub fn windows_by_hand(
    flow: Flow<Replay>,
    size_ms: i64,
    mut each: impl FnMut(Record<Windowed<u32, Totals>>),
) {
    let mut stream = pin!(flow.into_elements());
    let mut context = Context::from_waker(Waker::noop());
    let mut windows = Tumbling { size_ms, ..Tumbling::default() };
    while let Poll::Ready(Some(element)) = stream.as_mut().poll_next(&mut context) {
        match element {
            Element::Record(record, watermark) => {
                windows.close(watermark.as_millis(), &mut each);
                windows.add(&record, watermark.as_millis());
            }
            Element::Watermark(watermark) => windows.close(watermark.as_millis(), &mut each),
            Element::Barrier(barrier) => barrier.complete(),
        }
    }
}

/// The same over a plain slice: no stream, no watermark in the element, nothing that could wait.
pub fn windows_over_slice(
    ads: &[Ad],
    size_ms: i64,
    mut each: impl FnMut(Record<Windowed<u32, Totals>>),
) {
    let partition = Partition::new(Topic::new("ads"), 0);
    let mut windows = Tumbling { size_ms, ..Tumbling::default() };
    let mut watermark = Timestamp::MIN;
    for (number, ad) in ads.iter().enumerate() {
        let record = read(*ad, partition, number);
        windows.add(&record, watermark.as_millis());
        watermark = watermark.max(record.timestamp - OUT_OF_ORDERNESS);
        windows.close(watermark.as_millis(), &mut each);
    }
    windows.close(i64::MAX, &mut each);
}

/// The first record of each campaign within a time: one hash map, from which nothing ever goes.
pub fn dedup_by_hand(ads: &[Ad], within: Duration, mut each: impl FnMut(Record<Ad>)) {
    let partition = Partition::new(Topic::new("ads"), 0);
    let mut kept: HashMap<u32, Timestamp, RandomState> = HashMap::default();
    for (number, ad) in ads.iter().enumerate() {
        let record = read(*ad, partition, number);
        let at = record.timestamp;
        match kept.entry(ad.campaign) {
            Entry::Occupied(kept) if at < *kept.get() + within && *kept.get() < at + within => {}
            entry @ (Entry::Occupied(_) | Entry::Vacant(_)) => {
                entry.insert(at);
                each(record);
            }
        }
    }
}

/// The newest bid of each campaign and the one that it replaces: one hash map, from which nothing ever
/// goes.
pub fn latest_by_hand(ads: &[Ad], mut each: impl FnMut((Option<i64>, i64))) {
    let partition = Partition::new(Topic::new("ads"), 0);
    let mut newest: HashMap<u32, (Timestamp, i64), RandomState> = HashMap::default();
    for (number, ad) in ads.iter().enumerate() {
        let record = read(*ad, partition, number);
        let (at, bid) = (record.timestamp, record.value.price);
        match newest.entry(ad.campaign) {
            Entry::Occupied(mut entry) if entry.get().0 <= at => {
                let (_, old) = entry.insert((at, bid));
                each((Some(old), bid));
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => {
                entry.insert((at, bid));
                each((None, bid));
            }
        }
    }
}
