//! Runs one case once over 200,000 records, to count its instructions:
//! `valgrind --tool=callgrind target/release/instructions CASE KEYS`, less those of the case `nothing`.
//!
//! The cases `hour/…` run over dense traffic that goes on from an hour of it:
//! `instructions hour/SLIDE/AGGREGATE KEYS RECORDS PER_SECOND`, less those of no records.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use rtbflow::Flow;
use rtbflow::operators::window::{Apply, Decided, Late, Max, Merge, Sliding, Sum, Tumbling};
use rtbflow_benches::{
    Ad, Charge, Performance, Replay, Running, Traffic, ads, drain, filter_map_by_hand,
    windows_by_hand,
};

fn main() {
    let argument = |at: usize| std::env::args().nth(at);
    let case = argument(1).unwrap_or_default();
    let keys = argument(2).and_then(|keys| keys.parse().ok()).unwrap_or(1000);
    if let Some(case) = case.strip_prefix("hour/") {
        let number = |at| argument(at).and_then(|number| number.parse().ok());
        return hour(case, keys, number(3).unwrap_or(0), number(4).unwrap_or(10_000));
    }
    let ads: Arc<[Ad]> = ads(200_000, keys).into();
    match case.as_str() {
        "filter_map/by_hand" => {
            black_box(filter_map_by_hand(Replay::flow(&ads), |record| _ = black_box(record)));
        }
        "filter_map/operators" => {
            let charges = Replay::flow(&ads)
                .filter(|ad| ad.kind == 1)
                .map(|ad| Charge { advertiser: ad.advertiser, amount: ad.price });
            drain(charges, |record| _ = black_box(record));
        }
        "window/by_hand" => {
            windows_by_hand(Replay::flow(&ads), 30_000, |record| _ = black_box(record));
        }
        "window/operators" => {
            let totals = Replay::flow(&ads)
                .key_by(|ad| ad.campaign)
                .window(Tumbling::of(Duration::from_secs(30)).late(Late::Drop))
                .aggregate("performance", Performance);
            drain(totals, |record| _ = black_box(record));
        }
        _ => drop(black_box(ads)),
    }
}

/// Windows of an hour, by how often they begin and what they do.
fn hour(case: &str, keys: u32, records: u32, per_second: u32) {
    let traffic = Dense { keys, records, per_second };
    let hour = Duration::from_hours(1);
    let every = |slide| Sliding::of(hour).every(slide).late(Late::Drop);
    let (second, minute) = (every(Duration::from_secs(1)), every(Duration::from_mins(1)));
    let tumbling = Tumbling::of(hour).late(Late::Drop);
    let (sum, max) = (Sum::of(|ad: &Ad| ad.price), Max::of(|ad: &Ad| ad.price));
    match case {
        "second/sum" => traffic.run(second, sum),
        "minute/sum" => traffic.run(minute, sum),
        "tumbling/sum" => traffic.run(tumbling, sum),
        "second/max" => traffic.run(second, max),
        "minute/max" => traffic.run(minute, max),
        "tumbling/max" => traffic.run(tumbling, max),
        _ => {}
    }
}

struct Dense {
    keys: u32,
    records: u32,
    per_second: u32,
}

impl Dense {
    fn run<W, A>(&self, windows: W, aggregate: A)
    where
        W: Decided + Apply<u32, Ad, fn(&Ad) -> u32, A>,
        A: Merge<Ad>,
    {
        let key: fn(&Ad) -> u32 = |ad| ad.campaign;
        let pipeline = |flow: Flow<Traffic>| {
            flow.key_by(key).window(windows).aggregate("last-hour", aggregate)
        };
        let mut running = Running::new(self.keys, self.per_second, pipeline);
        running.take(self.records.into(), |record| _ = black_box(record));
    }
}
