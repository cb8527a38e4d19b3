//! `compensation-events`: refunds for clicks that were repeated within minutes.

use compact_str::CompactString;
use rtbflow::Timestamp;
use rtbflow::codec::{Decoder, View, json_view};
use serde::{Deserialize, Serialize};

use crate::events::strict::{Object, Rules, Text, Whole, names};
use crate::won::Won;

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

/// A record of `compensation-events` as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compensation {
    /// The end of the window in which the clicks fell.
    pub timestamp: Timestamp,
    /// Who gets the refund: the key of the record.
    pub advertiser_id: CompactString,
    /// The campaign of the first click.
    pub campaign_id: CompactString,
    /// The ad that was clicked.
    pub ad_id: CompactString,
    /// The device that clicked.
    pub device_id: CompactString,
    /// How many clicks there were, the first included.
    pub duplicate_click_count: usize,
    /// The prices of all but the first, in won.
    pub refund_amount: Won,
    /// When the clicks were, the first included; ascending.
    pub original_click_timestamps: Vec<Timestamp>,
    /// How long the window was.
    pub detection_window: DetectionWindow,
    /// Why there is a refund.
    pub reason: RefundReason,
    /// What is refunded.
    pub compensation_type: CompensationType,
}

/// What is to be paid back to an advertiser: a record of `compensation-events` as it is booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The end of the window in which the clicks fell.
    pub timestamp: Timestamp,
    /// Who gets it.
    pub advertiser_id: CompactString,
    /// The campaign of the first click.
    pub campaign_id: CompactString,
    /// The ad that was clicked.
    pub ad_id: CompactString,
    /// The device that clicked.
    pub device_id: CompactString,
    /// How much, in won.
    pub amount: i64,
}

impl Refund {
    /// Whether another is for the same clicks: those of a device on an ad in a window. How much it is, and
    /// for whom, makes no difference.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        (&self.device_id, &self.ad_id, self.timestamp)
            == (&other.device_id, &other.ad_id, other.timestamp)
    }
}

impl From<CompensationView<'_>> for Refund {
    fn from(compensation: CompensationView<'_>) -> Self {
        Self {
            timestamp: compensation.timestamp,
            advertiser_id: compensation.advertiser_id.compact(),
            campaign_id: compensation.campaign_id.compact(),
            ad_id: compensation.ad_id.compact(),
            device_id: compensation.device_id.compact(),
            amount: compensation.refund_amount.get(),
        }
    }
}

/// Decodes `compensation-events` for whoever pays.
#[must_use]
pub fn refunds() -> impl Decoder<Value = Refund> + Clone {
    json_view::<Compensations, _, _>(|Object(compensation)| Ok(Refund::from(compensation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_decodes_as_the_strictest_reader_wants_it() {
        let times = [1_705_314_615_000, 1_705_314_618_042].map(Timestamp::from_millis);
        let written = Compensation {
            timestamp: Timestamp::from_millis(1_705_314_900_000),
            advertiser_id: "a\"한글".into(),
            campaign_id: "c".into(),
            ad_id: "ad".into(),
            device_id: "d".into(),
            duplicate_click_count: 2,
            refund_amount: i64::MAX.into(),
            original_click_timestamps: times.to_vec(),
            detection_window: DetectionWindow::FiveMinutes,
            reason: RefundReason::DuplicateClick,
            compensation_type: CompensationType::BalanceRefund,
        };
        let json = serde_json::to_string(&written).unwrap();
        let Object(view): Object<CompensationView<'_>> = serde_json::from_str(&json).unwrap();
        assert_eq!(view.original_click_timestamps, times);
        assert_eq!((view.duplicate_click_count.get(), &*view.advertiser_id), (2, "a\"한글"));
        assert_eq!(Refund::from(view).amount, i64::MAX);
    }
}
