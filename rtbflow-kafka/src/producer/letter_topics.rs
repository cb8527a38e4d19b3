//! What the topics of dead letters take: asked before the first letter, and again where one refuses a letter that was cut
//! to fit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rtbflow::{Error, Result};

use crate::client::blocking::blocking;
use crate::client::create::Creation;
use crate::client::kafka::Kafka;
use crate::producer::result_topics::{ResultTopics, refresh_limit};

/// How long the requests about topics may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What the requests have left to say that they took too long.
const LEEWAY: Duration = Duration::from_millis(100);
/// How often a topic may be asked anew, each time with the same answer, while it refuses what fits according to that.
/// More than once: a broker may enforce a new limit a little before all of them answer with it.
const MOST_REFUSALS: u32 = 5;

/// The topics of dead letters, with what they take.
#[derive(Default)]
pub(super) struct LetterTopics {
    limits: ResultTopics,
    asked: Mutex<BTreeMap<String, Asked>>,
}

/// What is known of a topic.
#[derive(Default)]
struct Asked {
    /// Whether it was asked since it last refused a letter.
    is_known: bool,
    /// The limit at which it has refused letters that were cut to fit, and how often since it was asked.
    refused: Option<(usize, u32)>,
}

impl LetterTopics {
    fn asked(&self) -> MutexGuard<'_, BTreeMap<String, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How large a batch may be that all of them take.
    pub(super) fn most_batch_bytes(&self) -> usize {
        self.limits.most_batch_bytes()
    }

    /// How large a letter may be that the topic takes.
    pub(super) fn most_bytes(&self, topic: &str) -> usize {
        self.limits.limit(&topic.into()).load(Ordering::Relaxed)
    }

    /// Asks what these topics take, where that is not known. Whether anything was asked.
    ///
    /// # Errors
    /// Transient if no broker answers.
    pub(super) async fn ask(
        &self,
        kafka: &Kafka,
        topics: impl Iterator<Item = String>,
    ) -> Result<bool> {
        let unknown = self.unknown(topics);
        if unknown.is_empty() {
            return Ok(false);
        }
        let (kafka, limits, names) = (kafka.clone(), self.limits.clone(), unknown.clone());
        let attempt = format!("ask what {} take", Vec::from_iter(unknown.clone()).join(", "));
        let ask = move || {
            let creation = Creation::new(&kafka, REQUEST_TIMEOUT)?;
            names.iter().try_for_each(|topic| {
                let limit = limits.limit(&topic.as_str().into());
                // One that is missing is found so by the letter.
                match creation.count(topic, Duration::ZERO)? {
                    Some(_) => refresh_limit(&creation, topic, &limit),
                    None => Ok(()),
                }
            })
        };
        blocking(&attempt, REQUEST_TIMEOUT + LEEWAY, ask).await?;
        self.note_answers(unknown);
        Ok(true)
    }

    fn unknown(&self, topics: impl Iterator<Item = String>) -> BTreeSet<String> {
        let asked = self.asked();
        topics.filter(|topic| !asked.get(topic).is_some_and(|asked| asked.is_known)).collect()
    }

    fn note_answers(&self, topics: BTreeSet<String>) {
        let mut asked = self.asked();
        for topic in topics {
            asked.entry(topic).or_default().is_known = true;
        }
    }

    /// The error of a letter that the topic has refused though it was cut to fit: the topic takes something else than it
    /// did, and is asked again. Permanent once its answer has been the same for too often.
    pub(super) fn too_large(&self, topic: &str, attempt: String) -> Error {
        let limit = self.most_bytes(topic);
        let mut asked = self.asked();
        let asked = asked.entry(topic.to_owned()).or_default();
        // Many letters are on their way at a time: all that were cut by one answer are one refusal.
        if asked.is_known {
            asked.is_known = false;
            let before = asked.refused.filter(|(at, _)| *at == limit).map_or(0, |(_, times)| times);
            asked.refused = Some((limit, before + 1));
        }
        if asked.refused.is_some_and(|(_, times)| times > MOST_REFUSALS) {
            return Error::permanent(format!(
                "{attempt}: it does not take {limit} bytes, as it should; raise its max.message.bytes"
            ));
        }
        Error::transient(attempt + ": it takes less than it did; its letters are cut shorter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "clicks.dead-letter";

    /// The topic is asked, and answers so.
    fn answer(topics: &LetterTopics, limit: usize) {
        let unknown = topics.unknown([TOPIC.to_owned()].into_iter());
        assert_eq!(unknown.len(), 1, "it is asked again");
        topics.limits.limit(&TOPIC.into()).store(limit, Ordering::Relaxed);
        topics.note_answers(unknown);
        assert_eq!(topics.unknown([TOPIC.to_owned()].into_iter()).len(), 0);
    }

    #[test]
    fn a_topic_that_takes_less_each_time_it_is_asked_is_asked_again() {
        let topics = LetterTopics::default();
        for limit in (1_000..1_000 + 3 * MOST_REFUSALS as usize).rev() {
            answer(&topics, limit);
            // Two letters of one answer.
            for _ in 0..2 {
                let error = topics.too_large(TOPIC, "write a letter".to_owned());
                assert!(error.is_transient(), "{}", error.report());
            }
        }
    }

    #[test]
    fn a_topic_that_refuses_what_it_says_it_takes_is_not_tried_for_ever() {
        let topics = LetterTopics::default();
        for _ in 0..MOST_REFUSALS {
            answer(&topics, 1_000);
            assert!(topics.too_large(TOPIC, "write a letter".to_owned()).is_transient());
        }
        answer(&topics, 1_000);
        let error = topics.too_large(TOPIC, "write a letter".to_owned());
        assert!(!error.is_transient());
        assert_eq!(
            error.report(),
            "write a letter: it does not take 1000 bytes, as it should; raise its max.message.bytes"
        );
    }
}
