//! Each conversion is there once, with the last click before it.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use rtbflow::Timestamp;
use rtbflow::testing::sim::{SimLog, Simulation};
use rtbflow_examples::events::{AdClick, Click, Conversion, ConversionType};
use rtbflow_examples::matching::matching;

use super::{BACK_MS, SEEDS, SETS, step, times};

/// A conversion's id, and when the click was that it is attributed to.
type Row = (String, Option<i64>);

const LONGEST: Duration = Duration::from_mins(10);
/// Partitions of conversions; twice as many of clicks.
const PARTITIONS: usize = 4;

/// One record of a device: the steps to its time, the device, the product, and for a conversion its window.
type Made = ((i64, i64), usize, u8, u64);

fn made() -> impl Strategy<Value = Vec<Made>> {
    proptest::collection::vec((step(10_000), 0..16_usize, 0..3_u8, 0..15_u64), 0..60)
}

/// Lays records out by device, with their times: a partition each.
fn by_device<T>(
    records: &[Made],
    partitions: usize,
    value: impl Fn(usize, Timestamp, &Made) -> T,
) -> Vec<Vec<(T, Timestamp)>> {
    let of = |partition: usize| {
        let own = records.iter().enumerate().filter(|(_, made)| made.1 % partitions == partition);
        let own: Vec<(usize, &Made)> = own.collect();
        let steps: Vec<(i64, i64)> = own.iter().map(|(_, made)| made.0).collect();
        let own = times(&steps).zip(own);
        own.map(|(at, (number, made))| (value(number, at, made), at)).collect()
    };
    (0..partitions).map(of).collect()
}

fn conversion(
    number: usize,
    timestamp: Timestamp,
    (_, device, product, minutes): &Made,
) -> Conversion {
    Conversion {
        timestamp,
        order_id: Some(format!("order-{number}").into()),
        device_id: format!("device-{device}").into(),
        session_id: "session".into(),
        product_id: format!("product-{product}").into(),
        conversion_type: ConversionType::Purchase,
        revenue_amount: 1_000,
        attribution_window: Duration::from_mins(*minutes),
    }
}

fn click(number: usize, timestamp: Timestamp, (_, device, product, _): &Made) -> AdClick {
    let click = Click {
        device_id: format!("device-{device}").into(),
        ad_id: format!("ad-{number}").into(),
        campaign_id: "campaign".into(),
        advertiser_id: "advertiser".into(),
        product_id: format!("product-{product}").into(),
        actual_price: 1_200,
    };
    AdClick { timestamp, click: Some(click) }
}

/// The time of the last click that a conversion may be attributed to.
fn last_click(of: &Conversion, clicks: &[Vec<(AdClick, Timestamp)>]) -> Option<i64> {
    let earliest = of.timestamp - of.attribution_window.min(LONGEST);
    let clicks = clicks.iter().flatten().filter(|(ad, at)| {
        let same =
            |click: &Click| click.device_id == of.device_id && click.product_id == of.product_id;
        ad.click.as_ref().is_some_and(same) && earliest <= *at && *at <= of.timestamp
    });
    clicks.map(|(_, at)| at.as_millis()).max()
}

fn check(conversions: &[Made], clicks: &[Made], tasks: u32) {
    let conversions = by_device(conversions, PARTITIONS, conversion);
    let clicks = by_device(clicks, 2 * PARTITIONS, click);
    let expected: BTreeSet<Row> = conversions
        .iter()
        .flatten()
        .map(|(of, _)| {
            let order = of.order_id.as_deref().unwrap_or_default();
            let id = format!("{order}/{}/{}", of.product_id, of.conversion_type.as_str());
            (id, last_click(of, &clicks))
        })
        .collect();
    let back = Duration::from_millis(BACK_MS.try_into().unwrap());
    let log = move |chance: &_| {
        let conversions = conversions.clone();
        SimLog::co_grouped(
            &SimLog::laid_out(chance, "conversion-events", tasks, back, conversions),
            &SimLog::laid_out(chance, "ad-events", tasks, back, clicks.clone()),
        )
    };
    Simulation::new(log, |events, ledger| {
        let rows = matching(events, LONGEST)
            .map(|(of, touch)| (of.id, touch.map(|touch| touch.at.as_millis())));
        rows.to(ledger.sink())
    })
    .invariant(move |rows: &[Row]| match rows.iter().eq(&expected) {
        true => Ok(()),
        false => Err(format!("{rows:?} and not {expected:?}")),
    })
    .check(SEEDS);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: SETS, max_shrink_iters: 0, failure_persistence: None, ..Default::default() })]

    #[test]
    fn each_conversion_has_the_last_click_before_it(
        conversions in made(),
        clicks in made(),
        tasks in prop_oneof![Just(1_u32), Just(2), Just(4)],
    ) {
        check(&conversions, &clicks, tasks);
    }
}
