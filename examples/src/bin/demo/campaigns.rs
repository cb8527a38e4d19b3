//! Reads the campaigns' newest windows in Redis.

use redis::aio::MultiplexedConnection;
use rtbflow::{Error, Result};

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
