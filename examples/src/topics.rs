//! The topics of the system: partitions and retention, as they are created where they are missing.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A topic as it is created. An existing topic is never altered, and other counts work as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPlan {
    /// The name.
    pub name: String,
    /// How many partitions it gets.
    pub partitions: i32,
    /// How long records are kept.
    pub retention: Duration,
}

/// A topic of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SystemTopic {
    /// Snapshots of campaigns, keyed by `{placement}|{category}`.
    CampaignEvents,
    /// Impressions, clicks and conversions, keyed by `device_id`.
    AdEvents,
    /// Conversions as outside systems report them, keyed by `device_id`.
    ConversionEvents,
    /// Refunds of repeated clicks, keyed by `advertiser_id`.
    CompensationEvents,
}

impl SystemTopic {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::CampaignEvents, Self::AdEvents, Self::ConversionEvents, Self::CompensationEvents];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CampaignEvents => "campaign-events",
            Self::AdEvents => "ad-events",
            Self::ConversionEvents => "conversion-events",
            Self::CompensationEvents => "compensation-events",
        }
    }

    /// How it is created.
    #[must_use]
    pub fn plan(self) -> TopicPlan {
        let (partitions, retention) = match self {
            Self::CampaignEvents => (4, 7 * DAY),
            Self::AdEvents => (8, 7 * DAY),
            Self::ConversionEvents | Self::CompensationEvents => (4, 3 * DAY),
        };
        TopicPlan { name: self.name().to_owned(), partitions, retention }
    }

    /// How the topic of its dead letters is created.
    #[must_use]
    pub fn dead_letter_plan(self) -> TopicPlan {
        let plan = self.plan();
        TopicPlan { name: format!("{}.dead-letter", plan.name), retention: 14 * DAY, ..plan }
    }
}

/// How the topics of a pipeline are created: those it reads and writes, and their dead letters.
#[must_use]
pub fn plans(topics: &[SystemTopic]) -> Vec<TopicPlan> {
    topics.iter().flat_map(|topic| [topic.plan(), topic.dead_letter_plan()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_comes_with_its_dead_letters() {
        let plans = plans(&[SystemTopic::AdEvents, SystemTopic::CompensationEvents]);
        let table: Vec<_> = plans
            .iter()
            .map(|p| (&*p.name, p.partitions, p.retention.as_secs() / 86_400))
            .collect();
        assert_eq!(
            table,
            [
                ("ad-events", 8, 7),
                ("ad-events.dead-letter", 8, 14),
                ("compensation-events", 4, 3),
                ("compensation-events.dead-letter", 4, 14),
            ]
        );
    }
}
