//! The servers of the demonstration: private ones, or those that were given.

use rtbflow::{Clock, Result, SystemClock};

use crate::broker::Broker;
use crate::options::DemoOptions;
use crate::pipelines::Places;
use crate::servers::{Server, start_postgres, start_redis};

/// The servers that are started or were given.
pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) places: Places,
    /// Where the tables are, if Postgres is not ours.
    pub(crate) schema: Option<String>,
    // Dropped last, when nobody asks them any more.
    servers: Vec<Server>,
}

impl Stage {
    /// Starts what was not given.
    pub(crate) async fn set(options: &DemoOptions) -> Result<Self> {
        let mut servers = Vec::new();
        let unique = format!("rtbflow_demo_{}", SystemClock.now().as_millis());
        let redis = match &options.redis {
            Some(url) => url.expose().to_owned(),
            None => {
                let server = start_redis().await?;
                let url = server.url().to_owned();
                servers.push(server);
                url
            }
        };
        let (postgres, schema) = match &options.postgres {
            Some(url) => (within(url.expose(), &unique), Some(unique.clone())),
            None => {
                let server = start_postgres().await?;
                let url = server.url().to_owned();
                servers.push(server);
                (url, None)
            }
        };
        let broker = match &options.real_kafka {
            Some(servers) => Broker::real(servers).await?,
            None => Broker::mock()?,
        };
        let private =
            options.redis.is_none() && options.postgres.is_none() && options.real_kafka.is_none();
        let places = Places {
            kafka: broker.servers(),
            has_transactions: broker.has_transactions(),
            arguments: broker.arguments(),
            redis,
            postgres,
            group_prefix: (!private).then_some(unique),
            verbose: options.verbose,
        };
        Ok(Self { broker, places, schema, servers })
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {} private servers", self.broker, self.servers.len())
    }
}

/// The URL of a Postgres, for sessions whose tables are in a schema of their own.
fn within(url: &str, schema: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options=-csearch_path%3D{schema}")
}
