//! What is done behind commits, in many short scripts: for what would keep others waiting if it were one.

use redis::FromRedisValue;
use rtbflow::Result;

use crate::redis::arguments::Call;
use crate::redis::failure;
use crate::redis::follow_ups::FollowUp;
use crate::redis::library::Text;
use crate::redis::place::Redis;

impl Redis {
    /// Has Lua run behind the commits of the job, for work that is too long for an epoch's step: nobody else is
    /// served while a script runs. `body` does a portion of what there is to do, and returns 1 if there is more; it
    /// is run after each commit, until it returns something else. Others are served in between.
    ///
    /// What there is to do is noted in Redis by a [`script`](Self::script), in the epoch's step, and the note is
    /// removed with the last portion. So nothing is forgotten: whoever claims a task looks as well, and goes on
    /// where another was killed. Several instances may do portions of the same at once. What readers must not see
    /// half of is built under a name of its own that begins with `rtbflow:`, and renamed in the last portion.
    ///
    /// `body` finds the keys and arguments of `call` in `KEYS` and `ARGV`. `name` stands in messages. What it
    /// writes is not taken back if it fails; the error ends the job unless it is one that passes by itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use rtbflow_sinks::redis::{Call, Redis};
    ///
    /// let redis = Redis::connect_to("redis://127.0.0.1/2").build()?;
    /// // A hundred at a time of what scripts have put on the list.
    /// const REMOVE: &str = "
    ///     local names = redis.call('LRANGE', KEYS[1], 0, 99)
    ///     if #names == 0 then return 0 end
    ///     redis.call('UNLINK', unpack(names))
    ///     redis.call('LTRIM', KEYS[1], #names, -1)
    ///     return redis.call('EXISTS', KEYS[1])";
    /// let mut call = Call::default();
    /// call.key("rtbflow:to-be-removed");
    /// redis.follow_up("remove", REMOVE, call);
    /// # Ok::<(), rtbflow::Error>(())
    /// ```
    pub fn follow_up(&self, name: &'static str, body: &str, call: Call) {
        let follow_up = FollowUp { name, lua: Text::new(body), call };
        let mut all = self.follow_ups().lock();
        let is_known =
            |known: &FollowUp| known.lua.is(&follow_up.lua) && known.call == follow_up.call;
        // Every task draws the pipeline anew, and it is to run once.
        if !all.iter().any(is_known) {
            all.push(follow_up);
        }
    }

    /// Does all that there is to do behind commits.
    pub(crate) async fn run_follow_ups(&self) -> Result<()> {
        // A copy: the lock is not held while Redis is waited for.
        let all = self.follow_ups().lock().clone();
        for follow_up in &all {
            let attempted = format!("run the follow-up {:?} after a commit", follow_up.name);
            let attempted_at = format!("{attempted} in Redis at {}", self.server().address());
            loop {
                let run = || follow_up.call.run(&follow_up.lua);
                let answer = follow_up.lua.send_one(self.server(), &attempted, run).await?;
                let value = answer.map_err(|cause| match cause.to_string() {
                    refusal if failure::is_forbidden(&refusal) => {
                        self.forbidden(&attempted_at, &refusal, "", "")
                    }
                    _ => failure::error(&attempted_at, cause),
                })?;
                // Anything but 1 says that there is no more: so does Lua that returns nothing.
                if i64::from_redis_value(value).ok() != Some(1) {
                    break;
                }
            }
        }
        Ok(())
    }
}
