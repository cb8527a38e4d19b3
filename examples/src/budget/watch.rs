//! What goes on beside the commits: budgets that change are followed, and totals are published.

use std::hash::BuildHasher;
use std::time::Duration;

use rtbflow::{Clock, Error, Result, SystemClock};
use rtbflow_sinks::postgres::{Date, Postgres, Row, Value};
use rtbflow_sinks::redis::{Call, Redis};
use tokio::time::{Instant, sleep};

use super::spend::follow_budgets;
use crate::process::Shutdown;

/// The pause between two looks for totals to publish.
const PAUSE: Duration = Duration::from_millis(200);
/// The pause between two looks at the budgets.
const BUDGETS_EVERY: Duration = Duration::from_secs(1);
/// The pause between two looks whether Redis has forgotten something.
const MARK_EVERY: Duration = Duration::from_secs(2);
/// The pause between two log lines about totals that cannot be published.
const REPORT_EVERY: Duration = Duration::from_mins(1);
/// How long an end waits for a server that is away.
const LAST_WAIT: Duration = Duration::from_secs(3);

const FIND: &str = "select to_regclass('campaigns') is not null as there";

/// Days that Redis may have lost, together with its memory, since they were published.
const REPUBLISH: &str = "
update rtbflow_budget_days d set published = 0
from (
    select campaign_id, day from rtbflow_budget_days
    where published > 0 and updated_at > now() - interval '48 hours' for update skip locked
) as held
where d.campaign_id = held.campaign_id and d.day = held.day";

const UNPUBLISHED: &str = "
select d.campaign_id, d.day, d.version, d.spent,
    case when b.daily_budget > 0 then b.daily_budget end as daily_budget,
    case when b.daily_budget > 0 then round(d.spent::numeric / b.daily_budget, 4)::text end as ratio,
    (extract(epoch from d.updated_at + interval '48 hours' - clock_timestamp()) * 1000)::bigint as left_ms
from rtbflow_budget_days d join rtbflow_budgets b on b.campaign_id = d.campaign_id
where d.published < d.version limit 1000";

/// A day that is being added to at this moment is not waited for: it gets another version anyway.
const PUBLISHED: &str = "
update rtbflow_budget_days d set published = done.version
from (
    select held.campaign_id, held.day, u.version
    from unnest($1::text[], $2::date[], $3::bigint[]) as u(campaign_id, day, version)
        join rtbflow_budget_days held on held.campaign_id = u.campaign_id and held.day = u.day
    where held.published < u.version for update of held skip locked
) as done
where d.campaign_id = done.campaign_id and d.day = done.day";

/// Keys: the hash, and its version. Arguments: version, milliseconds to live, spent, and daily budget and
/// ratio or nothing. The version lives longer than the hash.
///
/// Or, behind all that is published: the watch's own mark; which one it left before, and the next. A server that
/// has forgotten something forgets what came last, so it does not hold that mark any more.
const PUBLISH: &str = "
if #KEYS == 1 then
  local held = redis.call('GET', KEYS[1])
  if ARGV[1] ~= '0' and held ~= ARGV[1] and held ~= ARGV[2] then return redis.error_reply('BEHIND') end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', 3600000)
  return
end
local held = redis.call('GET', KEYS[2])
if held and tonumber(held) > tonumber(ARGV[1]) then return end
if tonumber(ARGV[2]) <= 0 then return end
redis.call('HSET', KEYS[1], 'spent', ARGV[3])
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[1], 'daily_budget', 'ratio')
else
  redis.call('HSET', KEYS[1], 'daily_budget', ARGV[4], 'ratio', ARGV[5])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', 2 * ARGV[2])";

/// What the user runs in Redis: on the totals, and on their versions and the marks.
pub(super) const ON_TOTALS: &[&str] = &["HSET", "HDEL", "PEXPIRE"];
pub(super) const ON_VERSIONS: &[&str] = &["GET", "SET"];

/// Follows the budgets and publishes the totals. Any number of instances may do so at once.
#[derive(Debug, Clone)]
pub struct Watch {
    postgres: Postgres,
    redis: Redis,
}

impl Watch {
    /// A watch with connections of its own: no commit waits for it.
    #[must_use]
    pub fn new(postgres: &Postgres, redis: &Redis) -> Self {
        Self { postgres: postgres.with_own_connections(), redis: redis.with_own_connections() }
    }

    /// Makes sure that there are campaigns to read budgets from.
    ///
    /// # Errors
    /// If their table is not there: it is the API server's, and made by it alone.
    pub async fn finds_campaigns(&self) -> Result<()> {
        let found = self.ask("look for the table campaigns", FIND).await?;
        if found.first().map_or(Ok(false), |row| row.get("there"))? {
            return Ok(());
        }
        Err(Error::config(
            "read daily budgets: Postgres has no table campaigns; start the API server first, which makes \
             it, or correct the search_path",
        ))
    }

    /// Watches until `ended` is ready, and then until all is published.
    ///
    /// # Errors
    /// Those against which it does not help to try again.
    pub async fn run(&self, ended: Shutdown) -> Result<()> {
        let mut turns = Turns::new();
        let mut away_since = None;
        loop {
            let is_over = ended.peek().is_some();
            match self.turn(&mut turns).await {
                Ok(true) => continue,
                Ok(false) if is_over => return Ok(()),
                Ok(false) => {
                    if let Some(since) = away_since.take() {
                        let away = Instant::now().duration_since(since);
                        tracing::info!(?away, "budgets are watched again");
                    }
                }
                Err(error) if error.is_transient() => {
                    if away_since.is_none() {
                        tracing::warn!("{}; trying again", error.report());
                    }
                    let since = *away_since.get_or_insert_with(Instant::now);
                    if is_over && since.elapsed() > LAST_WAIT {
                        tracing::warn!("totals are left for the next instance to publish");
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = ended.clone(), if !is_over => {}
            }
        }
    }

    /// Does what there is to do. Whether there may be more at once.
    async fn turn(&self, turns: &mut Turns) -> Result<bool> {
        if turns.is_behind {
            self.ask("publish totals again", REPUBLISH).await?;
            turns.is_behind = false;
        }
        if Instant::now() >= turns.budgets_at {
            while self.postgres.transaction("follow budgets", follow_budgets).await? {}
            turns.budgets_at = Instant::now() + BUDGETS_EVERY;
        }
        self.publish(turns).await
    }

    /// Publishes totals. Whether there may be more.
    async fn publish(&self, turns: &mut Turns) -> Result<bool> {
        let rows = self.ask("look for totals to publish", UNPUBLISHED).await?;
        let days: Vec<Day> = rows.iter().map(Day::of).collect::<Result<_>>()?;
        if days.is_empty() && Instant::now() < turns.mark_at {
            return Ok(false);
        }
        let mut calls: Vec<Call> = days.iter().map(Day::call).collect();
        calls.push(turns.mark());
        let mut answers = self.redis.call("publish totals", PUBLISH, &calls).await?;
        let marked = answers.pop().unwrap_or(Ok(()));
        let mut done = Vec::new();
        for (answer, day) in answers.into_iter().zip(days) {
            match answer {
                Ok(()) => done.push(day),
                Err(error) if error.is_transient() => return Err(error),
                // A key that holds something else, or rights that were taken away: it stays unpublished, is
                // tried again, and holds nobody up.
                Err(error) => turns.cannot(&day.key(), &error),
            }
        }
        match marked {
            Ok(()) => turns.marked(),
            Err(error) if error.report().contains("BEHIND") => {
                tracing::warn!(
                    "Redis has forgotten totals that were published: they are published again"
                );
                turns.forgotten();
            }
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => turns.cannot("the watch's own mark", &error),
        }
        if done.is_empty() {
            return Ok(turns.is_behind);
        }
        let columns = [
            Value::array(done.iter().map(|day| &day.campaign_id)),
            Value::array(done.iter().map(|day| day.day)),
            Value::array(done.iter().map(|day| day.version)),
        ];
        let noted = self.postgres.transaction("note what was published", |tx| {
            Box::pin(async move { tx.execute(PUBLISHED, &columns).await })
        });
        Ok(noted.await? > 0 || turns.is_behind)
    }

    async fn ask(&self, name: &str, sql: &'static str) -> Result<Vec<Row>> {
        self.postgres.transaction(name, |tx| Box::pin(tx.query(sql, &[]))).await
    }
}

/// What is due.
struct Turns {
    /// Whether Redis may lack what was published.
    is_behind: bool,
    budgets_at: Instant,
    mark_at: Instant,
    /// The key of the mark, which is this watch's alone.
    mark_key: String,
    /// The mark that Redis holds; 0 if it need not hold any.
    mark: u64,
    reported_at: Option<Instant>,
}

impl Turns {
    fn new() -> Self {
        let now = Instant::now();
        let (process, since) = (std::process::id(), SystemClock.now().as_millis());
        Self {
            is_behind: true,
            budgets_at: now,
            mark_at: now,
            mark_key: format!("rtbflow:budget-watch:{process}-{since}-{:016x}", hash_of(&now)),
            mark: 0,
            reported_at: None,
        }
    }

    /// Leaves the next mark, if Redis holds the last.
    fn mark(&self) -> Call {
        let mut call = Call::default();
        call.key(&self.mark_key).argument(self.mark).argument(self.mark + 1);
        call
    }

    fn marked(&mut self) {
        self.mark += 1;
        self.mark_at = Instant::now() + MARK_EVERY;
    }

    fn forgotten(&mut self) {
        self.is_behind = true;
        self.mark = 0;
    }

    /// Something cannot be published, for reasons that do not pass by themselves.
    fn cannot(&mut self, what: &str, error: &Error) {
        self.mark_at = Instant::now() + MARK_EVERY;
        if self.reported_at.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            self.reported_at = Some(Instant::now());
            tracing::error!(what, "{}; it is tried again", error.report());
        }
    }
}

/// Tells watches apart that begin in the same millisecond.
fn hash_of(now: &Instant) -> u64 {
    std::collections::hash_map::RandomState::new().hash_one(format!("{now:?}"))
}

/// The total of a campaign's day.
struct Day {
    campaign_id: String,
    day: Date,
    version: i64,
    spent: i64,
    left_ms: i64,
    budget: Option<i64>,
    ratio: Option<String>,
}

impl Day {
    fn of(row: &Row) -> Result<Self> {
        Ok(Self {
            campaign_id: row.get("campaign_id")?,
            day: row.get("day")?,
            version: row.get("version")?,
            spent: row.get("spent")?,
            left_ms: row.get("left_ms")?,
            budget: row.get("daily_budget")?,
            ratio: row.get("ratio")?,
        })
    }

    fn key(&self) -> String {
        format!("budget:{}:{}", self.campaign_id, self.day)
    }

    fn call(&self) -> Call {
        let mut call = Call::default();
        call.key(self.key())
            .key(format!("rtbflow:{}", self.key()))
            .argument(self.version)
            .argument(self.left_ms)
            .argument(self.spent)
            .argument(self.budget.map(|budget| budget.to_string()).unwrap_or_default())
            .argument(self.ratio.as_deref().unwrap_or_default());
        call
    }
}
