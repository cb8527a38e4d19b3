//! Watches what each campaign spends in a day, and pauses it when its budget is used up.
//!
//! A campaign's clicks come by all partitions, so nobody can add them up but the database: each commit adds
//! what it has to the campaign's day, and the total that it comes to decides, there and then, whether a
//! threshold is crossed. Locks put the commits of all instances in order, so one of them is the one that
//! crosses.
//!
//! ```text
//!  clicks ──▶ spends ──▶ one transaction: positions, the day's total, alerts, the pause
//!                                              │
//!  campaigns (API server) ──▶ watch ◀──────────┘  totals that nobody has published yet
//!                               └──▶ Redis budget:{campaign}:{day}
//! ```
//!
//! The total is known inside the transaction only, and Redis must not hear of it before it is committed. So a
//! day carries a version, and which one was published: whoever is there publishes what is not, also after a
//! crash in between, and an older version never replaces a newer one. Behind what it publishes each watch leaves a
//! mark; a Redis that does not hold it any more (it is empty again, or a replica that was behind has taken over) is
//! given all totals of the last 48 hours again.
//!
//! ```console
//! $ budget-worker --kafka localhost:9092 --postgres postgres://localhost/rtb \
//!       --redis redis://localhost --create-tables
//! ```

mod spend;
mod watch;
mod zone;

use clap::Args;
use compact_str::CompactString;
use rtbflow::sink::Sink;
use rtbflow::{Elements, Flow, Job, Result, Timestamp};
use rtbflow_sinks::postgres::{Date, Postgres};
use rtbflow_sinks::redis::Pattern;

use crate::events::{AdClick, ad_clicks};
use crate::launch::Launch;
use crate::options::Options;
use crate::pipeline::BUDGET;
use crate::process::{Outcome, Shutdown};
use crate::reset::{InPostgres, Written};
use crate::topics::SystemTopic;

pub use spend::TABLES;
pub use watch::Watch;
pub use zone::Zone;

/// The options of this pipeline.
#[derive(Debug, Clone, Args)]
pub struct BudgetOptions {
    /// The time zone in which a day begins and ends, by its name in the IANA database
    #[arg(long, value_name = "ZONE", default_value = "Asia/Seoul")]
    pub timezone: Zone,
}

/// What a click adds to its campaign's day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// The campaign.
    pub campaign_id: CompactString,
    /// The day of the click.
    pub day: Date,
    /// Its price, in won.
    pub price: i64,
    /// When it was.
    pub at: Timestamp,
}

/// What is spent, by campaign and day: every click.
pub fn spends(
    ads: Flow<impl Elements<Value = AdClick>>,
    zone: Zone,
) -> Flow<impl Elements<Value = Spend>> {
    ads.filter_map(move |ad| {
        let (click, at) = (ad.click?, ad.timestamp);
        let (campaign_id, price) = (click.campaign_id, click.actual_price);
        Some(Spend { campaign_id, day: zone.day(at), price, at })
    })
}

/// Adds spends to their days, and raises the alerts that the totals call for.
pub fn days(postgres: &Postgres) -> impl Sink<Spend> + use<> {
    let days = postgres.transact("add up spends", spend::book);
    spend::statements().iter().fold(days, |days, (sql, parameters)| days.runs(sql, parameters))
}

/// The keys that a reset removes.
fn written() -> Vec<Written> {
    let budgets = Pattern::hashes("budget:*:[0-9]*-[0-9]*-[0-9]*").having("spent");
    let versions = Pattern::strings("rtbflow:budget:*:[0-9]*-[0-9]*-[0-9]*");
    vec![
        Written::new("budgets of campaigns and days", budgets),
        Written::new("versions of them", versions),
    ]
}

/// Runs the pipeline.
///
/// # Errors
/// As [`Launch::run`]; a configuration error if there is no table `campaigns`, which others make.
pub async fn run(options: Options<BudgetOptions>, shutdown: Shutdown) -> Result<Outcome> {
    let Options { common, pipeline: BudgetOptions { timezone } } = options;
    let launch = Launch::new(BUDGET, &common)?;
    let creates = common.create_tables;
    let postgres = common.to_postgres()?.build()?;
    let redis = common
        .to_redis()?
        .uses("budget:", watch::ON_TOTALS)
        .uses("rtbflow:budget", watch::ON_VERSIONS)
        .build()?;
    if launch.is_reset() {
        let place = InPostgres::new(&postgres, spend::REMOVALS).passed_on(&redis, written());
        return launch.reset(place).await;
    }
    let watch = Watch::new(&postgres, &redis);
    let ads = launch
        .source(SystemTopic::AdEvents, ad_clicks())
        .event_time(|ad| ad.timestamp, common.out_of_orderness);
    // It does not look at time: none is too far ahead.
    let job = Job::new(&common.group).source(ads).anchor(postgres.clone()).max_ahead(None);
    let job = job.pipeline({
        let postgres = postgres.clone();
        move |ads| spends(ads, timezone.clone()).to(days(&postgres))
    });
    let prepare = || async {
        redis.check().await?;
        if creates {
            postgres.create_table(TABLES).await?;
        }
        watch.finds_campaigns().await
    };
    Box::pin(launch.run_beside(job, prepare, |ended| watch.run(ended), shutdown)).await
}

#[cfg(test)]
mod tests {
    use rtbflow::testing;

    use super::*;
    use crate::events::Click;

    fn ad(at: &str, campaign: &str, price: Option<i64>) -> AdClick {
        let click = price.map(|actual_price| Click {
            device_id: "device_1".into(),
            ad_id: "ad_1".into(),
            campaign_id: campaign.into(),
            advertiser_id: "advertiser_1".into(),
            product_id: "product_1".into(),
            actual_price,
        });
        AdClick { timestamp: at.parse().unwrap(), click }
    }

    #[test]
    fn a_click_is_spent_on_the_day_of_the_zone() {
        let ads = [
            ad("2024-01-15T14:59:59.999Z", "a", Some(1200)),
            ad("2024-01-15T15:00:00Z", "a", Some(800)),
            ad("2024-01-15T15:00:00Z", "a", None),
            ad("2024-01-15T00:00:00+09:00", "b", Some(0)),
        ];
        let zone: Zone = "Asia/Seoul".parse().unwrap();
        let spent = testing::run(testing::values(ads), |ads| spends(ads, zone));
        let spent: Vec<_> =
            spent.iter().map(|s| format!("{} {} {}", s.campaign_id, s.day, s.price)).collect();
        assert_eq!(spent, ["a 2024-01-15 1200", "a 2024-01-16 800", "b 2024-01-15 0"]);
    }
}
