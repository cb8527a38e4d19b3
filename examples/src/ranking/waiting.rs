//! Campaigns whose time has not come yet.

use compact_str::CompactString;
use rtbflow::operators::process::{Process, Turn};
use rtbflow::{Record, Timestamp};
use serde::{Deserialize, Serialize};

use crate::events::{Campaign, CampaignStatus};

/// A version of a campaign, and what makes it newer than another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The campaign.
    pub campaign: Campaign,
    /// Of two of the same time, the higher offset is the newer one.
    pub offset: i64,
    /// Of two of the same time and offset, the higher partition is.
    pub partition: i32,
    /// Whether its time has come while it was waiting.
    pub is_due: bool,
}

impl Version {
    /// What it asks for: to be ranked, now or from its time on, or not to be.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.campaign.status, self.campaign.effective_from) {
            (CampaignStatus::Deleted, _) => "deleted",
            _ if !self.campaign.may_run() => "resting",
            (_, Some(_)) if !self.is_due => "waiting",
            _ => "live",
        }
    }
}

/// Passes each version on, and one that is live from some time on once more at that time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting;

impl Process<CompactString, Campaign> for Waiting {
    /// The version that waits, until its time has come or another has taken its place.
    type State = Version;
    type Output = Version;

    fn on_record(
        &mut self,
        record: Record<Campaign>,
        turn: &mut Turn<'_, CompactString, Version, Version>,
    ) {
        if let Some(replaced) = turn.state().and_then(|version| version.campaign.effective_from) {
            turn.cancel_wall_timer(replaced);
            turn.clear();
        }
        let (offset, partition) =
            record.origin.map_or((0, 0), |origin| (origin.offset(), origin.partition().number));
        let version = record.map(|campaign| Version { campaign, offset, partition, is_due: false });
        let campaign = &version.value.campaign;
        if let Some(from) = campaign.effective_from.filter(|_| campaign.may_run()) {
            *turn.state_mut() = Some(version.value.clone());
            turn.set_wall_timer(from);
        }
        turn.forward(version);
    }

    fn on_wall_timer(
        &mut self,
        _at: Timestamp,
        turn: &mut Turn<'_, CompactString, Version, Version>,
    ) {
        if let Some(version) = turn.state_mut().take() {
            turn.emit(Version { is_due: true, ..version });
        }
    }
}
