//! The topics of the system: partitions and retention, as they are created where they are missing.

use std::time::Duration;

use rtbflow_kafka::TopicSpec;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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

    /// The topic of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// How many partitions it has. Others work as well; a warning names both counts.
    #[must_use]
    pub const fn partitions(self) -> u32 {
        match self {
            Self::AdEvents => 8,
            Self::CampaignEvents | Self::ConversionEvents | Self::CompensationEvents => 4,
        }
    }

    /// How long records are kept.
    #[must_use]
    pub fn retention(self) -> Duration {
        match self {
            Self::CampaignEvents | Self::AdEvents => 7 * DAY,
            Self::ConversionEvents | Self::CompensationEvents => 3 * DAY,
        }
    }
}

/// How topics are created where they are missing: those that are read and those that are written, each with
/// that of its dead letters: a result that is refused becomes one too.
#[must_use]
pub fn specs(read: &[SystemTopic], written: &[SystemTopic]) -> Vec<TopicSpec> {
    let own =
        |topic: &SystemTopic| TopicSpec::new(topic.name(), topic.partitions(), topic.retention());
    let with_dead_letters =
        |topic: &SystemTopic| [own(topic), TopicSpec::dead_letter(topic.name())];
    read.iter().chain(written).flat_map(with_dead_letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_comes_with_its_dead_letters() {
        let read = [SystemTopic::AdEvents, SystemTopic::CompensationEvents];
        let specs = specs(&read, &[SystemTopic::ConversionEvents]);
        let names: Vec<_> = specs.iter().map(TopicSpec::name).collect();
        assert_eq!(
            names,
            [
                "ad-events",
                "ad-events.dead-letter",
                "compensation-events",
                "compensation-events.dead-letter",
                "conversion-events",
                "conversion-events.dead-letter"
            ]
        );
    }

    #[test]
    fn the_table_is_that_of_the_contract() {
        let table = SystemTopic::ALL
            .map(|topic| (topic.name(), topic.partitions(), topic.retention().as_secs() / 86_400));
        assert_eq!(
            table,
            [
                ("campaign-events", 4, 7),
                ("ad-events", 8, 7),
                ("conversion-events", 4, 3),
                ("compensation-events", 4, 3)
            ]
        );
    }
}
