//! S1: which campaigns are live, where they stand, and what they score.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use serde::Deserialize;

use super::ads::count;
use super::log::Stored;
use super::time::Time;
use super::windows::{Hash, Hashes, hashes};
use super::{Classes, compare};
use crate::Fallible;
use crate::findings::Findings;

#[derive(Debug, Clone, Deserialize)]
struct Fields {
    timestamp: Time,
    campaign_id: String,
    placement: String,
    category: String,
    bid_price: i64,
    status: String,
    approval_status: String,
    effective_from: Option<Time>,
}

/// The newest snapshot of each campaign.
#[derive(Debug, Default)]
pub(super) struct Ranked {
    newest: BTreeMap<String, ((i64, i64, i32), Fields)>,
    pub(super) spoilt: Vec<Stored>,
    pub(super) classes: Classes,
}

/// Reads them. How many are late depends on which partition was read first, where a campaign has moved.
pub(super) fn parse(records: &[Stored]) -> Fallible<Ranked> {
    let mut ranked = Ranked::default();
    for record in records {
        let Some(value) = &record.value else {
            ranked.classes.skipped += 1;
            continue;
        };
        if record.is_poison() {
            ranked.spoilt.push(record.clone());
            continue;
        }
        let fields: Fields = serde_json::from_slice(value)?;
        let version = (fields.timestamp.0, record.offset, record.partition);
        let held = ranked.newest.get(&fields.campaign_id);
        if held.is_none_or(|(newest, _)| version > *newest) {
            ranked.newest.insert(fields.campaign_id.clone(), (version, fields));
        }
        ranked.classes.decoded += 1;
    }
    ranked.classes.dead_lettered = count(ranked.spoilt.len());
    Ok(ranked)
}

/// A score in whole millionths: what is written as a binary fraction is compared by these.
fn score(bid: i64, metrics: Option<&Hash>) -> i128 {
    let of =
        |name: &str| metrics.and_then(|hash| hash.get(name)?.parse::<i128>().ok()).unwrap_or(0);
    let (clicks, impressions) = (of("clicks"), of("impressions"));
    1_000_000 * i128::from(bid) * 1_000 * (clicks + 20) / (impressions + 1_000)
}

/// As each server writes it: with digits only, or with an exponent.
#[expect(clippy::cast_possible_truncation, reason = "a score is far below 64 bits")]
fn millionths(text: &str) -> i128 {
    text.parse::<f64>().map_or(i128::MIN / 2, |score| (score * 1e6).round() as i128)
}

/// Whether two scores are one, but for the last digit of a binary fraction.
fn is_score(text: &str, expected: i128) -> bool {
    (millionths(text) - expected).abs() <= 2
}

/// Compares.
pub(super) async fn check(
    findings: &Findings,
    redis: &mut MultiplexedConnection,
    ranked: &Ranked,
    metrics: &Hashes,
) -> Fallible {
    let mut sets: BTreeMap<String, BTreeMap<String, i128>> = BTreeMap::new();
    let mut campaigns: BTreeMap<String, Hash> = BTreeMap::new();
    let mut scores = BTreeMap::new();
    for (id, (_, fields)) in &ranked.newest {
        if fields.status == "DELETED" {
            continue;
        }
        let key = format!("rtb:campaign:{id}");
        let hash = campaigns.entry(key.clone()).or_default();
        hash.insert("bid_price".to_owned(), fields.bid_price.to_string());
        let at = fields.timestamp.0;
        hash.insert("event_timestamp".to_owned(), crate::traffic::at_text(at * 1_000));
        let is_far = fields.effective_from.is_some_and(|from| from > fields.timestamp);
        if fields.status == "ACTIVE" && fields.approval_status == "APPROVED" && !is_far {
            let group = format!("rtb:{}:{}", fields.placement, fields.category);
            let score = score(fields.bid_price, metrics.get(&format!("perf:{id}")));
            hash.insert("key".to_owned(), group.clone());
            sets.entry(group).or_default().insert(id.clone(), score);
            scores.insert(key, score);
        }
    }
    let mut found = hashes(redis, "rtb:campaign:*").await?;
    for (key, hash) in &mut found {
        // A time may have more digits than it needs.
        if let Some(at) = hash.get_mut("event_timestamp")
            && let Ok(parsed) = at.parse::<jiff::Timestamp>()
        {
            *at = parsed.to_string();
        }
        // A score is compared by itself.
        match (hash.remove("score"), scores.get(key)) {
            (None, None) => {}
            (Some(text), Some(score)) if is_score(&text, *score) => {}
            (found, wanted) => findings.violation(&format!(
                "S1 Redis: {key} scores {found:?}, expected {wanted:?} millionths"
            )),
        }
    }
    compare(findings, "S1 campaigns", &found, &campaigns);
    compare(findings, "S1 rankings", &rankings(redis, &sets).await?, &sets);
    Ok(())
}

/// All sorted sets; a score that is right is as it was expected.
async fn rankings(
    redis: &mut MultiplexedConnection,
    expected: &BTreeMap<String, BTreeMap<String, i128>>,
) -> Fallible<BTreeMap<String, BTreeMap<String, i128>>> {
    let keys: Vec<String> = redis::cmd("KEYS").arg("rtb:[A-Z]*:*").query_async(redis).await?;
    let mut found = BTreeMap::new();
    for key in keys {
        let members: Vec<(String, String)> = redis::cmd("ZRANGE")
            .arg(&key)
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query_async(redis)
            .await?;
        let set = expected.get(&key);
        let member = |(id, text): (String, String)| {
            let wanted = set.and_then(|set| set.get(&id)).copied();
            let score = wanted
                .filter(|wanted| is_score(&text, *wanted))
                .unwrap_or_else(|| millionths(&text));
            (id, score)
        };
        found.insert(key.clone(), members.into_iter().map(member).collect());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_read_however_it_is_written() {
        for text in ["22117.882117882118", "2.2117882117882118e+4"] {
            assert!(is_score(text, 22_117_882_117), "{text}");
            assert!(!is_score(text, 22_117_882_217), "{text}");
        }
        assert!(!is_score("", 0));
    }
}
