//! Counts each campaign's impressions, clicks and conversions in windows of five minutes.
//!
//! `ad-events` is keyed by device, so every partition holds a part of every campaign. Each task counts its
//! own partitions and hands Redis partial counts to merge, in the step that moves the positions: the sum
//! is over all partitions, and each record is counted once.

use std::time::Duration;

use clap::Args;
use compact_str::CompactString;
use rtbflow::operators::window::{Aggregate, Late, Tumbling, Windowed};
use rtbflow::sink::Sink;
use rtbflow::{Elements, Flow, Job, Record, Result};
use rtbflow_sinks::redis::{MERGE_HASH, Pattern, Redis};
use serde::{Deserialize, Serialize};

use crate::events::{AdMetric, Happened, ad_metrics};
use crate::launch::{Launch, no_preparation};
use crate::options::{Options, parse_duration, positive_duration};
use crate::pipeline::PERFORMANCE;
use crate::process::{Outcome, Shutdown};
use crate::reset::{InRedis, Written};
use crate::topics::SystemTopic;
use crate::won::Won;

const WINDOW: Duration = Duration::from_mins(5);

/// The options of this pipeline.
#[derive(Debug, Clone, Copy, Args)]
pub struct PerformanceOptions {
    /// Shows running values of open windows at this interval; not at all unless given
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    pub early: Option<Duration>,

    /// How long after its end a window still takes records; later ones are dead letters
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    pub allowed_lateness: Duration,

    /// How long a window stays in Redis after it was last written
    #[arg(long, value_name = "TIME", default_value = "48h", value_parser = positive_duration)]
    pub metric_ttl: Duration,
}

/// What happened to a campaign in a window. Counts and won.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Performance {
    /// Impressions.
    pub impressions: i64,
    /// Clicks.
    pub clicks: i64,
    /// Conversions.
    pub conversions: i64,
    /// The prices of the clicks.
    pub cost: Won,
    /// The revenue of the conversions.
    pub revenue: Won,
}

impl Performance {
    fn add(&mut self, happened: Happened) {
        match happened {
            Happened::Impression => self.impressions += 1,
            Happened::Click(price) => {
                self.clicks += 1;
                self.cost += price;
            }
            Happened::Conversion(revenue) => {
                self.conversions += 1;
                self.revenue += revenue;
            }
        }
    }
}

/// Counts what happens.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountPerformance;

impl Aggregate<AdMetric> for CountPerformance {
    type State = Performance;
    type Output = Performance;

    fn empty(&self) -> Performance {
        Performance::default()
    }

    fn add(&self, state: &mut Performance, ad: &Record<AdMetric>) {
        state.add(ad.value.happened);
    }

    fn output(&self, state: &Performance) -> Performance {
        *state
    }
}

/// A campaign's window, or what was added to it since the last time.
pub type CampaignWindow = Windowed<CompactString, Performance>;

/// Performance per campaign and five minutes, as partials that are to be added up.
pub fn performance(
    ads: Flow<impl Elements<Value = AdMetric>>,
    options: PerformanceOptions,
) -> Flow<impl Elements<Value = CampaignWindow>> {
    let windows =
        Tumbling::of(WINDOW).allowed_lateness(options.allowed_lateness).late(Late::DeadLetter);
    ads.key_by(|ad| ad.campaign_id.clone())
        .window(windows)
        .discarding()
        .early(options.early)
        .aggregate("performance", CountPerformance)
}

/// Adds partials to the hash of their window, and keeps a copy of the campaign's newest.
#[must_use]
pub fn metric_cache(redis: &Redis, ttl: Duration) -> impl Sink<CampaignWindow> + use<> {
    redis
        .merge_hash(|campaign: &CampaignWindow| {
            format!("perf:{}:{}", campaign.key, campaign.window.start)
        })
        .add("impressions", |campaign| campaign.value.impressions)
        .add("clicks", |campaign| campaign.value.clicks)
        .add("conversions", |campaign| campaign.value.conversions)
        .add("cost", |campaign| campaign.value.cost)
        .add("revenue", |campaign| campaign.value.revenue)
        .ratio("ctr", "clicks", "impressions", 6)
        .ratio("cvr", "conversions", "clicks", 6)
        .set("window_start", |campaign| campaign.window.start)
        .set("window_end", |campaign| campaign.window.end)
        .newest(|campaign| format!("perf:{}", campaign.key), "window_start")
        .expire(ttl)
}

/// The keys that a reset removes.
fn written() -> Vec<Written> {
    vec![Written::new("windows of campaigns", Pattern::hashes("perf:*").having("window_start"))]
}

/// Runs the pipeline.
///
/// # Errors
/// As [`Launch::run`].
pub async fn run(options: Options<PerformanceOptions>, shutdown: Shutdown) -> Result<Outcome> {
    let Options { common, pipeline } = options;
    let launch = Launch::new(PERFORMANCE, &common)?;
    let redis = common.to_redis()?.uses("perf:", MERGE_HASH).build()?;
    if launch.is_reset() {
        return launch.reset(InRedis::new(&redis, written())).await;
    }
    let ads = launch
        .source(SystemTopic::AdEvents, ad_metrics())
        .event_time(|ad| ad.timestamp, common.out_of_orderness);
    let job = Job::new(&common.group)
        .source(ads)
        .anchor(redis.clone())
        .max_ahead(common.max_ahead)
        .pipeline(move |ads| {
            performance(ads, pipeline).to(metric_cache(&redis, pipeline.metric_ttl))
        });
    launch.run(job, no_preparation, shutdown).await
}

#[cfg(test)]
mod tests {
    use rtbflow::Timestamp;
    use rtbflow::testing::{run, timed};

    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const OPTIONS: PerformanceOptions = PerformanceOptions {
        early: None,
        allowed_lateness: Duration::from_mins(1),
        metric_ttl: Duration::from_hours(48),
    };

    fn ad(campaign: &str, at: i64, happened: Happened) -> (AdMetric, i64) {
        let timestamp = Timestamp::from_millis(at);
        (AdMetric { timestamp, campaign_id: campaign.into(), happened }, at)
    }

    fn check(ads: Vec<(AdMetric, i64)>, expected: &[(&str, i64, Performance)]) {
        let windows = run(timed(ads), |ads| performance(ads, OPTIONS));
        let windows: Vec<_> = windows
            .iter()
            .map(|w| (&*w.key, w.window.start.as_millis() / MINUTE_MS, w.value))
            .collect();
        assert_eq!(windows, expected);
    }

    #[test]
    fn a_window_counts_what_happened_and_the_money() {
        let one =
            Performance { impressions: 2, clicks: 1, cost: 1200.into(), ..Performance::default() };
        let next = Performance { conversions: 1, revenue: 700.into(), ..Performance::default() };
        check(
            vec![
                ad("a", 0, Happened::Impression),
                ad("a", 1, Happened::Click(1200)),
                ad("a", 5 * MINUTE_MS - 1, Happened::Impression),
                ad("a", 5 * MINUTE_MS, Happened::Conversion(700)),
            ],
            &[("a", 0, one), ("a", 5, next)],
        );
    }

    #[test]
    fn a_sum_beyond_what_the_cache_holds_is_reported_whole_and_refused() {
        let redis = Redis::connect_to("redis://127.0.0.1:1").build().unwrap();
        let sink = metric_cache(&redis, OPTIONS.metric_ttl);
        let of = |clicks: i64| {
            let clicks = (0..clicks).map(|at| ad("a", at, Happened::Click(i64::MAX)));
            let windows = run(timed(clicks), |ads| performance(ads, OPTIONS));
            Record::derived(windows.into_iter().next().unwrap(), Timestamp::default())
        };
        assert_eq!(sink.check(&of(1)), Ok(()));
        let beyond = of(2);
        let reason = sink.check(&beyond).unwrap_err();
        assert!(reason.reason().contains("adds 18446744073709551614 to cost"), "{reason}");
        let refused = sink.result(&beyond);
        let value = String::from_utf8(refused.value.unwrap()).unwrap();
        assert!(
            value.contains("\"clicks\":2,") && value.contains("\"cost\":18446744073709551614,"),
            "{value}"
        );
        assert_eq!(refused.key.as_deref(), Some(b"perf:a:1970-01-01T00:00:00Z".as_slice()));
    }

    #[test]
    fn a_record_within_the_allowed_lateness_corrects_and_a_later_one_does_not() {
        let click = Performance { clicks: 1, cost: 7.into(), ..Performance::default() };
        let view = Performance { impressions: 1, ..Performance::default() };
        check(
            vec![
                ad("a", 0, Happened::Impression),
                ad("a", 6 * MINUTE_MS - 1, Happened::Impression),
                ad("a", 4 * MINUTE_MS, Happened::Click(7)),
                ad("a", 6 * MINUTE_MS, Happened::Impression),
                ad("a", 4 * MINUTE_MS, Happened::Click(9)),
            ],
            &[
                ("a", 0, view),
                ("a", 0, click),
                ("a", 5, Performance { impressions: 2, ..Performance::default() }),
            ],
        );
    }
}
