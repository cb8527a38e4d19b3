//! The records of the four topics, decoded strictly and without copying what nobody keeps.
//!
//! Each topic has a *view*: all its fields, checked, with strings that borrow from the record where the
//! JSON has no escapes. A pipeline projects the view to the small owned value that it needs, in the same
//! step ([`ad_clicks`], [`ad_metrics`], [`conversions`]), so every pipeline checks every field, and none keeps what it
//! does not use.
//!
//! ```text
//!  bytes ──▶ Object<AdView<'_>> ──▶ AdClick   (S3, S4, W1, W2: who clicked what, at which price)
//!            every field checked └▶ AdMetric  (S2: what happened to which campaign)
//!        ──▶ Object<CampaignView<'_>> ──▶ Campaign  (S1: what is ranked, and from when on)
//!        ──▶ Object<CompensationView<'_>> ──▶ Refund  (W3: what is paid back for which clicks)
//!        ──▶ Object<ConversionView<'_>> ──▶ Conversion  (S3: what was bought, by whom)
//! ```

mod ad;
mod campaign;
mod compensation;
mod conversion;
#[cfg(test)]
mod slow;
mod strict;

pub use ad::{
    AdClick, AdEventType, AdMetric, AdView, Ads, Click, Happened, Placement, Touch, ad_clicks,
    ad_metrics,
};
pub use campaign::{
    ApprovalStatus, Campaign, CampaignEventType, CampaignStatus, CampaignView, Campaigns, Impact,
    Targeting, campaigns,
};
pub use compensation::{
    Compensation, CompensationType, CompensationView, Compensations, DetectionWindow, Refund,
    RefundReason, refunds,
};
pub use conversion::{
    Conversion, ConversionType, ConversionView, Conversions, Identified, conversions,
};
pub use strict::{Object, Rules, Text, Whole};
