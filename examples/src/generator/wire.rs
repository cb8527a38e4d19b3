//! How the records are written.

use std::time::Duration;

use rtbflow::Timestamp;
use serde_json::{Map, Value, json};

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

fn bytes(fields: Value) -> Option<Vec<u8>> {
    Some(fields.to_string().into_bytes())
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

    fn generated(&self, event_type: &str, more: Value, charge: Option<Charge>) -> Generated {
        let Self { device: number, campaign, at } = *self;
        let mut fields = json!({
            "event_type": event_type,
            "timestamp": at,
            "device_id": device(number),
            "session_id": session(number, at),
            "ad_id": self.ad_id(),
            "campaign_id": campaign.id(),
            "advertiser_id": campaign.advertiser_id(),
            "product_id": campaign.product_id(),
            "placement": campaign.placement,
            "bid_price": campaign.bid_price,
            "category": campaign.category,
        });
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        Generated {
            topic: SystemTopic::AdEvents,
            key: device(number),
            value: bytes(fields),
            timestamp: at,
            is_usable: true,
            charge,
        }
    }

    pub(super) fn impression(&self) -> Generated {
        self.generated("IMPRESSION", Value::Null, None)
    }

    pub(super) fn click(&self, search_term: Option<&str>) -> Generated {
        let amount = self.campaign.price();
        let charge = Charge {
            advertiser_id: self.campaign.advertiser_id(),
            campaign_id: self.campaign.id(),
            device_id: device(self.device),
            ad_id: self.ad_id(),
            amount,
        };
        let more = json!({ "actual_price": amount, "search_term": search_term });
        self.generated("CLICK", more, Some(charge))
    }

    pub(super) fn conversion(&self, revenue: i64, order: &str) -> Generated {
        let more = json!({ "revenue_amount": revenue, "order_id": order });
        self.generated("CONVERSION", more, None)
    }
}

pub(super) fn outside_conversion(
    dice: &mut Dice,
    number: u64,
    campaign: &Campaign,
    order: Option<u64>,
    at: Timestamp,
) -> Generated {
    let mut fields = json!({
        "timestamp": at,
        "device_id": device(number),
        "session_id": session(number, at),
        "order_id": order.map(|order| format!("order_{order}")),
        "product_id": campaign.product_id(),
        "revenue_amount": 1_000 + dice.below_i64(89_000),
        "conversion_type": dice.pick(&["PURCHASE", "PURCHASE", "ADD_TO_CART", "SIGNUP"]),
        "referrer_url": format!("https://shop.example/{}", campaign.product_id()),
    });
    if let (true, Value::Object(fields)) = (dice.one_in(2), &mut fields) {
        fields.insert("attribution_window".to_owned(), dice.pick(&[1, 6, 24, 24, 48]).into());
    }
    Generated {
        topic: SystemTopic::ConversionEvents,
        key: device(number),
        value: bytes(fields),
        timestamp: at,
        is_usable: true,
        charge: None,
    }
}

pub(super) fn campaign(campaign: &Campaign, event_type: &str, at: Timestamp) -> Generated {
    let mut fields = json!({
        "event_type": event_type,
        "timestamp": at,
        "campaign_id": campaign.id(),
        "advertiser_id": campaign.advertiser_id(),
        "product_id": campaign.product_id(),
        "placement": campaign.placement,
        "category": campaign.category,
        "bid_price": campaign.bid_price,
        "daily_budget": campaign.daily_budget,
        "status": campaign.status,
        "approval_status": campaign.approval_status,
        "rtb_impact": campaign.impact,
    });
    if let (true, Value::Object(fields)) = (campaign.is_targeted, &mut fields) {
        let targeting = json!({ "device_types": ["MOBILE"], "age_groups": ["20-29", "30-39"] });
        fields.extend(Map::from_iter([
            ("targeting".to_owned(), targeting),
            ("effective_from".to_owned(), json!(at - Duration::from_secs(60))),
        ]));
    }
    Generated {
        topic: SystemTopic::CampaignEvents,
        key: format!("{}|{}", campaign.placement, campaign.category),
        value: bytes(fields),
        timestamp: at,
        is_usable: true,
        charge: None,
    }
}
