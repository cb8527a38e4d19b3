//! The pipelines by name: what each reads, and the consumer group that it is known by.

use crate::topics::SystemTopic;

/// What is known of a pipeline before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pipeline {
    /// The binary's name; dead letters and the accounting line carry it.
    pub name: &'static str,
    /// What it does, in one sentence, for `--help`.
    pub about: &'static str,
    /// The consumer group, unless `--group` says another.
    pub group: &'static str,
    /// The topics that it reads.
    pub reads: &'static [SystemTopic],
    /// The topics that it writes.
    pub writes: &'static [SystemTopic],
}

/// Charges every click to its advertiser.
pub const BALANCE: Pipeline = Pipeline {
    name: "balance-worker",
    about: "Charges every click in ad-events to its advertiser: balance and ledger in Postgres, exactly once.",
    group: "worker-balance-processor",
    reads: &[SystemTopic::AdEvents],
    writes: &[],
};

/// Watches budgets.
pub const BUDGET: Pipeline = Pipeline {
    name: "budget-worker",
    about: "Adds up what each campaign spends a day on clicks in ad-events: totals in Redis, alerts and pauses in \
            Postgres, each exactly once.",
    group: "worker-budget-monitor",
    reads: &[SystemTopic::AdEvents],
    writes: &[],
};

/// Ranks campaigns.
pub const RANKING: Pipeline = Pipeline {
    name: "rtb-ranking",
    about: "Ranks the live campaigns of campaign-events by what they are expected to earn, for each placement and \
            category, in Redis, with the click rates that performance keeps there.",
    group: "flink-rtb-processor",
    reads: &[SystemTopic::CampaignEvents],
    writes: &[],
};

/// Pays refunds for repeated clicks.
pub const COMPENSATION: Pipeline = Pipeline {
    name: "compensation-worker",
    about: "Pays every refund in compensation-events to its advertiser: balance and ledger in Postgres, exactly \
            once, and each refund once however often it is sent.",
    group: "worker-compensation-processor",
    reads: &[SystemTopic::CompensationEvents],
    writes: &[],
};

/// Finds clicks that were repeated within minutes.
pub const DUPLICATES: Pipeline = Pipeline {
    name: "duplicate-clicks",
    about: "Finds clicks in ad-events that a device repeated on an ad within five minutes, and sends one refund for \
            them to compensation-events, exactly once.",
    group: "flink-duplicate-detector",
    reads: &[SystemTopic::AdEvents],
    writes: &[SystemTopic::CompensationEvents],
};

/// Counts each campaign's impressions, clicks and conversions.
pub const PERFORMANCE: Pipeline = Pipeline {
    name: "performance",
    about: "Counts impressions, clicks and conversions in ad-events by campaign and five minutes: CTR, CVR, cost \
            and revenue in Redis, exactly once.",
    group: "flink-performance-aggregator",
    reads: &[SystemTopic::AdEvents],
    writes: &[],
};

/// Attributes each conversion to the click that led to it.
pub const MATCHING: Pipeline = Pipeline {
    name: "conversion-matching",
    about: "Attributes each conversion in conversion-events to the last click before it in ad-events: one row a \
            conversion in Postgres, exactly once.",
    group: "flink-conversion-matcher",
    reads: &[SystemTopic::ConversionEvents, SystemTopic::AdEvents],
    writes: &[],
};
