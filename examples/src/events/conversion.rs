//! `conversion-events`: what outside systems report as bought.

use rtbflow::Timestamp;
use rtbflow::codec::View;
use serde::Deserialize;

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

/// The family of [`ConversionView`]s, for [`json_view`](rtbflow::codec::json_view).
#[derive(Debug)]
pub struct Conversions;

impl View for Conversions {
    type Of<'a> = Object<ConversionView<'a>>;
}
