//! Decoding one ad-event of about 380 bytes: every field checked, against what serde's derive does.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rtbflow::Timestamp;
use rtbflow::codec::{Decoder, json};
use rtbflow::source::RawRecord;
use rtbflow_examples::events::{ad_clicks, ad_metrics};
use serde::Deserialize;

/// What one would write without the contract: owned strings, and lenient.
#[derive(Deserialize)]
#[expect(dead_code, reason = "a plain struct of all fields, as the measure")]
struct PlainAd {
    event_type: PlainEventType,
    timestamp: Timestamp,
    device_id: String,
    session_id: String,
    ad_id: String,
    campaign_id: String,
    advertiser_id: String,
    product_id: String,
    placement: String,
    bid_price: i64,
    actual_price: Option<i64>,
    search_term: Option<String>,
    category: String,
    revenue_amount: Option<i64>,
    order_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum PlainEventType {
    Impression,
    Click,
    Conversion,
}

/// The same without any allocation; an escape in a string does not decode.
#[derive(Deserialize)]
#[expect(dead_code, reason = "a plain struct of all fields, as the measure")]
struct BorrowedAd<'a> {
    event_type: PlainEventType,
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

fn ad(event_type: &str, price: &str) -> String {
    format!(
        concat!(
            r#"{{"event_type": "{}", "timestamp": "2024-01-15T10:30:00.123Z", "device_id": "device_12345", "#,
            r#""session_id": "session_12345_947348", "ad_id": "ad_17_2", "campaign_id": "campaign_17", "#,
            r#""advertiser_id": "advertiser_17", "product_id": "product_17", "placement": "PRODUCT_DETAIL", "#,
            r#""bid_price": 1500, "category": "전자제품/컴퓨터"{}}}"#
        ),
        event_type, price
    )
}

fn decode(c: &mut Criterion) {
    let impression = ad("IMPRESSION", "");
    let click = ad("CLICK", r#", "actual_price": 1200, "search_term": "노트북""#);
    for (name, text) in [("impression", &impression), ("click", &click)] {
        let mut group = c.benchmark_group(format!("decode/{name}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        let record = RawRecord {
            offset: 0,
            timestamp: Timestamp::MIN,
            key: None,
            value: Some(text.as_bytes()),
        };
        let (metrics, clicks, plain) = (ad_metrics(), ad_clicks(), json::<PlainAd>());
        group.bench_function("metric", |b| b.iter(|| metrics.decode(black_box(&record)).is_ok()));
        group.bench_function("click", |b| b.iter(|| clicks.decode(black_box(&record)).is_ok()));
        group.bench_function("derive, owned, same checks of the bytes", |b| {
            b.iter(|| plain.decode(black_box(&record)).is_ok());
        });
        group.bench_function("derive, owned", |b| {
            b.iter(|| serde_json::from_slice::<PlainAd>(black_box(text.as_bytes())).is_ok());
        });
        group.bench_function("derive, borrowed", |b| {
            b.iter(|| serde_json::from_slice::<BorrowedAd<'_>>(black_box(text.as_bytes())).is_ok());
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(std::time::Duration::from_secs(2));
    targets = decode
}
criterion_main!(benches);
