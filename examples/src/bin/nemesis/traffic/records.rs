//! How the records are written.

use jiff::Timestamp;
use rtbflow_examples::topics::SystemTopic;
use serde_json::{Map, Value, json};

use super::campaigns::Campaign;

/// The header of a record that nobody can use.
pub(crate) const POISON: &str = "nemesis-poison";

/// A record to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) topic: SystemTopic,
    pub(crate) key: String,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) is_poison: bool,
}

impl Outgoing {
    pub(super) fn new(topic: SystemTopic, key: &str, value: &Value) -> Self {
        let value = Some(value.to_string().into_bytes());
        Self { topic, key: key.to_owned(), value, is_poison: false }
    }
}

/// A time in microseconds, with as many digits as it needs.
pub(crate) fn at_text(at_us: i64) -> String {
    Timestamp::from_microsecond(at_us).unwrap_or_default().to_string()
}

/// What an ad-event is about.
#[derive(Debug, Clone)]
pub(super) struct Ad<'a> {
    pub(super) device: u64,
    pub(super) ad: u64,
    pub(super) campaign: &'a Campaign,
    pub(super) at_us: i64,
}

impl Ad<'_> {
    fn fields(&self, event_type: &str) -> Map<String, Value> {
        let Self { device, ad, campaign, at_us } = self;
        let fields = json!({
            "event_type": event_type,
            "timestamp": at_text(*at_us),
            "device_id": format!("device_{device}"),
            "session_id": format!("session_{device}_{}", at_us / 1_800_000_000),
            "ad_id": format!("ad_{}_{ad}", campaign.number),
            "campaign_id": campaign.id(),
            "advertiser_id": campaign.advertiser(),
            "product_id": campaign.product(),
            "placement": campaign.placement,
            "bid_price": campaign.bid_price,
            "category": campaign.category,
        });
        fields.as_object().cloned().unwrap_or_default()
    }

    fn record(&self, fields: Map<String, Value>) -> Outgoing {
        Outgoing::new(SystemTopic::AdEvents, &format!("device_{}", self.device), &fields.into())
    }

    pub(super) fn impression(&self) -> Outgoing {
        self.record(self.fields("IMPRESSION"))
    }

    pub(super) fn click(&self, price: i64) -> Outgoing {
        let mut fields = self.fields("CLICK");
        fields.insert("actual_price".to_owned(), price.into());
        self.record(fields)
    }

    pub(super) fn conversion(&self, revenue: i64) -> Outgoing {
        let mut fields = self.fields("CONVERSION");
        fields.insert("revenue_amount".to_owned(), revenue.into());
        self.record(fields)
    }
}

/// A conversion as an outside system reports it.
#[derive(Debug, Clone)]
pub(super) struct Sale {
    pub(super) device: u64,
    pub(super) product: String,
    pub(super) order: Option<u64>,
    pub(super) revenue: i64,
    pub(super) kind: &'static str,
    pub(super) window_hours: Option<i64>,
    pub(super) at_us: i64,
}

impl Sale {
    pub(super) fn record(&self) -> Outgoing {
        let device = format!("device_{}", self.device);
        let mut fields = json!({
            "timestamp": at_text(self.at_us),
            "device_id": device,
            "session_id": format!("sale_{}", self.device),
            "order_id": self.order.map(|order| format!("order/{order}")),
            "product_id": self.product,
            "revenue_amount": self.revenue,
            "conversion_type": self.kind,
            "referrer_url": null,
        });
        if let (Some(hours), Some(fields)) = (self.window_hours, fields.as_object_mut()) {
            fields.insert("attribution_window".to_owned(), hours.into());
        }
        Outgoing::new(SystemTopic::ConversionEvents, &device, &fields)
    }
}

/// A refund that somebody else has asked for.
pub(super) fn refund(number: u64, amount: i64, at_us: i64) -> Outgoing {
    let advertiser = format!("advertiser_{}", number % 7);
    let fields = json!({
        "timestamp": at_text(at_us),
        "advertiser_id": advertiser,
        "campaign_id": "campaign_outside",
        "ad_id": "ad_outside",
        "device_id": format!("outside_{number}"),
        "duplicate_click_count": 2,
        "refund_amount": amount,
        "original_click_timestamps": [at_text(at_us - 2_000_000), at_text(at_us - 1_000_000)],
        "detection_window": "5_MINUTES",
        "reason": "DUPLICATE_CLICK_DETECTED",
        "compensation_type": "BALANCE_REFUND",
    });
    Outgoing::new(SystemTopic::CompensationEvents, &advertiser, &fields)
}
