//! Operators beside a hand-written loop that does the same: `filter→map`, and `key_by→tumbling
//! window→aggregate` over 1, 1,000 and 100,000 keys.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rtbflow::operators::window::{Late, Tumbling};
use rtbflow_benches::{
    Ad, Charge, Performance, Replay, ads, drain, filter_map_by_hand, filter_map_over_slice,
    windows_by_hand, windows_over_slice,
};

const RECORDS: u32 = 200_000;
const WINDOW: Duration = Duration::from_secs(30);

fn filter_map(criterion: &mut Criterion) {
    let ads: Arc<[Ad]> = ads(RECORDS, 200).into();
    let mut group = criterion.benchmark_group("filter_map");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    group.bench_function("by_hand", |bench| {
        bench.iter(|| {
            black_box(filter_map_by_hand(Replay::flow(&ads), |record| _ = black_box(record)))
        });
    });
    group.bench_function("over_slice", |bench| {
        bench.iter(|| filter_map_over_slice(&ads, |record| _ = black_box(record)));
    });
    group.bench_function("operators", |bench| {
        bench.iter(|| {
            let charges = Replay::flow(&ads)
                .filter(|ad| ad.kind == 1)
                .map(|ad| Charge { advertiser: ad.advertiser, amount: ad.price });
            drain(charges, |record| _ = black_box(record));
        });
    });
    group.finish();
}

fn window(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tumbling_window");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    for keys in [1, 1000, 100_000] {
        let ads: Arc<[Ad]> = ads(RECORDS, keys).into();
        group.bench_with_input(BenchmarkId::new("by_hand", keys), &ads, |bench, ads| {
            bench.iter(|| {
                windows_by_hand(Replay::flow(ads), 30_000, |record| _ = black_box(record));
            });
        });
        group.bench_with_input(BenchmarkId::new("over_slice", keys), &ads, |bench, ads| {
            bench.iter(|| windows_over_slice(ads, 30_000, |record| _ = black_box(record)));
        });
        group.bench_with_input(BenchmarkId::new("operators", keys), &ads, |bench, ads| {
            bench.iter(|| {
                let totals = Replay::flow(ads)
                    .key_by(|ad| ad.campaign)
                    .window(Tumbling::of(WINDOW).late(Late::Drop))
                    .aggregate("performance", Performance);
                drain(totals, |record| _ = black_box(record));
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = operators;
    config = Criterion::default().sample_size(30);
    targets = filter_map, window
}
criterion_main!(operators);
