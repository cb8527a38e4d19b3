//! Runs one case once over 200,000 records, to count its instructions:
//! `valgrind --tool=callgrind target/release/instructions CASE`, less those of the case `nothing`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use rtbflow::operators::window::{Late, Tumbling};
use rtbflow_benches::{
    Ad, Charge, Performance, Replay, ads, drain, filter_map_by_hand, windows_by_hand,
};

fn main() {
    let case = std::env::args().nth(1).unwrap_or_default();
    let keys = std::env::args().nth(2).and_then(|keys| keys.parse().ok()).unwrap_or(1000);
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
        "window/by_hand" => windows_by_hand(&ads, 30_000, |record| _ = black_box(record)),
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
