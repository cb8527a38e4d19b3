//! Decoding ad-events of about 380 bytes: `json` and `json_view` beside serde_json called by hand, into
//! the same types, and the decoders of the pipelines, which check every field more strictly.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rtbflow::Timestamp;
use rtbflow::codec::{Decoder, View, json, json_view};
use rtbflow::source::{RawBatch, RawBuffer, RawRecord};
use rtbflow_benches::{AdEvent, AdEventType};
use rtbflow_examples::events::{ad_clicks, ad_metrics};
use rtbflow_examples::generator::{Generator, Plan};
use rtbflow_examples::topics::SystemTopic;
use serde::Deserialize;

const RECORDS: u32 = 50_000;

/// As [`AdEvent`], without an allocation; a string with an escape does not decode.
#[derive(Deserialize)]
#[expect(dead_code, reason = "decoded, and not looked at")]
struct Borrowed<'a> {
    event_type: AdEventType,
    timestamp: Timestamp,
    device_id: &'a str,
    session_id: &'a str,
    ad_id: &'a str,
    campaign_id: &'a str,
    advertiser_id: &'a str,
    product_id: &'a str,
    placement: &'a str,
    bid_price: i64,
    actual_price: Option<i64>,
    search_term: Option<&'a str>,
    category: &'a str,
    revenue_amount: Option<i64>,
    order_id: Option<&'a str>,
}

struct Views;

impl View for Views {
    type Of<'a> = Borrowed<'a>;
}

fn ads() -> RawBatch {
    let plan = Plan::new(7, Timestamp::from_millis(1_705_276_800_000), Duration::from_millis(7));
    let ads = Generator::new(plan).filter(|record| record.topic == SystemTopic::AdEvents);
    let mut batch = RawBuffer::default();
    for (offset, ad) in (0..i64::from(RECORDS)).zip(ads) {
        let (key, value) = (Some(ad.key.as_bytes()), ad.value.as_deref());
        batch.push(RawRecord::new(offset, ad.timestamp, key, value), []);
    }
    batch.into()
}

fn each(ads: &RawBatch, mut decode: impl FnMut(&RawRecord<'_>) -> bool) {
    for index in 0..ads.len() {
        let record = ads.get(index);
        assert!(record.is_some_and(|record| decode(&record)), "every record decodes");
    }
}

fn decode(criterion: &mut Criterion) {
    let ads = ads();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    group.bench_function("owned/by_hand", |bench| {
        bench.iter(|| {
            each(&ads, |ad| {
                black_box(serde_json::from_slice::<AdEvent>(ad.value.unwrap_or_default())).is_ok()
            });
        });
    });
    group.bench_function("owned/json", |bench| {
        let decoder = json::<AdEvent>();
        bench.iter(|| each(&ads, |ad| black_box(decoder.decode(ad)).is_ok()));
    });
    group.bench_function("borrowed/by_hand", |bench| {
        bench.iter(|| {
            each(&ads, |ad| {
                let ad = serde_json::from_slice::<Borrowed<'_>>(ad.value.unwrap_or_default());
                black_box(ad.map(|ad| ad.bid_price)).is_ok()
            });
        });
    });
    group.bench_function("borrowed/json_view", |bench| {
        let decoder = json_view::<Views, _, _>(|ad: Borrowed<'_>| Ok(ad.bid_price));
        bench.iter(|| each(&ads, |ad| black_box(decoder.decode(ad)).is_ok()));
    });
    group.bench_function("ad_metrics", |bench| {
        let decoder = ad_metrics();
        bench.iter(|| each(&ads, |ad| black_box(decoder.decode(ad)).is_ok()));
    });
    group.bench_function("ad_clicks", |bench| {
        let decoder = ad_clicks();
        bench.iter(|| each(&ads, |ad| black_box(decoder.decode(ad)).is_ok()));
    });
    group.finish();
}

criterion_group!(
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).sample_size(20);
    targets = decode
);
criterion_main!(benches);
