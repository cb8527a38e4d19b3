//! `campaign-events`: a full snapshot of a campaign each time.

use rtbflow::Timestamp;
use rtbflow::codec::View;
use serde::Deserialize;

use crate::events::ad::Placement;
use crate::events::strict::{Object, Rules, Text, Whole, names};

names! {
    /// What made somebody send the snapshot.
    CampaignEventType {
        /// It is new.
        Created = "CAMPAIGN_CREATED",
        /// Its settings changed.
        Updated = "CAMPAIGN_UPDATED",
        /// It was looked at.
        Approved = "CAMPAIGN_APPROVED",
        /// It was started, paused or deleted.
        StatusChanged = "CAMPAIGN_STATUS_CHANGED",
    }
}

names! {
    /// What the advertiser wants of the campaign.
    CampaignStatus {
        /// Not started yet.
        Pending = "PENDING",
        /// It may run.
        Active = "ACTIVE",
        /// It stands still.
        Paused = "PAUSED",
        /// It is gone.
        Deleted = "DELETED",
    }
}

names! {
    /// What the review said.
    ApprovalStatus {
        /// Nothing yet.
        Pending = "PENDING",
        /// It may run.
        Approved = "APPROVED",
        /// It may not.
        Rejected = "REJECTED",
    }
}

names! {
    /// How much of the ranking the change touches.
    Impact {
        /// The whole group.
        High = "HIGH",
        /// The campaign and the ten best.
        Medium = "MEDIUM",
        /// The campaign.
        Low = "LOW",
    }
}

/// A record of `campaign-events`, every field checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the record; they have no other names")]
pub struct CampaignView<'a> {
    pub event_type: CampaignEventType,
    pub timestamp: Timestamp,
    #[serde(borrow)]
    pub campaign_id: Text<'a>,
    #[serde(borrow)]
    pub advertiser_id: Text<'a>,
    #[serde(borrow)]
    pub product_id: Text<'a>,
    pub placement: Placement,
    #[serde(borrow)]
    pub category: Text<'a>,
    pub bid_price: Whole,
    pub daily_budget: Whole,
    pub status: CampaignStatus,
    pub approval_status: ApprovalStatus,
    #[serde(borrow)]
    pub targeting: Option<Object<Targeting<'a>>>,
    pub effective_from: Option<Timestamp>,
    pub rtb_impact: Impact,
}

impl Rules for CampaignView<'_> {}

/// Whom a campaign is for; a list that is missing means everybody.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the record; they have no other names")]
pub struct Targeting<'a> {
    #[serde(borrow)]
    pub device_types: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub age_groups: Option<Vec<Text<'a>>>,
}

impl Rules for Targeting<'_> {}

/// The family of [`CampaignView`]s, for [`json_view`](rtbflow::codec::json_view).
#[derive(Debug)]
pub struct Campaigns;

impl View for Campaigns {
    type Of<'a> = Object<CampaignView<'a>>;
}
