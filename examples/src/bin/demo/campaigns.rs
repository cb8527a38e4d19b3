//! Reads the campaigns' newest windows in Redis.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use rtbflow::{Error, Result, Timestamp};
use rtbflow_examples::topics::SystemTopic;

use crate::progress::{PartitionPosition, Positions};
use crate::view::CampaignMoment;

/// A reader of the metric cache.
pub(crate) struct Campaigns {
    connection: MultiplexedConnection,
    count: usize,
}

type Fields = (Option<String>, Option<u64>, Option<u64>, Option<i64>);

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
    pub(crate) async fn positions(&mut self, group: &str) -> Result<Positions> {
        let ask = redis::Cmd::hgetall(format!("rtbflow:{group}:positions"));
        let answer: HashMap<String, String> = ask
            .query_async(&mut self.connection)
            .await
            .map_err(|error| Error::transient("read positions in Redis").because(error))?;
        Ok(answer.iter().filter_map(|(field, text)| position(field, text)).collect())
    }

    /// The campaigns whose newest window has most impressions.
    pub(crate) async fn most_seen(&mut self, most: usize) -> Result<Vec<CampaignMoment>> {
        let ids: Vec<String> = (0..self.count).map(|number| format!("campaign_{number}")).collect();
        let mut ask = redis::pipe();
        for id in &ids {
            let key = format!("perf:{id}");
            ask.cmd("HMGET").arg(key).arg(&["window_start", "impressions", "clicks", "cost"]);
        }
        let answers: Vec<Fields> = ask
            .query_async(&mut self.connection)
            .await
            .map_err(|error| Error::transient("read the metric cache in Redis").because(error))?;
        let mut campaigns: Vec<CampaignMoment> = ids
            .into_iter()
            .zip(answers)
            .filter_map(|(id, (window, impressions, clicks, cost))| {
                let (impressions, clicks) = (impressions?, clicks?);
                Some(CampaignMoment { id, window: window?, impressions, clicks, cost: cost? })
            })
            .collect();
        campaigns.sort_by(|a, b| b.window.cmp(&a.window).then(b.impressions.cmp(&a.impressions)));
        campaigns.truncate(most);
        Ok(campaigns)
    }
}

/// A position as it stands in Redis: `topic/partition`, and commit, owner, next offset and event time.
fn position(field: &str, text: &str) -> Option<(i32, PartitionPosition)> {
    let (topic, partition) = field.rsplit_once('/')?;
    let mut parts = text.split(' ').skip(2).map(str::parse);
    let (next, event_time) = (parts.next()?.unwrap_or(0), parts.next()?.ok());
    let event_time = event_time.map(Timestamp::from_millis);
    let position = (partition.parse().ok()?, PartitionPosition { next, event_time });
    (topic == SystemTopic::AdEvents.name()).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read() {
        let at = |next, ms: Option<i64>| {
            Some((7, PartitionPosition { next, event_time: ms.map(Timestamp::from_millis) }))
        };
        assert_eq!(position("ad-events/7", "3 99 120 5000"), at(120, Some(5_000)));
        assert_eq!(position("ad-events/7", "1 99 - -"), at(0, None));
        assert_eq!(position("other/7", "1 99 2 3"), None);
        assert_eq!(position("ad-events/7", "1 99"), None);
    }
}
