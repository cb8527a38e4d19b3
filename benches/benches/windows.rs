//! Windows of an hour under dense traffic that never ends: those that begin every second beside those that
//! begin every minute and those that follow one another, by an aggregate of which a part can be taken out
//! again, and by one of which it cannot.
//!
//! Each key has a hundred records a second or more, so that what is measured is a record. A window that
//! ends emits one result per key, and one that slides by a second does so sixty times as often as one that
//! slides by a minute: `per_result` has ten records a second and key, where every tenth record pays for a
//! result.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rtbflow::operators::window::{Apply, Decided, Late, Max, Merge, Sliding, Sum, Tumbling};
use rtbflow_benches::{Ad, Running};

/// How dense the traffic is.
struct Traffic {
    name: &'static str,
    keys: u32,
    per_second: u32,
}

const DENSE: [Traffic; 3] = [
    Traffic { name: "1_key", keys: 1, per_second: 10_000 },
    Traffic { name: "1000_keys", keys: 1_000, per_second: 100_000 },
    Traffic { name: "1000_keys_per_result", keys: 1_000, per_second: 10_000 },
];

fn hour(criterion: &mut Criterion) {
    let hour = Duration::from_hours(1);
    let every = |slide| Sliding::of(hour).every(slide).late(Late::Drop);
    let (second, minute) = (every(Duration::from_secs(1)), every(Duration::from_mins(1)));
    let tumbling = Tumbling::of(hour).late(Late::Drop);
    for traffic in DENSE {
        let (sum, max) = (|| Sum::of(|ad: &Ad| ad.price), || Max::of(|ad: &Ad| ad.price));
        traffic.measure(criterion, "sum/tumbling", tumbling, sum());
        traffic.measure(criterion, "sum/every_minute", minute, sum());
        traffic.measure(criterion, "sum/every_second", second, sum());
        traffic.measure(criterion, "max/tumbling", tumbling, max());
        traffic.measure(criterion, "max/every_minute", minute, max());
        traffic.measure(criterion, "max/every_second", second, max());
    }
}

impl Traffic {
    fn measure<W, A>(&self, criterion: &mut Criterion, case: &str, windows: W, aggregate: A)
    where
        W: Decided + Apply<u32, Ad, fn(&Ad) -> u32, A>,
        A: Merge<Ad>,
    {
        let key: fn(&Ad) -> u32 = |ad| ad.campaign;
        let mut running = Running::new(self.keys, self.per_second, |flow| {
            flow.key_by(key).window(windows).aggregate("last-hour", aggregate)
        });
        // A minute of event time: sixty windows, or one.
        let records = u64::from(self.per_second) * 60;
        let mut group = criterion.benchmark_group("hour");
        group.throughput(Throughput::Elements(records));
        group.bench_function(BenchmarkId::new(case, self.name), |bench| {
            bench.iter(|| running.take(records, |record| _ = black_box(record)));
        });
        group.finish();
    }
}

criterion_group! {
    name = windows;
    config = Criterion::default().sample_size(10);
    targets = hour
}
criterion_main!(windows);
