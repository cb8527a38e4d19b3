//! `conversion-events`: what outside systems report as bought.

use std::borrow::Cow;
use std::time::Duration;

use compact_str::CompactString;
use rtbflow::codec::{Decoder, View, json_view};
use rtbflow::{Record, Timestamp};
use serde::{Deserialize, Serialize};

use crate::events::strict::{Object, Rules, Text, Whole, names};

names! {
    /// What the visitor did.
    ConversionType {
        /// Bought something.
        Purchase = "PURCHASE",
        /// Put something into the cart.
        AddToCart = "ADD_TO_CART",
        /// Opened an account.
        Signup = "SIGNUP",
    }
}

/// A record of `conversion-events`, every field checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the record; they have no other names")]
pub struct ConversionView<'a> {
    pub timestamp: Timestamp,
    #[serde(borrow)]
    pub device_id: Text<'a>,
    #[serde(borrow)]
    pub session_id: Text<'a>,
    #[serde(borrow)]
    pub order_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub product_id: Text<'a>,
    pub revenue_amount: Whole,
    pub conversion_type: ConversionType,
    /// In hours.
    pub attribution_window: Option<Whole>,
    #[serde(borrow)]
    pub referrer_url: Option<Text<'a>>,
}

impl Rules for ConversionView<'_> {}

impl ConversionView<'_> {
    /// The order, if there is one: an empty `order_id` is none.
    #[must_use]
    pub fn order(&self) -> Option<&str> {
        self.order_id.as_deref().filter(|id| !id.is_empty())
    }
}

/// The family of [`ConversionView`]s, for [`json_view`].
#[derive(Debug)]
pub struct Conversions;

impl View for Conversions {
    type Of<'a> = Object<ConversionView<'a>>;
}

/// A conversion, as it is to be attributed to a click.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversion {
    /// The event time.
    pub timestamp: Timestamp,
    /// The order, if there is one.
    pub order_id: Option<CompactString>,
    /// The device that it came from: the key of the record.
    pub device_id: CompactString,
    /// The visit.
    pub session_id: CompactString,
    /// What was bought.
    pub product_id: CompactString,
    /// What the visitor did.
    pub conversion_type: ConversionType,
    /// What it brought, in won.
    pub revenue_amount: i64,
    /// How long before it a click counts.
    pub attribution_window: Duration,
}

/// Counts where a conversion does not say for how long before it a click does.
const USUAL_WINDOW: Duration = Duration::from_hours(24);
const HOUR_SECONDS: u64 = 60 * 60;

impl From<ConversionView<'_>> for Conversion {
    fn from(view: ConversionView<'_>) -> Self {
        let window = view.attribution_window.map_or(USUAL_WINDOW, |hours| {
            Duration::from_secs(hours.get().unsigned_abs().saturating_mul(HOUR_SECONDS))
        });
        Self {
            timestamp: view.timestamp,
            order_id: view.order().map(CompactString::new),
            device_id: view.device_id.compact(),
            session_id: view.session_id.compact(),
            product_id: view.product_id.compact(),
            conversion_type: view.conversion_type,
            revenue_amount: view.revenue_amount.get(),
            attribution_window: window,
        }
    }
}

/// A conversion under the id of its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identified {
    /// What was ordered, and what the visitor did with it, parted by `/`; or where the record was read. A
    /// `/` inside a part is written `%2F` and a `%` is `%25`, so that no two orders have one id.
    pub id: String,
    /// The conversion.
    pub conversion: Conversion,
}

impl From<Record<Conversion>> for Identified {
    fn from(Record { value: conversion, origin, .. }: Record<Conversion>) -> Self {
        let Conversion { order_id, product_id, conversion_type, .. } = &conversion;
        let id = match (order_id, origin) {
            (Some(order), _) => {
                let (order, product) = (part(order), part(product_id));
                format!("{order}/{product}/{}", conversion_type.as_str())
            }
            (None, Some(at)) => {
                format!("{}-{}-{}", at.topic(), at.partition().number, at.offset())
            }
            (None, None) => String::new(),
        };
        Self { id, conversion }
    }
}

/// A part of an id, without what parts are parted by.
fn part(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '/']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('%', "%25").replace('/', "%2F"))
}

/// Decodes `conversion-events`.
#[must_use]
pub fn conversions() -> impl Decoder<Value = Conversion> + Clone {
    json_view::<Conversions, _, _>(|Object(view)| Ok(Conversion::from(view)))
}

#[cfg(test)]
mod tests {
    use rtbflow::source::RawRecord;

    use super::*;

    fn decode(more: &str) -> Option<Conversion> {
        let json = format!(
            r#"{{"timestamp":"2024-01-15T10:00:00Z","device_id":"d","session_id":"s","product_id":"p",
                "revenue_amount":7,"conversion_type":"SIGNUP"{more}}}"#
        );
        let timestamp = Timestamp::from_millis(0);
        let value = Some(json.as_bytes());
        conversions().decode(&RawRecord::new(0, timestamp, None, value)).ok()
    }

    #[test]
    fn the_attribution_window_is_whole_hours_and_a_day_if_it_is_not_given() {
        let window = |more| decode(more).map(|conversion| conversion.attribution_window);
        assert_eq!(window(""), Some(Duration::from_hours(24)));
        assert_eq!(window(r#","attribution_window":null"#), Some(Duration::from_hours(24)));
        assert_eq!(window(r#","attribution_window":0"#), Some(Duration::ZERO));
        assert_eq!(window(r#","attribution_window":-1"#), None);
        assert_eq!(window(r#","attribution_window":1.0"#), None);
        let longest = window(r#","attribution_window":9223372036854775807"#);
        assert_eq!(longest, Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn no_two_orders_have_one_id() {
        let id = |order: &str, product: &str| {
            let mut conversion = decode("").unwrap();
            conversion.order_id = Some(order.into());
            conversion.product_id = product.into();
            Identified::from(Record::derived(conversion, Timestamp::default())).id
        };
        assert_eq!(id("o1", "p"), "o1/p/SIGNUP");
        assert_eq!(id("A", "B/C"), "A/B%2FC/SIGNUP");
        assert_eq!(id("A/B", "C"), "A%2FB/C/SIGNUP");
        assert_eq!(id("A%2FB", "50 %"), "A%252FB/50 %25/SIGNUP");
    }

    #[test]
    fn an_empty_order_is_none() {
        let order = |more| decode(more).and_then(|conversion| conversion.order_id);
        assert_eq!(order(r#","order_id":"o1""#).as_deref(), Some("o1"));
        assert_eq!(order(r#","order_id":"""#), None);
        assert_eq!(order(""), None);
    }
}
