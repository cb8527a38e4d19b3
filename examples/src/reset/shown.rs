//! What a pipeline shows in Redis, found again by the names of its keys.

use rtbflow::Result;
use rtbflow::epoch::{Anchor, JobName};
use rtbflow_sinks::redis::{Pattern, Redis};

use super::{Found, Resets};

/// Keys that a pipeline has written.
#[derive(Debug, Clone)]
pub struct Written {
    /// What they are, behind their number.
    pub what: &'static str,
    /// The keys.
    pub keys: Pattern,
}

impl Written {
    /// Keys, and what they are.
    #[must_use]
    pub fn new(what: &'static str, keys: Pattern) -> Self {
        Self { what, keys }
    }
}

/// A pipeline's results in Redis.
#[derive(Debug)]
pub struct InRedis {
    redis: Redis,
    written: Vec<Written>,
}

impl InRedis {
    /// These keys, which go in this order.
    #[must_use]
    pub fn new(redis: &Redis, written: Vec<Written>) -> Self {
        Self { redis: redis.clone(), written }
    }
}

impl Resets for InRedis {
    async fn look(&self, job: &JobName) -> Result<Found> {
        let kept = self.redis.kept(job).await?;
        Ok(Found { kept, results: look(&self.redis, &self.written).await? })
    }

    async fn remove(&self, job: &JobName) -> Result<()> {
        let keys: Vec<Pattern> = self.written.iter().map(|written| written.keys.clone()).collect();
        self.redis.forget_with(job, &keys).await.map(drop)
    }
}

/// How many keys there are of each kind.
pub(super) async fn look(redis: &Redis, written: &[Written]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for Written { what, keys } in written {
        let count = redis.count(std::slice::from_ref(keys)).await?;
        lines.push(format!("{count} {what} ({})", keys.glob()));
    }
    Ok(lines)
}
