//! `campaign-events`: a full snapshot of a campaign each time.

use compact_str::CompactString;
use rtbflow::Timestamp;
use rtbflow::codec::{Decoder, View, json_view};
use serde::{Deserialize, Serialize};

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

/// A record of `campaign-events` for who ranks campaigns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    /// The event time.
    pub timestamp: Timestamp,
    /// The campaign.
    pub campaign_id: CompactString,
    /// Where its ads stand.
    pub placement: Placement,
    /// The category that they stand in.
    pub category: CompactString,
    /// What it bids for a click, in won.
    pub bid_price: i64,
    /// What the advertiser wants of it.
    pub status: CampaignStatus,
    /// What the review said.
    pub approval_status: ApprovalStatus,
    /// From when on it may run.
    pub effective_from: Option<Timestamp>,
    /// How much of the ranking the change touches.
    pub rtb_impact: Impact,
}

impl Campaign {
    /// Whether it may run, as soon as its time has come.
    #[must_use]
    pub fn may_run(&self) -> bool {
        self.status == CampaignStatus::Active && self.approval_status == ApprovalStatus::Approved
    }
}

impl From<CampaignView<'_>> for Campaign {
    fn from(campaign: CampaignView<'_>) -> Self {
        Self {
            timestamp: campaign.timestamp,
            campaign_id: campaign.campaign_id.compact(),
            placement: campaign.placement,
            category: campaign.category.compact(),
            bid_price: campaign.bid_price.get(),
            status: campaign.status,
            approval_status: campaign.approval_status,
            effective_from: campaign.effective_from,
            rtb_impact: campaign.rtb_impact,
        }
    }
}

/// Decodes `campaign-events` for who ranks campaigns.
#[must_use]
pub fn campaigns() -> impl Decoder<Value = Campaign> + Clone {
    json_view::<Campaigns, _, _>(|Object(campaign)| Ok(Campaign::from(campaign)))
}
