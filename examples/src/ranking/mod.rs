//! Ranks the live campaigns of each placement and category by what a thousand impressions should earn.
//!
//! ```text
//!  snapshots ──▶ the newest of each campaign ──▶ live from a time on? wait for it ──▶ one Lua function
//!                  (older ones are late)           (timers survive a restart)            │
//!                            click rates that `performance` keeps: perf:{campaign} ──────┤
//!                                                                                        ▼
//!                                     rtb:{placement}:{category}, a sorted set · rtb:campaign:{campaign}
//! ```
//!
//! The topic is keyed by placement and category. So a campaign that moves arrives on another partition, maybe
//! at another instance, and nobody but Redis can say which version is the newest of all. There the function
//! compares first, and takes the campaign out of the old set and into the new one in the same step.
//!
//! A snapshot that has a whole group scored anew costs as much as the group has campaigns, and nobody else is served
//! meanwhile. So a second function does that, behind the first: once for a group and an epoch, however many of its
//! snapshots ask for it. All of them would find the same metrics, so the scores are those of one after the other.
//!
//! Where that would be more than [`MOST_AT_ONCE`] campaigns for an epoch, it is only noted there. Behind the commit a
//! third function builds the new ranking beside the one that is read, [`PORTION`] campaigns at a time, and puts it in
//! that one's place when it is whole. What changes meanwhile is written to both. No reader sees half of a ranking; a
//! campaign's own hash has its new score some portions earlier. If the process is killed in between, whoever
//! takes over its partition goes on.
//!
//! ```console
//! $ rtb-ranking --kafka localhost:9092 --redis redis://localhost --category-alias 전자제품/컴퓨터=electronics
//! ```

mod alias;
mod waiting;

use clap::Args;
use rtbflow::operators::Latest;
use rtbflow::operators::process::Retention;
use rtbflow::sink::Sink;
use rtbflow::{Elements, Flow, Job, Result};
use rtbflow_sinks::redis::{Call, Options as RedisOptions, Pattern, Redis};

use crate::events::{Campaign, CampaignStatus, Impact, Placement, campaigns};
use crate::launch::{Launch, no_preparation};
use crate::options::Options;
use crate::pipeline::RANKING;
use crate::process::{Outcome, Shutdown};
use crate::reset::{InRedis, Written};
use crate::topics::SystemTopic;

pub use alias::{Alias, Aliases};
pub use waiting::{Version, Waiting};

/// The options of this pipeline.
#[derive(Debug, Clone, Args)]
pub struct RankingOptions {
    /// Another name for a category in the keys of Redis; can be given many times
    #[arg(long = "category-alias", value_name = "CATEGORY=NAME")]
    pub category_aliases: Vec<Alias>,
}

/// The versions of campaigns that change the ranking: each that is newer than all before it, and the same once
/// more when its time has come.
pub fn versions(
    snapshots: Flow<impl Elements<Value = Campaign>>,
) -> Flow<impl Elements<Value = Version>> {
    let is_deleted = |campaign: &Campaign| campaign.status == CampaignStatus::Deleted;
    let retention = SystemTopic::CampaignEvents.retention();
    snapshots
        .key_by(|campaign| campaign.campaign_id.clone())
        .latest_by("campaigns", Latest::until_deleted(is_deleted, retention))
        .map(|change| change.new)
        .key_by(|campaign| campaign.campaign_id.clone())
        .process("waiting", Retention::until_cleared(), Waiting)
}

/// What is run in Redis: on what the ranking writes, and on what it reads of the metric cache.
const COMMANDS: &[&str] = &[
    "EXISTS",
    "HDEL",
    "HGET",
    "HMGET",
    "HSET",
    "PERSIST",
    "PEXPIRE",
    "PTTL",
    "RENAME",
    "TIME",
    "UNLINK",
    "ZADD",
    "ZCARD",
    "ZMSCORE",
    "ZRANGE",
    "ZREM",
    "ZREVRANGE",
];
const METRICS: &[&str] = &["HMGET"];
/// And on what is kept of groups that are scored in portions.
const RESCORE: &[&str] = &[
    "EXISTS",
    "HMGET",
    "HSET",
    "RENAME",
    "SADD",
    "SISMEMBER",
    "SMISMEMBER",
    "SRANDMEMBER",
    "SREM",
    "UNLINK",
    "ZADD",
    "ZMSCORE",
    "ZREM",
];

/// Says what the ranking runs on which keys of a Redis.
pub fn uses(redis: RedisOptions) -> RedisOptions {
    redis
        .uses("rtb:", COMMANDS)
        .uses("rtbflow:rank:", COMMANDS)
        .uses("rtbflow:rescore:", RESCORE)
        .uses("perf:", METRICS)
}

/// How many campaigns are scored anew within one epoch's step.
pub const MOST_AT_ONCE: usize = 300;
/// How many are scored at a time behind it. Nobody else is served meanwhile: some milliseconds.
pub const PORTION: usize = 300;

/// Puts versions into the ranking, unless a newer one stands there; and scores groups anew that this calls for,
/// each once for an epoch.
#[must_use]
pub fn rank_cache(redis: &Redis, aliases: Aliases) -> impl Sink<Version> + use<> {
    const RANK: &str = concat!(include_str!("score.lua"), include_str!("rank.lua"));
    const RESCORE: &str = concat!(include_str!("score.lua"), include_str!("rescore.lua"));
    const RESCORE_PORTION: &str = concat!(include_str!("score.lua"), include_str!("portion.lua"));
    let remembered_ms = SystemTopic::CampaignEvents.retention().as_millis();
    let group = move |campaign: &Campaign| {
        format!("rtb:{}:{}", campaign.placement.as_str(), aliases.of(&campaign.category))
    };
    let group_of = group.clone();
    let rank = redis.script("rank", RANK, move |version: &Version, call| {
        let Version { campaign, offset, partition, .. } = version;
        let id = &campaign.campaign_id;
        let live_from = campaign.effective_from.map(|from| from.as_millis().to_string());
        call.key(format!("rtbflow:rank:{id}"))
            .key(format!("rtb:campaign:{id}"))
            .key(group_of(campaign))
            .argument(id)
            .argument(campaign.timestamp.as_millis())
            .argument(offset)
            .argument(partition)
            .argument(campaign.timestamp)
            .argument(campaign.bid_price)
            .argument(version.state())
            .argument(live_from.unwrap_or_default())
            .argument(campaign.rtb_impact.as_str())
            .argument(remembered_ms);
    });
    let rescore = redis.script_once("rescore", RESCORE, move |version: &Version, call| {
        if version.campaign.rtb_impact == Impact::High {
            call.key(group(&version.campaign)).argument(MOST_AT_ONCE);
        }
    });
    let mut portion = Call::default();
    portion.key("rtbflow:rescore:groups").argument(PORTION);
    redis.follow_up("rescore", RESCORE_PORTION, portion);
    (rank, rescore)
}

/// The keys that a reset removes: rankings first, each as a whole.
fn written() -> Vec<Written> {
    let rankings = Placement::ALL.iter().map(|placement| {
        let keys = Pattern::sorted_sets(format!("rtb:{}:*", placement.as_str()));
        Written::new("rankings", keys)
    });
    let campaigns = Pattern::hashes("rtb:campaign:*").having("event_timestamp");
    let versions = Pattern::hashes("rtbflow:rank:*").having("timestamp");
    let more = [
        Written::new("campaigns", campaigns),
        Written::new("campaigns whose newest version is known", versions),
        Written::new("notes of groups to be scored", Pattern::sets("rtbflow:rescore:groups")),
        Written::new("rankings being built", Pattern::sorted_sets("rtbflow:rescore:rtb:*")),
        Written::new("and how far", Pattern::hashes("rtbflow:rescore:reached:*")),
    ];
    rankings.chain(more).collect()
}

/// Runs the pipeline.
///
/// # Errors
/// As [`Launch::run`].
pub async fn run(options: Options<RankingOptions>, shutdown: Shutdown) -> Result<Outcome> {
    let Options { common, pipeline: RankingOptions { category_aliases } } = options;
    let launch = Launch::new(RANKING, &common)?;
    let redis = uses(common.to_redis()?).build()?;
    if launch.is_reset() {
        return launch.reset(InRedis::new(&redis, written())).await;
    }
    let snapshots = launch
        .source(SystemTopic::CampaignEvents, campaigns())
        .event_time(|campaign| campaign.timestamp, common.out_of_orderness);
    let aliases = Aliases::of_all(category_aliases);
    let job = Job::new(&common.group)
        .source(snapshots)
        .anchor(redis.clone())
        .max_ahead(None)
        .pipeline(move |snapshots| versions(snapshots).to(rank_cache(&redis, aliases.clone())));
    launch.run(job, no_preparation, shutdown).await
}

#[cfg(test)]
mod tests {
    use rtbflow::Timestamp;
    use rtbflow::testing::{run, timed};

    use super::*;
    use crate::events::ApprovalStatus;

    fn campaign(at: i64, id: &str, bid_price: i64) -> Campaign {
        Campaign {
            timestamp: Timestamp::from_millis(at),
            campaign_id: id.into(),
            placement: Placement::Home,
            category: "books".into(),
            bid_price,
            status: CampaignStatus::Active,
            approval_status: ApprovalStatus::Approved,
            effective_from: None,
            rtb_impact: Impact::Low,
        }
    }

    #[test]
    fn only_newer_versions_change_the_ranking() {
        let deleted = Campaign { status: CampaignStatus::Deleted, ..campaign(30, "a", 0) };
        let pending = Campaign { status: CampaignStatus::Pending, ..campaign(5, "b", 900) };
        let later = Campaign {
            effective_from: Some(Timestamp::from_millis(1_000)),
            ..campaign(40, "c", 700)
        };
        let story = [
            campaign(10, "a", 500),
            pending,
            campaign(5, "a", 400),
            campaign(20, "a", 600),
            deleted,
            campaign(25, "a", 650),
            later,
        ];
        let story = story.map(|campaign| {
            let at = campaign.timestamp.as_millis();
            (campaign, at)
        });
        let versions = run(timed(story), versions);
        let lines: Vec<_> = versions
            .iter()
            .map(|v| format!("{} {} {}", v.campaign.campaign_id, v.campaign.bid_price, v.state()))
            .collect();
        assert_eq!(
            lines,
            ["a 500 live", "b 900 resting", "a 600 live", "a 0 deleted", "c 700 waiting"]
        );
    }
}
