//! The interval join beside a hand-written loop that does the same: the newest of some records of the last
//! minute for each of the others, over 1,000 and 100,000 keys; and a million records that are held.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rtbflow::operators::interval_join::{Bound, IntervalJoin};
use rtbflow::operators::window::Late;
use rtbflow::{Either, Elements, Flow};
use rtbflow_benches::{Ad, Replay, ads, drain, last_touch_by_hand};

const RECORDS: u32 = 200_000;
const WINDOW: Duration = Duration::from_secs(60);

/// Records of kind 0 are what the others are attributed to.
fn last_touch(
    flow: Flow<Replay>,
    window: Duration,
) -> Flow<impl Elements<Value = (Ad, Option<Ad>)>> {
    let join = IntervalJoin::between(Bound::before(window), Bound::same())
        .left_outer()
        .last_touch()
        .late(Late::Drop);
    flow.map(|ad| if ad.kind == 0 { Either::Right(ad) } else { Either::Left(ad) })
        .key_by_either(|ad: &Ad| ad.campaign, |ad: &Ad| ad.campaign)
        .interval_join("attribution", join)
}

fn interval_join(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("interval_join");
    group.throughput(Throughput::Elements(u64::from(RECORDS)));
    for keys in [1000, 100_000] {
        let ads: Arc<[Ad]> = ads(RECORDS, keys).into();
        group.bench_with_input(BenchmarkId::new("by_hand", keys), &ads, |bench, ads| {
            bench.iter(|| last_touch_by_hand(ads, 60_000, |pair, at| _ = black_box((pair, at))));
        });
        group.bench_with_input(BenchmarkId::new("operators", keys), &ads, |bench, ads| {
            bench.iter(|| drain(last_touch(Replay::flow(ads), WINDOW), |pair| _ = black_box(pair)));
        });
    }
    group.finish();
}

/// A day of a thousand seconds: all are held until the end of all time drops them.
fn held(criterion: &mut Criterion) {
    let ads: Arc<[Ad]> = ads(1_000_000, 800_000).into();
    let mut group = criterion.benchmark_group("interval_join_million");
    group.throughput(Throughput::Elements(1_000_000));
    group.sample_size(10);
    group.bench_function("take_and_drop", |bench| {
        let flow = || last_touch(Replay::flow(&ads), Duration::from_hours(24));
        bench.iter_batched(
            flow,
            |flow| drain(flow, |pair| _ = black_box(pair)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group! {
    name = joins;
    config = Criterion::default().sample_size(20);
    targets = interval_join, held
}
criterion_main!(joins);
