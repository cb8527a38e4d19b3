//! `compensation-events`: refunds for clicks that were repeated within minutes.

use rtbflow::Timestamp;
use rtbflow::codec::View;
use serde::Deserialize;

use crate::events::strict::{Object, Rules, Text, Whole, names};

names! {
    /// How long the window was in which the clicks fell.
    DetectionWindow {
        /// Five minutes.
        FiveMinutes = "5_MINUTES",
    }
}

names! {
    /// Why there is a refund.
    RefundReason {
        /// The same device clicked the same ad again.
        DuplicateClick = "DUPLICATE_CLICK_DETECTED",
    }
}

names! {
    /// What is refunded.
    CompensationType {
        /// The advertiser's balance goes up.
        BalanceRefund = "BALANCE_REFUND",
    }
}

/// A record of `compensation-events`, every field checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the record; they have no other names")]
pub struct CompensationView<'a> {
    pub timestamp: Timestamp,
    #[serde(borrow)]
    pub advertiser_id: Text<'a>,
    #[serde(borrow)]
    pub campaign_id: Text<'a>,
    #[serde(borrow)]
    pub ad_id: Text<'a>,
    #[serde(borrow)]
    pub device_id: Text<'a>,
    pub duplicate_click_count: Whole,
    pub refund_amount: Whole,
    pub original_click_timestamps: Vec<Timestamp>,
    pub detection_window: DetectionWindow,
    pub reason: RefundReason,
    pub compensation_type: CompensationType,
}

impl Rules for CompensationView<'_> {}

/// The family of [`CompensationView`]s, for [`json_view`](rtbflow::codec::json_view).
#[derive(Debug)]
pub struct Compensations;

impl View for Compensations {
    type Of<'a> = Object<CompensationView<'a>>;
}
