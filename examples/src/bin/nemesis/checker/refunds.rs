//! S4: clicks that were repeated, and what W3 has to pay for them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::ads::{Ad, Ads, count};
use super::log::Stored;
use super::time::Time;
use super::windows::WINDOW_MS;
use super::{At, Classes, compare};
use crate::Fallible;
use crate::findings::Findings;
use crate::pipelines::OUT_OF_ORDERNESS_MS;
use crate::traffic::at_text;

/// Which clicks: device, ad and the window's end in milliseconds.
type Of = (String, String, i64);

/// Begins the devices of refunds that the nemesis has asked for itself.
const OUTSIDE: &str = "outside_";

/// A refund as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Refund {
    timestamp: Time,
    advertiser_id: String,
    campaign_id: String,
    ad_id: String,
    device_id: String,
    duplicate_click_count: i64,
    refund_amount: i64,
    original_click_timestamps: Vec<Time>,
    detection_window: String,
    reason: String,
    compensation_type: String,
}

impl Refund {
    fn of(&self) -> Of {
        (self.device_id.clone(), self.ad_id.clone(), self.timestamp.0)
    }
}

/// All refunds that there have to be, each once.
pub(super) type Refunds = BTreeMap<Of, Vec<Refund>>;

/// The refund of the clicks of one window, if it was more than one.
fn refund(end: i64, mut clicks: Vec<&Ad>) -> Option<Refund> {
    clicks.sort_by_key(|click| (click.at, click.offset));
    let first = clicks.first()?;
    let again: i64 = clicks.iter().skip(1).map(|click| click.price).sum();
    (clicks.len() > 1).then(|| Refund {
        timestamp: Time(end),
        advertiser_id: first.advertiser.clone(),
        campaign_id: first.campaign.clone(),
        ad_id: first.ad.clone(),
        device_id: first.device.clone(),
        duplicate_click_count: count(clicks.len()),
        refund_amount: again,
        original_click_timestamps: clicks.iter().map(|click| Time(click.at)).collect(),
        detection_window: "5_MINUTES".to_owned(),
        reason: "DUPLICATE_CLICK_DETECTED".to_owned(),
        compensation_type: "BALANCE_REFUND".to_owned(),
    })
}

/// The refunds, and the clicks that are late.
pub(super) fn expected(ads: &Ads) -> (Refunds, Vec<Stored>) {
    let mut windows: BTreeMap<Of, Vec<&Ad>> = BTreeMap::new();
    let mut late = Vec::new();
    for (ad, stored, highest) in ads.with_highest() {
        if !ad.is_click() {
            continue;
        }
        let end = (ad.at.div_euclid(WINDOW_MS) + 1) * WINDOW_MS;
        if end <= highest.saturating_sub(OUT_OF_ORDERNESS_MS) {
            late.push(stored.clone());
            continue;
        }
        windows.entry((ad.device.clone(), ad.ad.clone(), end)).or_default().push(ad);
    }
    let refunds = windows
        .into_iter()
        .filter_map(|(of, clicks)| Some((of.clone(), vec![refund(of.2, clicks)?])));
    (refunds.collect(), late)
}

/// Compares: a reader of committed records sees each once.
pub(super) fn check(findings: &Findings, events: &[Stored], expected: &Refunds) {
    let mut found = Refunds::new();
    for event in events.iter().filter(|event| !event.is_poison()) {
        let parsed = event.value.as_deref().map(serde_json::from_slice::<Refund>);
        let Some(parsed) = parsed else { continue };
        match parsed {
            Ok(refund) if refund.device_id.starts_with(OUTSIDE) => {}
            Ok(refund) => {
                if event.key.as_deref() != Some(refund.advertiser_id.as_bytes()) {
                    findings.violation(&format!(
                        "S4: the key of {:?} is not its advertiser",
                        event.at()
                    ));
                }
                found.entry(refund.of()).or_default().push(refund);
            }
            Err(error) => {
                findings.violation(&format!("S4: {:?} is not a refund: {error}", event.at()))
            }
        }
    }
    compare(findings, "S4 compensation-events", &found, expected);
}

/// What is to be paid.
#[derive(Debug, Default)]
pub(super) struct Payments {
    /// By where the refund is: who gets it, the row's other columns, how much.
    pub(super) rows: BTreeMap<At, super::money::Row>,
    pub(super) spoilt: Vec<Stored>,
    pub(super) classes: Classes,
}

/// Each refund once: the first in its partition.
pub(super) fn payments(events: &[Stored]) -> Fallible<Payments> {
    let mut payments = Payments::default();
    let mut paid = BTreeSet::new();
    for event in events {
        let Some(value) = &event.value else {
            payments.classes.skipped += 1;
            continue;
        };
        if event.is_poison() {
            payments.spoilt.push(event.clone());
            payments.classes.dead_lettered += 1;
            continue;
        }
        let refund: Refund = serde_json::from_slice(value)?;
        if !paid.insert(refund.of()) {
            payments.classes.duplicates += 1;
            continue;
        }
        payments.classes.decoded += 1;
        let row = super::money::Row {
            kind: "DUPLICATE_REFUND",
            amount: refund.refund_amount,
            at: at_text(refund.timestamp.0 * 1_000),
            advertiser: refund.advertiser_id,
            campaign: refund.campaign_id,
            ad: refund.ad_id,
            device: refund.device_id,
        };
        payments.rows.insert(event.at(), row);
    }
    Ok(payments)
}
