//! The topics as they were when the source was opened, and what is not any more as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use rtbflow::Topic;
use rtbflow::epoch::TopicId;

use crate::client::kafka::Kafka;
use crate::client::native::TopicDescription;
use crate::source::mailbox::TopicChange;

/// A topic as it was when the source was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenedTopic {
    pub(crate) topic: Topic,
    pub(crate) partitions: u32,
    /// Its id; `None` where the brokers are older than the ids.
    pub(crate) id: Option<TopicId>,
}

/// The topics that are checked now and then.
#[derive(Debug)]
pub(crate) struct TopicWatch {
    /// Where they are.
    pub(crate) kafka: Kafka,
    pub(crate) topics: Vec<OpenedTopic>,
    /// The pause between two checks.
    pub(crate) pause: Duration,
}

impl TopicWatch {
    /// What is not any more as it was. A topic that is missing now may be there again in a moment.
    pub(crate) fn compare(
        &self,
        found: &BTreeMap<String, TopicDescription>,
    ) -> Option<TopicChange> {
        self.topics.iter().find_map(|opened| {
            let now = found.get(opened.topic.name())?;
            // By its id first: a topic made anew may have as many partitions as the old one.
            match (opened.id, now.id) {
                (Some(was), Some(is)) if was != is => {
                    Some(TopicChange::Recreated(opened.topic, was, is))
                }
                _ => (now.partitions != opened.partitions)
                    .then_some(TopicChange::Partitions(opened.topic, now.partitions)),
            }
        })
    }

    /// The topics that had ids when the source was opened.
    pub(crate) fn with_ids(&self) -> Vec<Topic> {
        let with_ids = self.topics.iter().filter(|opened| opened.id.is_some());
        with_ids.map(|opened| opened.topic).collect()
    }
}
