//! Operators on keys beside a hash map in a loop: `dedup` and `latest_by`, over keys that fit into the
//! cache and keys that do not.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rtbflow_benches::{Ad, Replay, ads, dedup_by_hand, drain, latest_by_hand};

const RECORDS: u32 = 1_000_000;
/// A quarter of what the records span.
const WITHIN: Duration = Duration::from_secs(250);

fn dedup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dedup");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    for keys in [1_000, 100_000, 4_000_000] {
        let ads: Arc<[Ad]> = ads(RECORDS, keys).into();
        group.bench_with_input(BenchmarkId::new("by_hand", keys), &ads, |bench, ads| {
            bench.iter(|| dedup_by_hand(ads, WITHIN, |record| _ = black_box(record)));
        });
        group.bench_with_input(BenchmarkId::new("operators", keys), &ads, |bench, ads| {
            bench.iter(|| {
                let kept = Replay::flow(ads).key_by(|ad| ad.campaign).dedup("ids", WITHIN);
                drain(kept, |record| _ = black_box(record));
            });
        });
    }
    group.finish();
}

fn latest_by(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("latest_by");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    for keys in [1_000, 100_000, 4_000_000] {
        let ads: Arc<[Ad]> = ads(RECORDS, keys).into();
        group.bench_with_input(BenchmarkId::new("by_hand", keys), &ads, |bench, ads| {
            bench.iter(|| latest_by_hand(ads, |change| _ = black_box(change)));
        });
        group.bench_with_input(BenchmarkId::new("operators", keys), &ads, |bench, ads| {
            bench.iter(|| {
                let changes = Replay::flow(ads)
                    .map(|ad| (ad.campaign, ad.price))
                    .key_by(|bid| bid.0)
                    .latest_by("bids", WITHIN);
                drain(changes, |record| _ = black_box(record.value));
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = keyed;
    config = Criterion::default().sample_size(10);
    targets = dedup, latest_by
}
criterion_main!(keyed);
