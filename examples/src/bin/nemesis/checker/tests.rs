//! Tests of the checker: it finds what is missing, wrong and too much, and decides what is late.

use std::collections::BTreeMap;

use super::ads::{Ads, parse};
use super::log::Stored;
use super::*;

fn stored(partition: i32, offset: i64, kind: &str, at: &str, price: i64) -> Stored {
    let value = serde_json::json!({
        "event_type": kind, "timestamp": at, "device_id": "d", "ad_id": "a", "campaign_id": "c",
        "advertiser_id": "v", "product_id": "p", "actual_price": price,
    });
    Stored {
        topic: "ad-events".to_owned(),
        partition,
        offset,
        key: Some(b"d".to_vec()),
        value: Some(value.to_string().into_bytes()),
        headers: Vec::new(),
    }
}

fn ads(records: &[Stored]) -> Ads {
    parse(records).unwrap()
}

#[test]
fn a_difference_of_each_kind_is_a_violation() {
    let findings = Findings::default();
    findings.enter("one", "test");
    let expected = BTreeMap::from([(1, "a"), (2, "b")]);
    compare(&findings, "what", &expected, &expected);
    assert_eq!(findings.violations(), [""; 0]);
    compare(&findings, "what", &BTreeMap::from([(1, "x"), (3, "c")]), &expected);
    let found = findings.violations();
    assert_eq!(found.len(), 3, "{found:?}");
    for (line, part) in found.iter().zip(["1 is \"x\"", "2 is missing", "3 should not be there"]) {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn what_is_late_is_decided_partition_by_partition_and_in_order() {
    let records = [
        stored(0, 0, "CLICK", "2024-01-15T10:00:00.000Z", 100),
        stored(0, 1, "IMPRESSION", "2024-01-15T10:15:00Z", 0),
        // Its window has ended at 10:05, the watermark stands at 10:05: late without, in time with a minute more.
        stored(0, 2, "CLICK", "2024-01-15T10:04:59.999999Z", 70),
        stored(0, 3, "IMPRESSION", "2024-01-15T10:16:00Z", 0),
        stored(0, 4, "CLICK", "2024-01-15T10:04:00Z", 30),
        stored(1, 0, "CLICK", "2024-01-15T10:01:00Z", 9),
    ];
    let ads = ads(&records);
    let offsets = |late: &[Stored]| late.iter().map(|record| record.offset).collect::<Vec<_>>();
    let (hashes, late) = windows::expected(&ads);
    assert_eq!(offsets(&late), [4]);
    let hash = &hashes["perf:c:2024-01-15T10:00:00Z"];
    assert_eq!((hash["clicks"].as_str(), hash["cost"].as_str()), ("3", "179"));
    assert_eq!(hashes["perf:c"]["window_start"], "2024-01-15T10:15:00Z");
    let (refunds, late) = refunds::expected(&ads);
    assert_eq!(offsets(&late), [2, 4]);
    // By partition they would be two clicks; a device is in one partition, so nobody sends this.
    assert_eq!(refunds.len(), 1);
    let classes = ads.classes(super::ads::Ad::is_click, &late);
    assert_eq!((classes.decoded, classes.filtered, classes.late), (2, 2, 2));
}

#[test]
fn a_refund_that_is_there_twice_or_by_another_amount_is_a_violation() {
    let clicks = [
        stored(0, 0, "CLICK", "2024-01-15T10:30:15Z", 1_200),
        stored(0, 1, "CLICK", "2024-01-15T10:30:18Z", 1_200),
        stored(0, 2, "CLICK", "2024-01-15T10:30:22Z", 1_200),
    ];
    let (expected, _) = refunds::expected(&ads(&clicks));
    let refund = |amount: i64| {
        let value = serde_json::json!({
            "timestamp": "2024-01-15T10:35:00Z", "advertiser_id": "v", "campaign_id": "c", "ad_id": "a",
            "device_id": "d", "duplicate_click_count": 3, "refund_amount": amount,
            "original_click_timestamps":
                ["2024-01-15T10:30:15Z", "2024-01-15T10:30:18Z", "2024-01-15T10:30:22Z"],
            "detection_window": "5_MINUTES", "reason": "DUPLICATE_CLICK_DETECTED",
            "compensation_type": "BALANCE_REFUND",
        });
        Stored {
            key: Some(b"v".to_vec()),
            value: Some(value.to_string().into_bytes()),
            ..clicks[0].clone()
        }
    };
    let violations = |events: &[Stored]| {
        let findings = Findings::default();
        refunds::check(&findings, events, &expected);
        findings.violations().len()
    };
    assert_eq!(violations(&[refund(2_400)]), 0);
    assert_eq!(violations(&[refund(2_400), refund(2_400)]), 1);
    assert_eq!(violations(&[refund(2_401)]), 1);
    assert_eq!(violations(&[]), 1);
    assert_eq!(refunds::payments(&[refund(2_400), refund(2_400)]).unwrap().classes.duplicates, 1);
}
