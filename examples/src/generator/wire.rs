//! How the records are written: fields in the order in which they are documented, as most programs that
//! serialize a type write them.

use std::time::Duration;

use rtbflow::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::dice::Dice;
use super::market::Campaign;
use super::{Charge, Generated};
use crate::topics::SystemTopic;

pub(super) const SEARCH_TERMS: &[&str] = &["노트북", "원두 커피", "러닝화", "여름 원피스"];

pub(super) fn device(number: u64) -> String {
    format!("device_{number}")
}

/// A device's visit lasts half an hour.
fn session(device: u64, at: Timestamp) -> String {
    format!("session_{device}_{}", at.as_millis().div_euclid(1_800_000))
}

/// A record of `topic`, which no money is due for. Numbers, names and times always have a JSON form.
fn record(
    topic: SystemTopic,
    key: String,
    fields: &impl Serialize,
    timestamp: Timestamp,
) -> Generated {
    let value = serde_json::to_vec(fields).ok();
    Generated { topic, key, value, timestamp, is_usable: true, charge: None }
}

#[derive(Serialize)]
struct AdEvent<'a> {
    event_type: &'a str,
    timestamp: Timestamp,
    device_id: String,
    session_id: String,
    ad_id: String,
    campaign_id: String,
    advertiser_id: String,
    product_id: String,
    placement: &'a str,
    bid_price: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    actual_price: Option<i64>,
    /// A click that did not come from a search has a null.
    #[serde(skip_serializing_if = "Option::is_none")]
    search_term: Option<Value>,
    category: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revenue_amount: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ConversionEvent<'a> {
    timestamp: Timestamp,
    device_id: String,
    session_id: String,
    order_id: Option<String>,
    product_id: String,
    revenue_amount: i64,
    conversion_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribution_window: Option<i64>,
    referrer_url: String,
}

#[derive(Serialize)]
struct CampaignEvent<'a> {
    event_type: &'a str,
    timestamp: Timestamp,
    campaign_id: String,
    advertiser_id: String,
    product_id: String,
    placement: &'a str,
    category: &'a str,
    bid_price: i64,
    daily_budget: i64,
    status: &'a str,
    approval_status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    targeting: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_from: Option<Timestamp>,
    rtb_impact: &'a str,
}

/// One ad-event, whatever it will be.
pub(super) struct Ad<'a> {
    pub(super) device: u64,
    pub(super) campaign: &'a Campaign,
    pub(super) at: Timestamp,
}

impl Ad<'_> {
    fn ad_id(&self) -> String {
        format!("ad_{}_{}", self.campaign.number, self.device % 3)
    }

    /// What all ad-events say.
    fn event<'e>(&'e self, event_type: &'e str) -> AdEvent<'e> {
        let Self { device: number, campaign, at } = *self;
        AdEvent {
            event_type,
            timestamp: at,
            device_id: device(number),
            session_id: session(number, at),
            ad_id: self.ad_id(),
            campaign_id: campaign.id(),
            advertiser_id: campaign.advertiser_id(),
            product_id: campaign.product_id(),
            placement: campaign.placement,
            bid_price: campaign.bid_price,
            actual_price: None,
            search_term: None,
            category: campaign.category,
            revenue_amount: None,
            order_id: None,
        }
    }

    fn record(&self, event: &AdEvent<'_>) -> Generated {
        record(SystemTopic::AdEvents, device(self.device), event, self.at)
    }

    pub(super) fn impression(&self) -> Generated {
        self.record(&self.event("IMPRESSION"))
    }

    pub(super) fn click(&self, search_term: Option<&str>) -> Generated {
        let amount = self.campaign.price();
        let click = AdEvent {
            actual_price: Some(amount),
            search_term: Some(search_term.into()),
            ..self.event("CLICK")
        };
        let charge = Charge {
            advertiser_id: self.campaign.advertiser_id(),
            campaign_id: self.campaign.id(),
            device_id: device(self.device),
            ad_id: self.ad_id(),
            amount,
        };
        Generated { charge: Some(charge), ..self.record(&click) }
    }

    pub(super) fn conversion(&self, revenue: i64, order: &str) -> Generated {
        self.record(&AdEvent {
            revenue_amount: Some(revenue),
            order_id: Some(order),
            ..self.event("CONVERSION")
        })
    }
}

pub(super) fn outside_conversion(
    dice: &mut Dice,
    number: u64,
    campaign: &Campaign,
    order: Option<u64>,
    at: Timestamp,
) -> Generated {
    let event = ConversionEvent {
        timestamp: at,
        device_id: device(number),
        session_id: session(number, at),
        order_id: order.map(|order| format!("order_{order}")),
        product_id: campaign.product_id(),
        revenue_amount: 1_000 + dice.below_i64(89_000),
        conversion_type: dice.pick(&["PURCHASE", "PURCHASE", "ADD_TO_CART", "SIGNUP"]),
        attribution_window: dice.one_in(2).then(|| dice.pick(&[1, 6, 24, 24, 48])),
        referrer_url: format!("https://shop.example/{}", campaign.product_id()),
    };
    record(SystemTopic::ConversionEvents, device(number), &event, at)
}

pub(super) fn campaign(campaign: &Campaign, event_type: &str, at: Timestamp) -> Generated {
    let targeting = || json!({ "device_types": ["MOBILE"], "age_groups": ["20-29", "30-39"] });
    let event = CampaignEvent {
        event_type,
        timestamp: at,
        campaign_id: campaign.id(),
        advertiser_id: campaign.advertiser_id(),
        product_id: campaign.product_id(),
        placement: campaign.placement,
        category: campaign.category,
        bid_price: campaign.bid_price,
        daily_budget: campaign.daily_budget,
        status: campaign.status,
        approval_status: campaign.approval_status,
        targeting: campaign.is_targeted.then(targeting),
        effective_from: campaign.is_targeted.then(|| at - Duration::from_secs(60)),
        rtb_impact: campaign.impact,
    };
    let key = format!("{}|{}", campaign.placement, campaign.category);
    record(SystemTopic::CampaignEvents, key, &event, at)
}
