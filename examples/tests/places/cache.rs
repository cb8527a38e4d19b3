//! Redis, with names of a test's own.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, ToRedisArgs};
use rtbflow::{Clock, SystemClock};
use rtbflow_sinks::redis::Redis;

fn server() -> String {
    std::env::var("RTBFLOW_TEST_REDIS").expect("RTBFLOW_TEST_REDIS is not set: run ./dev test")
}

/// An instance's own way to the server.
pub(crate) fn place() -> Redis {
    Redis::connect_to(server()).build().unwrap()
}

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}-{}", std::process::id(), SystemClock.now().as_millis())
}

/// Looks at the server.
#[derive(Clone)]
pub(crate) struct Reader(MultiplexedConnection);

impl Reader {
    pub(crate) async fn new() -> Self {
        let client = redis::Client::open(server()).unwrap();
        // A look waits for the script before it, however long that takes on a busy machine.
        let patient = AsyncConnectionConfig::new().set_response_timeout(None);
        Self(client.get_multiplexed_async_connection_with_config(&patient).await.unwrap())
    }

    pub(crate) async fn ask<V: FromRedisValue>(&mut self, words: &[impl ToRedisArgs]) -> V {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut self.0).await.unwrap()
    }

    pub(crate) async fn hash(&mut self, key: &str) -> BTreeMap<String, String> {
        self.ask(&["HGETALL", key]).await
    }

    /// Drops the keys with this in their names.
    pub(crate) async fn clean(&mut self, name: &str) {
        let keys: Vec<String> = self.ask(&["KEYS", &format!("*{name}*")]).await;
        for key in keys {
            self.ask::<()>(&["DEL", &key]).await;
        }
    }
}
