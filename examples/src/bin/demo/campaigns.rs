//! Reads the campaigns' newest windows in Redis.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use rtbflow::{Error, Result, Timestamp};
use rtbflow_examples::topics::SystemTopic;

use crate::progress::{At, PartitionPosition, Positions};
use crate::proof::{CampaignWindow, Windows};
use crate::view::{CampaignMoment, Ranking};

/// In one question and its answer.
const WINDOWS_AT_ONCE: usize = 1_000;

/// A reader of the metric cache.
pub(crate) struct Campaigns {
    connection: MultiplexedConnection,
    count: usize,
}

type Fields = (Option<String>, Option<u64>, Option<u64>);

impl Campaigns {
    /// Connects; the campaigns are numbered below `count`.
    pub(crate) async fn open(url: &str, count: usize) -> Result<Self> {
        let connection = match redis::Client::open(url) {
            Ok(client) => client.get_multiplexed_async_connection().await,
            Err(error) => Err(error),
        };
        let failed = |error| Error::transient("connect to Redis for the view").because(error);
        Ok(Self { connection: connection.map_err(failed)?, count })
    }

    /// The positions of a consumer group.
    pub(crate) async fn positions(&self, group: &str) -> Result<Positions> {
        let ask = redis::Cmd::hgetall(format!("rtbflow:{group}:positions"));
        let answer: HashMap<String, String> =
            ask.query_async(&mut self.connection.clone())
                .await
                .map_err(|error| Error::transient("read positions in Redis").because(error))?;
        Ok(answer.iter().filter_map(|(field, text)| position(field, text)).collect())
    }

    /// The campaigns whose newest window has most impressions.
    pub(crate) async fn most_seen(&self, most: usize) -> Result<Vec<CampaignMoment>> {
        let ids: Vec<String> = (0..self.count).map(|number| format!("campaign_{number}")).collect();
        let mut ask = redis::pipe();
        for id in &ids {
            let key = format!("perf:{id}");
            ask.cmd("HMGET").arg(key).arg(&["window_start", "impressions", "clicks"]);
        }
        let answers: Vec<Fields> = ask
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|error| Error::transient("read the metric cache in Redis").because(error))?;
        let mut campaigns: Vec<CampaignMoment> = ids
            .into_iter()
            .zip(answers)
            .filter_map(|(id, (window, impressions, clicks))| {
                let (impressions, clicks) = (impressions?, clicks?);
                Some(CampaignMoment { id, window: window?, impressions, clicks })
            })
            .collect();
        campaigns.sort_by(|a, b| (b.impressions, &b.window).cmp(&(a.impressions, &a.window)));
        campaigns.truncate(most);
        Ok(campaigns)
    }

    /// The largest groups of the ranking, with their first campaigns and scores.
    pub(crate) async fn rankings(&self, groups: usize, most: isize) -> Result<Vec<Ranking>> {
        let keys = self.keys("rtb:[A-Z]*:*").await?;
        let mut ask = redis::pipe();
        for key in &keys {
            ask.zcard(key).zrevrange_withscores(key, 0, most - 1);
        }
        let mut answers: Vec<redis::Value> = ask
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|error| Error::transient("read the rankings in Redis").because(error))?;
        let mut answers = answers.drain(..);
        let mut rankings = Vec::new();
        for key in keys {
            let (Some(count), Some(best)) = (answers.next(), answers.next()) else { break };
            let unread = |error| Error::permanent("read the rankings in Redis").because(error);
            rankings.push(Ranking {
                group: key.trim_start_matches("rtb:").to_owned(),
                count: redis::from_redis_value(count).map_err(unread)?,
                best: redis::from_redis_value(best).map_err(unread)?,
            });
        }
        rankings.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.group.cmp(&b.group)));
        rankings.truncate(groups);
        Ok(rankings)
    }

    /// What the budgets' counters add up to, over all campaigns and days.
    pub(crate) async fn spent(&self) -> Result<i64> {
        let mut ask = redis::pipe();
        for key in self.keys("budget:*").await? {
            ask.hget(key, "spent");
        }
        let spent: Vec<Option<i64>> = ask
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|error| Error::transient("read the budgets in Redis").because(error))?;
        Ok(spent.into_iter().flatten().sum())
    }

    /// Clicks and cost of windows, by campaign and beginning.
    pub(crate) async fn windows(&self, of: &[CampaignWindow]) -> Result<Windows> {
        let mut windows = Windows::new();
        for some in of.chunks(WINDOWS_AT_ONCE) {
            let mut ask = redis::pipe();
            for (campaign, start) in some {
                ask.cmd("HMGET").arg(format!("perf:{campaign}:{start}")).arg(&["clicks", "cost"]);
            }
            let counted: Vec<(Option<i64>, Option<i64>)> =
                ask.query_async(&mut self.connection.clone()).await.map_err(|error| {
                    Error::transient("read the windows of campaigns in Redis").because(error)
                })?;
            let counted = some.iter().zip(counted);
            windows.extend(
                counted.filter_map(|(window, (clicks, cost))| {
                    Some((window.clone(), (clicks?, cost?)))
                }),
            );
        }
        Ok(windows)
    }

    async fn keys(&self, pattern: &str) -> Result<Vec<String>> {
        let failed = |error| Error::transient("look for keys in Redis").because(error);
        let mut found = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1_000);
            let (next, mut keys): (u64, Vec<String>) =
                scan.query_async(&mut self.connection.clone()).await.map_err(failed)?;
            found.append(&mut keys);
            cursor = next;
            if cursor == 0 {
                found.sort();
                found.dedup();
                return Ok(found);
            }
        }
    }
}

/// A position as it stands in Redis: `topic/partition`, and commit, owner, next offset and event time;
/// behind that, by slashes, which log it is.
fn position(field: &str, text: &str) -> Option<(At, PartitionPosition)> {
    let (topic, partition) = field.rsplit_once('/')?;
    // A checksum comes first.
    let mut parts = text.split([' ', '/']).skip_while(|part| part.starts_with('#')).skip(1);
    let (owner, next) = (parts.next()?.parse().ok(), parts.next()?.parse().unwrap_or(0));
    let event_time = parts.next()?.parse().ok().map(Timestamp::from_millis);
    let at = (SystemTopic::named(topic)?, partition.parse().ok()?);
    Some((at, PartitionPosition { next, event_time, owner }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read() {
        let at = |owner, next, ms: Option<i64>| {
            let event_time = ms.map(Timestamp::from_millis);
            let position = PartitionPosition { next, event_time, owner: Some(owner) };
            Some(((SystemTopic::AdEvents, 7), position))
        };
        assert_eq!(position("ad-events/7", "3 99 120 5000"), at(99, 120, Some(5_000)));
        assert_eq!(position("ad-events/7", "#0a1b2c3d 3 99 120 5000"), at(99, 120, Some(5_000)));
        assert_eq!(position("ad-events/7", "1 99 - -"), at(99, 0, None));
        assert_eq!(
            position("ad-events/7", "3 9 120 50/ASNFZ4mrze8BI0VniavN7w/0"),
            at(9, 120, Some(50))
        );
        assert_eq!(position("other/7", "1 99 2 3"), None);
        assert_eq!(position("ad-events/7", "1 99"), None);
    }
}
