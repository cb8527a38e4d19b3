//! Which of the records a broker refuses for what they are: it answers for a whole batch at once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rtbflow::clock::{Clock, SystemClock};
use rtbflow::epoch::Refusal;
use rtbflow::{BadRecord, Error, Result, Timestamp};

use crate::client::context::Undelivered;
use crate::client::create::Creation;
use crate::client::kafka::Kafka;
use crate::producer::batch::Message;
use crate::producer::produce::Sending;
use crate::producer::result_topics::{ResultTopics, refresh_limit};
use crate::producer::staged::{StagedBatch, too_large};

/// How long the requests about a topic may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that are about a record and not about its broker.
const REFUSING: &[Code] =
    &[Code::MessageSizeTooLarge, Code::InvalidTimestamp, Code::InvalidRecord, Code::InvalidMessage];

/// A row on its way, and where it stands in its epoch.
pub(crate) struct Row<'a> {
    /// The number that it is sent with.
    number: usize,
    batch: &'a StagedBatch,
    row: usize,
    pub(crate) message: Message<'a>,
}

impl Row<'_> {
    pub(crate) fn topic(&self) -> &str {
        self.batch.topic()
    }

    pub(crate) fn send(&self, sending: &Sending<'_>) -> Result<()> {
        sending.send(self.topic(), None, self.number, &self.message)
    }
}

/// All rows of these batches, numbered as they are sent.
pub(crate) fn rows(batches: &[StagedBatch]) -> impl Iterator<Item = Row<'_>> {
    let rows = batches.iter().flat_map(|batch| batch.rows().map(move |(row, at)| (batch, row, at)));
    (0..).zip(rows).map(|(number, (batch, row, message))| Row { number, batch, row, message })
}

/// What there is to know of a topic whose broker refuses something.
struct Rules {
    most_bytes: usize,
    /// How far behind and ahead of the broker's clock a record's time may be.
    behind: i64,
    ahead: i64,
    needs_keys: bool,
}

impl Rules {
    fn of(kafka: &Kafka, results: &ResultTopics, topic: &str) -> Result<Self> {
        let creation = Creation::new(kafka, REQUEST_TIMEOUT)?;
        let limit = results.limit(&topic.into());
        refresh_limit(&creation, topic, &limit)?;
        // A setting that these brokers do not have, or that the user may not ask for, is no rule: what a broker
        // refuses then is found by halves.
        let ms = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| creation.setting(topic, name).ok());
            values.next().and_then(|value| value.trim().parse().ok()).unwrap_or(i64::MAX)
        };
        let either = "message.timestamp.difference.max.ms";
        let policy = creation.setting(topic, "cleanup.policy").unwrap_or_default();
        Ok(Self {
            most_bytes: limit.load(Ordering::Relaxed),
            behind: ms(&["message.timestamp.before.max.ms", either]),
            ahead: ms(&["message.timestamp.after.max.ms", either]),
            needs_keys: policy.contains("compact"),
        })
    }

    fn too_large(&self, row: &Row<'_>) -> Option<BadRecord> {
        let bytes = row.message.bytes();
        (bytes > self.most_bytes).then(|| too_large(bytes, row.topic(), self.most_bytes))
    }

    /// By how much a record's time is further from the clock than the topic takes; negative where it is not.
    fn out_of_time(&self, row: &Row<'_>, now: Timestamp) -> Option<i64> {
        let at = row.message.timestamp_ms?;
        let ahead = at.saturating_sub(now.as_millis());
        let behind = ahead.saturating_neg();
        Some(ahead.saturating_sub(self.ahead).max(behind.saturating_sub(self.behind)))
    }

    fn untimely(&self, row: &Row<'_>, now: Timestamp) -> BadRecord {
        let (topic, ahead, behind) = (row.topic(), self.ahead, self.behind);
        let at = row.message.timestamp_ms.map(Timestamp::from_millis);
        let bounds = if at.is_some_and(|at| at > now) {
            format!("{ahead} ms ahead (message.timestamp.after.max.ms)")
        } else {
            format!("{behind} ms behind (message.timestamp.before.max.ms)")
        };
        // Without one of its own it has that of its writing.
        let at = at.map_or_else(|| "that of its writing".to_owned(), |at| at.to_string());
        BadRecord::new(format!(
            "its time is {at}, and {topic} takes records at most {bounds} of the broker's clock"
        ))
    }

    /// Why this row is refused, as far as a rule says so.
    fn reason(&self, row: &Row<'_>, now: Timestamp) -> Option<BadRecord> {
        let is_untimely = self.out_of_time(row, now).is_some_and(|by| by > 0);
        let untimely = || is_untimely.then(|| self.untimely(row, now));
        self.too_large(row).or_else(untimely).or_else(|| self.without_key(row))
    }

    fn without_key(&self, row: &Row<'_>) -> Option<BadRecord> {
        let topic = row.topic();
        (self.needs_keys && row.message.key.is_none())
            .then(|| BadRecord::new(format!("it has no key, and {topic} is compacted")))
    }
}

/// The error that names the row whose time is furthest from ours. The broker's clock is another one: whatever it
/// refuses, it refuses that.
fn furthest(mut suspects: Vec<Row<'_>>, rules: &Rules, now: Timestamp) -> Option<Error> {
    suspects.sort_by_key(|row| rules.out_of_time(row, now));
    let row = suspects.pop()?;
    Some(Error::refused(vec![refusal(&row, rules.untimely(&row, now))]))
}

/// What was sent and refused.
pub(crate) struct Refused<'a> {
    pub(crate) kafka: &'a Kafka,
    pub(crate) results: &'a ResultTopics,
    pub(crate) batches: &'a [StagedBatch],
    pub(crate) undelivered: &'a [Undelivered],
}

impl Refused<'_> {
    /// Whether a broker refuses any of it for what it is.
    pub(crate) fn is_any(&self) -> bool {
        self.undelivered.iter().any(|one| REFUSING.contains(&one.code))
    }

    /// The rows for a topic of which a rule says why they are refused.
    fn named(&self, topic: &str, rules: &Rules, now: Timestamp) -> Vec<Refusal> {
        let of_topic = rows(self.batches).filter(|row| row.topic() == topic);
        of_topic.filter_map(|row| Some(refusal(&row, rules.reason(&row, now)?))).collect()
    }

    /// The error for what was not delivered, if a broker refuses records for what they are. Where no rule says
    /// which they are, `is_refused` finds out whether one of these rows is; nothing of them is applied by it.
    ///
    /// # Errors
    /// If a broker does not say what its topic takes.
    pub(crate) fn error(
        &self,
        mut is_refused: impl FnMut(&[Row<'_>]) -> Result<bool>,
    ) -> Result<Option<Error>> {
        let first = self.undelivered.iter().find(|one| REFUSING.contains(&one.code));
        let Some(first) = first else { return Ok(None) };
        let rules = Rules::of(self.kafka, self.results, &first.topic)?;
        let now = SystemClock.now();
        // By the rules first: they name all at once, and nothing has to be written again for it.
        let named = self.named(&first.topic, &rules, now);
        if !named.is_empty() {
            return Ok(Some(Error::refused(named)));
        }
        let suspects = self.suspects(&first.topic);
        let topic = &first.topic;
        if first.code == Code::MessageSizeTooLarge && suspects.len() > 1 {
            // Each fits by itself. What the topic takes is known now, and the next batches are smaller.
            let attempt =
                format!("write to {topic}: together its records are too large; in smaller batches");
            return Ok(Some(Error::transient(attempt)));
        }
        if first.code == Code::InvalidTimestamp {
            return Ok(furthest(suspects, &rules, now));
        }
        let found = bisect(suspects, &mut is_refused)?;
        let reason = BadRecord::new(format!("{topic} refuses it: {}", first.code));
        Ok(found.map(|row| Error::refused(vec![refusal(&row, reason)])))
    }

    /// The rows of a topic that were refused: one of them, or all, since a broker answers for a whole batch.
    fn suspects(&self, topic: &str) -> Vec<Row<'_>> {
        let is_suspect = |row: &Row<'_>| {
            let one = self.undelivered.iter().find(|one| one.number == row.number);
            row.topic() == topic && one.is_some_and(|one| REFUSING.contains(&one.code))
        };
        rows(self.batches).filter(is_suspect).collect()
    }
}

/// The one that is refused, by halves. Others in the other half are found when the rest is written again.
fn bisect<'a>(
    mut suspects: Vec<Row<'a>>,
    is_refused: &mut impl FnMut(&[Row<'_>]) -> Result<bool>,
) -> Result<Option<Row<'a>>> {
    while suspects.len() > 1 {
        let half = suspects.split_off(suspects.len() / 2);
        if !is_refused(&suspects)? {
            suspects = half;
        }
    }
    Ok(suspects.pop())
}

fn refusal(row: &Row<'_>, reason: BadRecord) -> Refusal {
    Refusal::new(row.batch.epoch, row.batch.staged, row.row, reason)
}

/// Puts the refusals of single epochs together: each is about the epoch with this number.
pub(crate) fn of_epoch(number: usize, error: &Error) -> impl Iterator<Item = Refusal> {
    error.refusals().iter().cloned().map(move |mut refusal| {
        refusal.epoch = number;
        refusal
    })
}
