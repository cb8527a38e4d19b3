//! Performance by campaign and window is the sum over all partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rtbflow::Timestamp;
use rtbflow::testing::sim::{SimLog, Simulation};
use rtbflow_examples::events::{AdMetric, Happened};
use rtbflow_examples::performance::{PerformanceOptions, performance};

use super::{BACK_MS, SEEDS, SETS, step, times};

/// A campaign, the start of a window, and what happened: impressions, clicks, conversions, cost, revenue.
type Row = (String, i64, [i64; 5]);

type Partitions = Vec<Vec<(AdMetric, Timestamp)>>;

fn happened() -> impl Strategy<Value = Happened> {
    prop_oneof![
        Just(Happened::Impression),
        (1..2_000_i64).prop_map(Happened::Click),
        (0..90_000_i64).prop_map(Happened::Conversion),
    ]
}

fn partitions() -> impl Strategy<Value = Partitions> {
    let ad = (step(30_000), 0..4_u8, happened());
    proptest::collection::vec(proptest::collection::vec(ad, 0..40), 4).prop_map(|lists| {
        let partition = |list: Vec<((i64, i64), u8, Happened)>| {
            let steps: Vec<_> = list.iter().map(|(step, ..)| *step).collect();
            let ads = times(&steps).zip(list).map(|(timestamp, (_, campaign, happened))| {
                let campaign_id = format!("campaign-{campaign}").into();
                (AdMetric { timestamp, campaign_id, happened }, timestamp)
            });
            ads.collect()
        };
        lists.into_iter().map(partition).collect()
    })
}

fn counts(happened: Happened) -> [i64; 5] {
    match happened {
        Happened::Impression => [1, 0, 0, 0, 0],
        Happened::Click(price) => [0, 1, 0, price, 0],
        Happened::Conversion(revenue) => [0, 0, 1, 0, revenue],
    }
}

/// What merging rows leaves in the place.
fn merged(rows: impl IntoIterator<Item = Row>) -> BTreeMap<(String, i64), [i64; 5]> {
    let mut merged: BTreeMap<_, [i64; 5]> = BTreeMap::new();
    for (campaign, start, counts) in rows {
        let sums = merged.entry((campaign, start)).or_default();
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    merged
}

/// Five minutes.
const WINDOW_MS: i64 = 300_000;

fn check(partitions: Partitions, tasks: u32, early: Option<Duration>) {
    let ads = partitions.iter().flatten().map(|(ad, at)| {
        let start = at.as_millis().div_euclid(WINDOW_MS) * WINDOW_MS;
        (ad.campaign_id.to_string(), start, counts(ad.happened))
    });
    let expected = merged(ads);
    let (allowed_lateness, metric_ttl) = (Duration::from_mins(1), Duration::from_hours(48));
    let options = PerformanceOptions { early, allowed_lateness, metric_ttl };
    let back = Duration::from_millis(BACK_MS.try_into().unwrap());
    let log =
        move |chance: &_| SimLog::laid_out(chance, "ad-events", tasks, back, partitions.clone());
    Simulation::new(log, move |ads, ledger| {
        let rows = performance(ads, options).map(|of| {
            let sums = of.value;
            let [cost, revenue] = [sums.cost, sums.revenue].map(|sum| sum.fits().unwrap());
            let counts = [sums.impressions, sums.clicks, sums.conversions, cost, revenue];
            (of.key.to_string(), of.window.start.as_millis(), counts)
        });
        rows.to(ledger.sink())
    })
    .invariant(move |rows: &[Row]| match merged(rows.iter().cloned()) {
        found if found == expected => Ok(()),
        found => Err(format!("{found:?} and not {expected:?}")),
    })
    .check(SEEDS);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: SETS, max_shrink_iters: 0, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_cache_is_the_sum_over_all_partitions(
        partitions in partitions(),
        tasks in prop_oneof![Just(1_u32), Just(2), Just(4)],
        early in any::<bool>(),
    ) {
        check(partitions, tasks, early.then(|| Duration::from_secs(1)));
    }
}
