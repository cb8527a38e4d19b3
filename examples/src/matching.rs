//! Which click led to a conversion? The last one on the same device for the same product, within the
//! conversion's attribution window.
//!
//! Conversions are in four partitions, clicks in eight, both keyed by device: partition p of the ones
//! belongs with p and p + 4 of the others, and the three are one task's. Nothing is sent through Kafka once
//! more. A conversion is decided when the watermark passes it, so that a click that arrives out of order
//! within the bound counts; each becomes one row, attributed or not.
//!
//! ```text
//! conversion-matching --kafka 127.0.0.1:9092 --postgres postgres://… --create-tables [--until-end]
//! ```

use std::time::Duration;

use clap::Args;
use compact_str::CompactString;
use rtbflow::operators::interval_join::{Bound, IntervalJoin};
use rtbflow::sink::Sink;
use rtbflow::{Either, Elements, Flow, Job, Result};
use rtbflow_sinks::postgres::Postgres;

use crate::events::{AdClick, Click, Conversion, Identified, Touch, ad_clicks, conversions};
use crate::launch::Launch;
use crate::options::{Options, parse_duration};
use crate::pipeline::MATCHING;
use crate::process::{Outcome, Shutdown};
use crate::reset::{InPostgres, Removal};
use crate::topics::SystemTopic;

/// The options of this pipeline.
#[derive(Debug, Clone, Copy, Args)]
pub struct MatchingOptions {
    /// The longest time from a click to a conversion that it is given, whatever the conversion asks for
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    pub max_attribution_window: Duration,
}

/// The table, as it is made where it is missing.
pub const TABLE: &str = "
create table if not exists conversion_results (
    conversion_id text primary key,
    order_id text,
    device_id text,
    session_id text,
    product_id text,
    conversion_type text,
    revenue_amount bigint,
    converted_at timestamptz,
    attributed boolean,
    campaign_id text,
    ad_id text,
    advertiser_id text,
    clicked_at timestamptz,
    click_price bigint,
    delay_ms bigint
);
";

/// How results are taken back.
pub const REMOVALS: &[Removal] = &[Removal {
    tables: &["conversion_results"],
    what: "rows of conversion_results",
    count: "select count(*) as count from conversion_results",
    remove: &["delete from conversion_results"],
}];

/// How long the ids of conversions are remembered; the topic keeps no record for longer.
const REPEATS: Duration = Duration::from_hours(3 * 24);

/// A conversion and the click that it is attributed to, if there is one.
pub type Matched = (Identified, Option<Touch>);

/// What a click and a conversion have in common: product and device.
type Interest = (CompactString, CompactString);

/// Each conversion once, with the last click before it.
pub fn matching(
    events: Flow<impl Elements<Value = Either<Conversion, AdClick>>>,
    longest: Duration,
) -> Flow<impl Elements<Value = Matched>> {
    let (conversions, ads) = events.split();
    let conversions = conversions
        .map_record(Identified::from)
        .key_by(|identified| identified.id.clone())
        .dedup("repeats", REPEATS);
    let clicks = ads.filter_map(|ad| Some(Touch { at: ad.timestamp, click: ad.click? }));

    let window = |of: &Identified| (Bound::before(of.conversion.attribution_window), Bound::same());
    let attribution = IntervalJoin::between(Bound::before(longest), Bound::same())
        .narrowed(window)
        .left_outer()
        .last_touch()
        .late_joins();
    let interest = |product: &CompactString, device: &CompactString| -> Interest {
        (product.clone(), device.clone())
    };
    conversions
        .key_by(move |of| interest(&of.conversion.product_id, &of.conversion.device_id))
        .connect(clicks.key_by(move |of| interest(&of.click.product_id, &of.click.device_id)))
        .interval_join("attribution", attribution)
}

/// One row for each conversion. One that is repeated longer after than the ids are remembered, or in
/// another partition, finds its row there.
fn results(postgres: &Postgres) -> impl Sink<Matched> + use<> {
    fn click<'a, V>(part: impl Fn(&'a Click) -> V, (_, touch): &'a Matched) -> Option<V> {
        touch.as_ref().map(|touch| part(&touch.click))
    }
    postgres
        .insert("conversion_results")
        .text("conversion_id", |(of, _): &Matched| &of.id)
        .opt_text("order_id", |(of, _)| of.conversion.order_id.as_ref())
        .text("device_id", |(of, _)| &of.conversion.device_id)
        .text("session_id", |(of, _)| &of.conversion.session_id)
        .text("product_id", |(of, _)| &of.conversion.product_id)
        .text("conversion_type", |(of, _)| of.conversion.conversion_type.as_str())
        .bigint("revenue_amount", |(of, _)| of.conversion.revenue_amount)
        .timestamp("converted_at", |(of, _)| of.conversion.timestamp)
        .bool("attributed", |(_, touch)| touch.is_some())
        .opt_text("campaign_id", |matched| click(|click| &click.campaign_id, matched))
        .opt_text("ad_id", |matched| click(|click| &click.ad_id, matched))
        .opt_text("advertiser_id", |matched| click(|click| &click.advertiser_id, matched))
        .timestamp("clicked_at", |(_, touch)| touch.as_ref().map(|touch| touch.at))
        .bigint("click_price", |matched| click(|click| click.actual_price, matched))
        .bigint("delay_ms", |(of, touch)| {
            let after = |touch: &Touch| of.conversion.timestamp.as_millis() - touch.at.as_millis();
            touch.as_ref().map(after)
        })
        .on_conflict_do_nothing()
}

/// Runs the pipeline.
///
/// # Errors
/// As [`Launch::run`].
pub async fn run(options: Options<MatchingOptions>, shutdown: Shutdown) -> Result<Outcome> {
    let Options { common, pipeline } = options;
    let launch = Launch::new(MATCHING, &common)?;
    let creates = common.create_tables;
    let postgres = common.to_postgres()?.build()?;
    if launch.is_reset() {
        return launch.reset(InPostgres::new(&postgres, REMOVALS)).await;
    }
    let ads = launch
        .source(SystemTopic::AdEvents, ad_clicks())
        .event_time(|ad| ad.timestamp, common.out_of_orderness);
    let events = launch
        .source(SystemTopic::ConversionEvents, conversions())
        .event_time(|conversion| conversion.timestamp, common.out_of_orderness)
        .with(ads);
    let job = Job::new(&common.group)
        .source(events)
        .anchor(postgres.clone())
        .max_ahead(common.max_ahead)
        .pipeline({
            let (postgres, longest) = (postgres.clone(), pipeline.max_attribution_window);
            move |events| matching(events, longest).to(results(&postgres))
        });
    let make_table = || async { if creates { postgres.create_table(TABLE).await } else { Ok(()) } };
    launch.run(job, make_table, shutdown).await
}

#[cfg(test)]
mod tests {
    use rtbflow::Either::{Left, Right};
    use rtbflow::{Timestamp, testing};

    use super::*;
    use crate::events::ConversionType;

    const MINUTE_MS: i64 = 60_000;

    type Event = (Either<Conversion, AdClick>, i64);

    fn bought(order: &str, product: &str, window: Duration, minute: i64) -> Event {
        let timestamp = Timestamp::from_millis(minute * MINUTE_MS);
        let conversion = Conversion {
            timestamp,
            order_id: (!order.is_empty()).then(|| order.into()),
            device_id: "phone".into(),
            session_id: "session".into(),
            product_id: product.into(),
            conversion_type: ConversionType::Purchase,
            revenue_amount: 50_000,
            attribution_window: window,
        };
        (Left(conversion), minute * MINUTE_MS)
    }

    fn clicked(ad: &str, product: &str, device: &str, minute: i64) -> Event {
        let click = Click {
            device_id: device.into(),
            ad_id: ad.into(),
            campaign_id: "campaign".into(),
            advertiser_id: "advertiser".into(),
            product_id: product.into(),
            actual_price: 1200,
        };
        let timestamp = Timestamp::from_millis(minute * MINUTE_MS);
        (Right(AdClick { timestamp, click: Some(click) }), minute * MINUTE_MS)
    }

    fn check(story: Vec<Event>, expected: &[(&str, Option<&str>)]) {
        let matched = testing::run(testing::timed(story), |events| {
            matching(events, Duration::from_hours(24))
        });
        let mut found: Vec<_> = matched
            .iter()
            .map(|(of, touch)| (&*of.id, touch.as_ref().map(|touch| &*touch.click.ad_id)))
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    /// A day of one phone: the last click wins, each window has both its ends, and what nobody clicked
    /// is there without a click.
    #[test]
    fn a_conversion_goes_to_the_last_click_within_its_window() {
        let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
        check(
            vec![
                clicked("first", "shoes", "phone", 0),
                clicked("second", "shoes", "phone", 10),
                clicked("other product", "hat", "phone", 20),
                clicked("other device", "shoes", "tablet", 30),
                bought("o1", "shoes", day, 40),
                bought("o2", "shoes", hour, 70),
                bought("o3", "shoes", hour, 71),
                bought("o4", "hat", day, 20 + 24 * 60),
                bought("o5", "hat", Duration::from_hours(48), 21 + 24 * 60),
                clicked("same moment", "bag", "phone", 1500),
                bought("o6", "bag", Duration::ZERO, 1500),
                bought("o7", "bag", Duration::ZERO, 1501),
            ],
            &[
                ("o1/shoes/PURCHASE", Some("second")),
                ("o2/shoes/PURCHASE", Some("second")),
                ("o3/shoes/PURCHASE", None),
                ("o4/hat/PURCHASE", Some("other product")),
                ("o5/hat/PURCHASE", None),
                ("o6/bag/PURCHASE", Some("same moment")),
                ("o7/bag/PURCHASE", None),
            ],
        );
    }

    #[test]
    fn a_repeated_conversion_counts_once_and_one_without_an_order_each_time() {
        let day = Duration::from_hours(24);
        check(
            vec![
                bought("o1", "shoes", day, 1),
                clicked("between", "shoes", "phone", 2),
                bought("o1", "shoes", day, 3),
                bought("o1", "hat", day, 4),
                bought("", "shoes", day, 5),
                bought("", "shoes", day, 6),
            ],
            &[
                ("o1/hat/PURCHASE", None),
                ("o1/shoes/PURCHASE", None),
                ("test-0-4", Some("between")),
                ("test-0-5", Some("between")),
            ],
        );
    }

    /// Behind the watermark a conversion is decided by the clicks still held, and a click joins what is
    /// not decided yet.
    #[test]
    fn what_comes_late_is_not_dropped() {
        let day = Duration::from_hours(24);
        check(
            vec![
                clicked("early", "shoes", "phone", 10),
                bought("now", "shoes", day, 100),
                clicked("time goes on", "hat", "phone", 101),
                bought("late", "shoes", day, 50),
                clicked("late click", "shoes", "phone", 60),
                bought("later", "shoes", day, 110),
            ],
            &[
                ("late/shoes/PURCHASE", Some("early")),
                ("later/shoes/PURCHASE", Some("late click")),
                ("now/shoes/PURCHASE", Some("early")),
            ],
        );
    }
}
