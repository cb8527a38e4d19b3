//! Tests of the traffic: it has the disorder that it is said to have, and the same each time.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

const RECORDS: usize = 20_000;
/// And where it is the same for each.
const FEW: usize = 3_000;

fn records(seed: u64, count: usize) -> Vec<Outgoing> {
    let mut history = History::new(seed, 8_000);
    (0..count).map(|_| history.next()).collect()
}

fn usable(records: &[Outgoing]) -> Vec<Value> {
    let good =
        records.iter().filter(|record| !record.is_poison && record.topic.name() == "ad-events");
    good.filter_map(|record| serde_json::from_slice(record.value.as_deref()?).ok()).collect()
}

fn at_us(ad: &Value) -> i64 {
    ad["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

#[test]
fn a_seed_decides_everything() {
    assert_eq!(records(5, FEW), records(5, FEW));
    assert_ne!(records(5, FEW), records(6, FEW));
}

#[test]
fn the_disorder_is_that_of_real_logs() {
    let records = records(1, RECORDS);
    let ads = usable(&records);
    let percent = |count: usize| count * 100 / ads.len();
    let times: Vec<i64> = ads.iter().map(at_us).collect();
    let ties = times.iter().filter(|at| **at % 1_000_000 == 0).count();
    let micros = times.iter().filter(|at| **at % 1_000 != 0).count();
    assert!((45..60).contains(&percent(ties)), "{ties}");
    assert!((10..30).contains(&percent(micros)), "{micros}");
    let hot = ads.iter().filter(|ad| ad["device_id"] == "device_7").count();
    assert!((4..7).contains(&percent(hot)), "{hot}");
    let (mut highest, mut lags, mut gaps) = (times[0], [0; 4], 0);
    for at in &times {
        let lag = highest - at;
        let of =
            [2 * 60, 3_600, 3 * 3_600].iter().filter(|border| lag >= **border * 1_000_000).count();
        lags[of] += 1;
        gaps += usize::from(at - highest > 2 * 24 * 3_600 * 1_000_000);
        highest = highest.max(*at);
    }
    assert!(lags.iter().all(|count| *count > 50), "{lags:?}");
    assert!(gaps > 0);
    let mut hours: BTreeMap<i64, usize> = BTreeMap::new();
    times
        .iter()
        .for_each(|at| *hours.entry(at.div_euclid(3_600_000_000).rem_euclid(24)).or_default() += 1);
    // Gaps mostly begin by day, when most happens, and take some of it away.
    assert!((4..15).contains(&(hours[&12] / hours[&3])), "{hours:?}");
    let spoilt = records.iter().filter(|record| record.is_poison).count();
    assert!((RECORDS / 200..RECORDS / 70).contains(&spoilt), "{spoilt}");
}

#[test]
fn what_is_spoilt_does_not_decode_and_all_else_does() {
    use rtbflow::codec::{Decoder, View, json_view};
    use rtbflow::source::RawRecord;
    use rtbflow_examples::events::{Ads, Campaigns, Compensations, Conversions};
    use rtbflow_examples::topics::SystemTopic;

    fn decodes<V: View>(value: &[u8]) -> bool {
        let raw = RawRecord::new(0, rtbflow::Timestamp::MIN, None, Some(value));
        json_view::<V, _, _>(|_| Ok(())).decode(&raw).is_ok()
    }
    for record in records(2, RECORDS) {
        let Some(value) = &record.value else { continue };
        let good = match record.topic {
            SystemTopic::AdEvents => decodes::<Ads>(value),
            SystemTopic::CampaignEvents => decodes::<Campaigns>(value),
            SystemTopic::ConversionEvents => decodes::<Conversions>(value),
            SystemTopic::CompensationEvents => decodes::<Compensations>(value),
        };
        assert_eq!(good, !record.is_poison, "{}", String::from_utf8_lossy(value));
    }
}
