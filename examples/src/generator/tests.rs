//! Tests of the generated traffic: it is what it says, and the same each time.

use std::collections::HashMap;

use rtbflow::codec::{Decoder, View, json_view};
use rtbflow::source::RawRecord;

use super::*;
use crate::events::{AdEventType, Ads, Campaigns, Conversions, Object, ad_clicks};

const ADS: u64 = 20_000;

fn plan() -> Plan {
    let start = Timestamp::from_millis(1_705_276_800_000);
    Plan::new(7, start, Duration::from_millis(20))
}

fn records(plan: Plan) -> Vec<Generated> {
    let mut generator = Generator::new(plan);
    let mut records = Vec::new();
    while generator.ads() < ADS {
        records.extend(generator.next());
    }
    records
}

fn raw(value: &[u8]) -> RawRecord<'_> {
    RawRecord::new(0, Timestamp::MIN, None, Some(value))
}

fn decodes<V: View>(value: &[u8]) -> bool {
    json_view::<V, _, _>(|_| Ok(())).decode(&raw(value)).is_ok()
}

#[test]
fn a_seed_decides_everything() {
    let plan = plan();
    assert_eq!(records(plan), records(plan));
    assert_ne!(records(plan), records(Plan { seed: 8, ..plan }));
}

#[test]
fn every_clean_record_decodes_and_a_charge_is_its_click() {
    for record in records(plan()) {
        let value = record.value.unwrap();
        let good = match record.topic {
            SystemTopic::AdEvents => decodes::<Ads>(&value),
            SystemTopic::CampaignEvents => decodes::<Campaigns>(&value),
            SystemTopic::ConversionEvents => decodes::<Conversions>(&value),
            SystemTopic::CompensationEvents => false,
        };
        assert!(good, "{}", String::from_utf8_lossy(&value));
        if record.topic == SystemTopic::AdEvents {
            let event = ad_clicks().decode(&raw(&value)).unwrap();
            let charge = event.click.map(|click| Charge {
                advertiser_id: click.advertiser_id.into(),
                campaign_id: click.campaign_id.into(),
                device_id: click.device_id.into(),
                ad_id: click.ad_id.into(),
                amount: click.actual_price,
            });
            assert_eq!((charge, event.timestamp), (record.charge, record.timestamp));
        }
    }
}

#[test]
fn the_mix_is_that_of_the_system() {
    let mut types: HashMap<&str, u64> = HashMap::new();
    let mut campaigns: HashMap<String, u64> = HashMap::new();
    let mut clicks: HashMap<(String, String), Timestamp> = HashMap::new();
    let mut repeats = 0;
    let view = json_view::<Ads, _, _>(|Object(ad)| {
        Ok((ad.event_type, ad.device_id.to_string(), ad.campaign_id.to_string()))
    });
    let records = records(plan());
    for record in records.iter().filter(|record| record.topic == SystemTopic::AdEvents) {
        let (event_type, device, campaign) =
            view.decode(&raw(record.value.as_deref().unwrap())).unwrap();
        *types.entry(event_type.as_str()).or_default() += 1;
        *campaigns.entry(campaign.clone()).or_default() += 1;
        if event_type == AdEventType::Click {
            let last = clicks.insert((device, campaign), record.timestamp);
            repeats += u64::from(last.is_some());
        }
    }
    let percent = |count: u64| count * 100 / ADS;
    assert!((86..=90).contains(&percent(types["IMPRESSION"])), "{types:?}");
    assert!((9..=11).contains(&percent(types["CLICK"])), "{types:?}");
    assert!((1..=3).contains(&percent(types["CONVERSION"])), "{types:?}");
    assert!((15..=25).contains(&(repeats * 100 / types["CLICK"])), "{repeats} of {types:?}");
    let head: u64 = (0..10).map(|number| campaigns[&format!("campaign_{number}")]).sum();
    assert!((20..=50).contains(&percent(head)), "{head}");
    let conversions = records.iter().filter(|r| r.topic == SystemTopic::ConversionEvents).count();
    assert!((100..=400).contains(&conversions), "{conversions}");
}

#[test]
fn nothing_is_further_out_of_order_than_four_seconds() {
    let mut highest = Timestamp::MIN;
    for record in records(plan()) {
        assert!(record.timestamp + Duration::from_secs(4) >= highest, "{record:?}");
        highest = highest.max(record.timestamp);
    }
}

#[test]
fn dirt_does_not_decode_and_leaves_the_rest_alone() {
    let dirty = records(Plan { dirt_one_in: Some(50), ..plan() });
    let bad = dirty.iter().filter(|record| match (&record.value, record.topic) {
        (None, _) => true,
        (Some(value), SystemTopic::AdEvents) => !decodes::<Ads>(value),
        (Some(_), _) => false,
    });
    assert!((300..=500).contains(&bad.count()));
}
