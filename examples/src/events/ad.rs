//! `ad-events`: impressions, clicks and conversions, and what the pipelines keep of them.

use compact_str::CompactString;
use rtbflow::Timestamp;
use rtbflow::codec::{Decoder, View, json_view};
use serde::{Deserialize, Serialize};

use crate::events::strict::{Object, Rules, Text, Whole, names, plain};

names! {
    /// What happened.
    AdEventType {
        /// An ad was shown.
        Impression = "IMPRESSION",
        /// An ad was clicked; its price is due.
        Click = "CLICK",
        /// Something was bought after a click.
        Conversion = "CONVERSION",
    }
}

names! {
    /// Where on the site an ad stands.
    Placement {
        /// The front page.
        Home = "HOME",
        /// A category's page.
        Category = "CATEGORY",
        /// A product's page.
        ProductDetail = "PRODUCT_DETAIL",
        /// The results of a search.
        Search = "SEARCH",
    }
}

/// A record of `ad-events`, every field checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the record; they have no other names")]
pub struct AdView<'a> {
    pub event_type: AdEventType,
    pub timestamp: Timestamp,
    #[serde(borrow)]
    pub device_id: Text<'a>,
    #[serde(borrow)]
    pub session_id: Text<'a>,
    #[serde(borrow)]
    pub ad_id: Text<'a>,
    #[serde(borrow)]
    pub campaign_id: Text<'a>,
    #[serde(borrow)]
    pub advertiser_id: Text<'a>,
    #[serde(borrow)]
    pub product_id: Text<'a>,
    pub placement: Placement,
    pub bid_price: Whole,
    pub actual_price: Option<Whole>,
    #[serde(borrow)]
    pub search_term: Option<Text<'a>>,
    #[serde(borrow)]
    pub category: Text<'a>,
    pub revenue_amount: Option<Whole>,
    #[serde(borrow)]
    pub order_id: Option<Text<'a>>,
}

plain!(AdView {
    event_type,
    timestamp,
    device_id,
    session_id,
    ad_id,
    campaign_id,
    advertiser_id,
    product_id,
    placement,
    bid_price,
    actual_price,
    search_term,
    category,
    revenue_amount,
    order_id,
});

impl Rules for AdView<'_> {
    #[inline]
    fn check(&self) -> Result<(), &'static str> {
        match (self.event_type, self.actual_price) {
            (AdEventType::Click, None) => Err("a CLICK without its actual_price"),
            (AdEventType::Click, Some(_)) => Ok(()),
            (AdEventType::Impression | AdEventType::Conversion, _) => Ok(()),
        }
    }
}

impl AdView<'_> {
    /// The order, if there is one: an empty `order_id` is none.
    #[must_use]
    pub fn order(&self) -> Option<&str> {
        self.order_id.as_deref().filter(|id| !id.is_empty())
    }
}

/// The family of [`AdView`]s, for [`json_view`].
#[derive(Debug)]
pub struct Ads;

impl View for Ads {
    type Of<'a> = Object<AdView<'a>>;

    #[inline]
    fn plain(text: &str) -> Option<Object<AdView<'_>>> {
        AdView::plain(text).filter(|ad| ad.check().is_ok()).map(Object)
    }
}

/// A record of `ad-events` for a pipeline that lives on clicks.
///
/// What is not a click keeps its time, since every record that decodes moves the watermark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdClick {
    /// The event time.
    pub timestamp: Timestamp,
    /// The click, if it is one.
    pub click: Option<Click>,
}

/// A click and its price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Click {
    /// The device that it came from: the key of the record.
    pub device_id: CompactString,
    /// The ad that was clicked.
    pub ad_id: CompactString,
    /// The ad's campaign.
    pub campaign_id: CompactString,
    /// Who pays.
    pub advertiser_id: CompactString,
    /// What the ad was for.
    pub product_id: CompactString,
    /// What it costs, in won.
    pub actual_price: i64,
}

/// A click and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// The event time.
    pub at: Timestamp,
    /// The click.
    pub click: Click,
}

impl From<AdView<'_>> for AdClick {
    #[inline]
    fn from(ad: AdView<'_>) -> Self {
        let price = ad.actual_price.filter(|_| ad.event_type == AdEventType::Click);
        let click = price.map(|price| Click {
            device_id: ad.device_id.compact(),
            ad_id: ad.ad_id.compact(),
            campaign_id: ad.campaign_id.compact(),
            advertiser_id: ad.advertiser_id.compact(),
            product_id: ad.product_id.compact(),
            actual_price: price.get(),
        });
        Self { timestamp: ad.timestamp, click }
    }
}

/// A record of `ad-events` for a pipeline that counts by campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdMetric {
    /// The event time.
    pub timestamp: Timestamp,
    /// The campaign.
    pub campaign_id: CompactString,
    /// What happened, with the money that counts for it.
    pub happened: Happened,
}

/// What happened, with the money that counts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// An impression, which costs nothing.
    Impression,
    /// A click and its price in won.
    Click(i64),
    /// A conversion and its revenue in won, 0 where none is given.
    Conversion(i64),
}

impl From<AdView<'_>> for AdMetric {
    #[inline]
    fn from(ad: AdView<'_>) -> Self {
        let won = |amount: Option<Whole>| amount.map_or(0, Whole::get);
        let happened = match ad.event_type {
            AdEventType::Impression => Happened::Impression,
            AdEventType::Click => Happened::Click(won(ad.actual_price)),
            AdEventType::Conversion => Happened::Conversion(won(ad.revenue_amount)),
        };
        Self { timestamp: ad.timestamp, campaign_id: ad.campaign_id.compact(), happened }
    }
}

/// Decodes `ad-events` for a pipeline that lives on clicks.
#[must_use]
pub fn ad_clicks() -> impl Decoder<Value = AdClick> + Clone {
    json_view::<Ads, _, _>(|Object(ad)| Ok(AdClick::from(ad)))
}

/// Decodes `ad-events` for a pipeline that counts by campaign.
#[must_use]
pub fn ad_metrics() -> impl Decoder<Value = AdMetric> + Clone {
    json_view::<Ads, _, _>(|Object(ad)| Ok(AdMetric::from(ad)))
}
