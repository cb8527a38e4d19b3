//! Runs the pipeline's own Lua at once, outside any epoch.

use rtbflow::Result;

use crate::redis::arguments::Call;
use crate::redis::failure;
use crate::redis::library::Text;
use crate::redis::place::Redis;

impl Redis {
    /// Runs Lua once for each call, at once and outside any epoch: for what a pipeline does by the clock, or
    /// passes on here after a commit elsewhere. Each call is atomic, and fails alone. `name` stands in
    /// messages. What belongs to records is for [`script`](Self::script).
    ///
    /// # Errors
    /// Transient if the server is away: a call may then have run, so let it be one that may run again, and
    /// that leaves what is newer alone. What the Lua of one call fails with is that call's answer.
    ///
    /// # Examples
    /// ```
    /// use rtbflow::Result;
    /// use rtbflow_sinks::redis::{Call, Redis};
    ///
    /// /// Puts a total there, unless a newer one is there already.
    /// async fn publish(redis: &Redis, campaign: &str, version: i64, total: i64) -> Result<()> {
    ///     const NEWEST: &str = "
    ///         local held = redis.call('HGET', KEYS[1], 'version')
    ///         if held and tonumber(held) > tonumber(ARGV[1]) then return end
    ///         redis.call('HSET', KEYS[1], 'version', ARGV[1], 'total', ARGV[2])";
    ///     let mut call = Call::default();
    ///     call.key(format!("total:{campaign}")).argument(version).argument(total);
    ///     redis.call("publish", NEWEST, &[call]).await?.into_iter().collect()
    /// }
    ///
    /// let redis = Redis::connect_to("redis://127.0.0.1/2").build()?;
    /// let nothing_runs_before_it_is_awaited = publish(&redis, "summer", 1, 1200);
    /// assert_eq!(format!("{redis:?}"), "Redis(127.0.0.1:6379, database 2)");
    /// # drop(nothing_runs_before_it_is_awaited);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    pub async fn call(&self, name: &str, body: &str, calls: &[Call]) -> Result<Vec<Result<()>>> {
        let lua = Text::new(body);
        let answers = lua.send(self.server(), name, calls, |call| Ok(call.run(&lua))).await?;
        let attempted = format!("{name} in Redis at {}", self.server().address());
        // Each has an answer of its own: one that fails says nothing of the others.
        let answer = |answer: redis::RedisResult<_>| {
            answer.map(drop).map_err(|cause| failure::error(&attempted, cause))
        };
        Ok(answers.into_iter().map(answer).collect())
    }
}
