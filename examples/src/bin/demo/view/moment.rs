//! What is seen of the demonstration at a moment.

use std::time::Duration;

use crate::chaos::Kill;

/// A moment of the demonstration. Numbers over time have the newest last.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Moment {
    /// How long it runs.
    pub(crate) elapsed: Duration,
    /// How long traffic is generated.
    pub(crate) duration: Duration,
    /// Records of ad-events that are stored.
    pub(crate) sent: u64,
    /// Records of ad-events in a second.
    pub(crate) sent_rates: Vec<u64>,
    /// Event time of what is sent.
    pub(crate) event_time: String,
    /// The pipelines.
    pub(crate) pipelines: Vec<PipelineMoment>,
    /// All kills so far.
    pub(crate) kills: Vec<Kill>,
    /// The campaigns that are seen most.
    pub(crate) campaigns: Vec<CampaignMoment>,
    /// The lowest balances.
    pub(crate) balances: Vec<(String, i64)>,
    /// Rows in the ledger, and the sum of all balances.
    pub(crate) ledger: (u64, i64),
}

/// A pipeline at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PipelineMoment {
    pub(crate) name: &'static str,
    /// Records committed in a second.
    pub(crate) rates: Vec<u64>,
    /// Records sent and not yet committed.
    pub(crate) lags: Vec<u64>,
    /// For how long the oldest of these has been waiting, in milliseconds.
    pub(crate) behind_ms: Vec<u64>,
    /// Its watermark, where it has one.
    pub(crate) watermark: Option<String>,
}

impl PipelineMoment {
    /// Records sent and not yet committed, now.
    pub(crate) fn lag(&self) -> u64 {
        self.lags.last().copied().unwrap_or(0)
    }
}

/// A campaign's newest window.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CampaignMoment {
    pub(crate) id: String,
    pub(crate) window: String,
    pub(crate) impressions: u64,
    pub(crate) clicks: u64,
}

impl CampaignMoment {
    pub(super) fn ctr_percent(&self) -> f64 {
        let exact = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        if self.impressions == 0 {
            0.0
        } else {
            100.0 * exact(self.clicks) / exact(self.impressions)
        }
    }
}

/// A group of the ranking.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ranking {
    /// Placement and category.
    pub(crate) group: String,
    /// How many campaigns it has.
    pub(crate) count: u64,
    /// Its first campaigns with their scores.
    pub(crate) best: Vec<(String, f64)>,
}
