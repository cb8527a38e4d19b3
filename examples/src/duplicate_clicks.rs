//! Finds clicks that were repeated within minutes, and sends the refund that makes up for them.
//!
//! *Who clicked one ad more than once in five minutes, and what does the advertiser get back?* All clicks
//! are charged when they come; this statement looks at them again in windows of event time. Of the clicks of
//! a device on an ad in one window all but the first are to be refunded, by one event to
//! `compensation-events`:
//!
//! ```text
//!   10:30:15  1200 won ┐
//!   10:30:18  1200 won ├─ device_1 on ad_1, window 10:30–10:35 ──▶ at 10:35: 3 clicks, refund 2400 won
//!   10:30:22  1200 won ┘
//! ```
//!
//! Input and results are in Kafka, so Kafka is the place: the event, the open windows and the positions move
//! in one transaction, and whoever reads committed records sees each refund once. Run it with
//! `cargo run --release --bin duplicate-clicks -- --kafka 127.0.0.1:9092 --create-topics`.

use std::time::Duration;

use compact_str::CompactString;
use rtbflow::codec::{Decoder, json_view};
use rtbflow::operators::window::{Aggregate, Late, Tumbling, Windowed};
use rtbflow::sink::Sink;
use rtbflow::{BadRecord, Elements, Flow, Job, Record, Result, Timestamp};
use rtbflow_kafka::KafkaAnchor;
use serde::{Deserialize, Serialize};

use crate::events::{
    AdClick, Ads, Click, Compensation, CompensationType, DetectionWindow, Object, RefundReason,
};
use crate::launch::{Launch, no_preparation};
use crate::options::{NoMore, Options};
use crate::pipeline::DUPLICATES;
use crate::process::{Outcome, Shutdown};
use crate::reset::InKafka;
use crate::topics::SystemTopic;
use crate::won::Won;

/// What a reset means for what was sent.
const KEEPS: &str = "refunds that were sent to compensation-events cannot be taken back, and the next run sends them \
                     again; compensation-worker pays none twice, since it knows them by device, ad and window";

const WINDOW: Duration = Duration::from_mins(5);
/// 9999-12-31T23:55:00Z. A window that begins here or later ends in a year of five digits, which RFC 3339 does
/// not have and no reader of `compensation-events` takes.
const LAST_WINDOW: Timestamp = Timestamp::from_millis(253_402_300_500_000);

/// Decodes `ad-events` for this pipeline: a click whose refund could not be written down is a bad record.
fn refundable_clicks() -> impl Decoder<Value = AdClick> + Clone {
    json_view::<Ads, _, _>(|Object(ad)| {
        let ad = AdClick::from(ad);
        if ad.timestamp >= LAST_WINDOW && ad.click.is_some() {
            let reason = "a CLICK whose window of five minutes ends after the year 9999";
            return Err(BadRecord::new(format!("{reason}: it is of {}", ad.timestamp)));
        }
        Ok(ad)
    })
}

/// Duplicate clicks: one compensation for each device and ad that has several clicks in a window.
pub fn duplicate_clicks(
    ads: Flow<impl Elements<Value = AdClick>>,
) -> Flow<impl Elements<Value = Compensation>> {
    ads.filter_map(|ad| ad.click)
        .key_by(|click| (click.device_id.clone(), click.ad_id.clone()))
        .window(Tumbling::of(WINDOW).late(Late::DeadLetter))
        .aggregate("duplicate-clicks", CollectClicks)
        .filter_map(compensation)
}

/// The compensation for the clicks of a window, if there are several.
fn compensation(window: Windowed<(CompactString, CompactString), Clicks>) -> Option<Compensation> {
    let Clicks { mut timestamps, first, paid } = window.value;
    let first = first.filter(|_| timestamps.len() > 1)?;
    timestamps.sort_unstable();
    let (device_id, ad_id) = window.key;
    Some(Compensation {
        timestamp: window.window.end,
        advertiser_id: first.advertiser_id,
        campaign_id: first.campaign_id,
        ad_id,
        device_id,
        duplicate_click_count: timestamps.len(),
        refund_amount: paid - first.price,
        original_click_timestamps: timestamps,
        detection_window: DetectionWindow::FiveMinutes,
        reason: RefundReason::DuplicateClick,
        compensation_type: CompensationType::BalanceRefund,
    })
}

/// What is kept of the clicks of a device on an ad in a window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Clicks {
    timestamps: Vec<Timestamp>,
    first: Option<First>,
    paid: Won,
}

/// The first of several clicks, by time and then by offset: the one that stays charged.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct First {
    at: (Timestamp, i64),
    price: i64,
    advertiser_id: CompactString,
    campaign_id: CompactString,
}

/// Collects the clicks of a window.
#[derive(Debug, Clone, Copy)]
pub struct CollectClicks;

impl Aggregate<Click> for CollectClicks {
    type State = Clicks;
    type Output = Clicks;

    fn empty(&self) -> Clicks {
        Clicks::default()
    }

    fn add(&self, clicks: &mut Clicks, record: &Record<Click>) {
        let click = &record.value;
        let at = (record.timestamp, record.origin.map_or(0, |origin| origin.offset()));
        clicks.timestamps.push(record.timestamp);
        clicks.paid += click.actual_price;
        if clicks.first.as_ref().is_none_or(|first| at < first.at) {
            clicks.first = Some(First {
                at,
                price: click.actual_price,
                advertiser_id: click.advertiser_id.clone(),
                campaign_id: click.campaign_id.clone(),
            });
        }
    }

    fn output(&self, clicks: &Clicks) -> Clicks {
        clicks.clone()
    }
}

/// Records of `compensation-events`, keyed by who gets the refund. One that is larger than any amount of money
/// that a reader takes is a dead letter of that topic.
fn compensation_events(kafka: &KafkaAnchor) -> impl Sink<Compensation> + use<> {
    kafka
        .records(SystemTopic::CompensationEvents.name())
        .key(|compensation: &Compensation| &compensation.advertiser_id)
        .constraint(|compensation| match compensation.refund_amount.fits() {
            Some(_) => Ok(()),
            None => Err(BadRecord::new(format!(
                "refund_amount is {}, which is beyond 64 bits",
                compensation.refund_amount
            ))),
        })
        .json()
}

/// Runs the pipeline.
///
/// # Errors
/// As [`Launch::run`].
pub async fn run(options: Options<NoMore>, shutdown: Shutdown) -> Result<Outcome> {
    let common = options.common;
    let launch = Launch::new(DUPLICATES, &common)?;
    let kafka = launch.kafka().anchor();
    if launch.is_reset() {
        return launch.reset(InKafka::new(&kafka, KEEPS)).await;
    }
    let ads = launch
        .source(SystemTopic::AdEvents, refundable_clicks())
        .event_time(|ad| ad.timestamp, common.out_of_orderness);
    let job = Job::new(&common.group)
        .source(ads)
        .anchor(kafka.clone())
        .max_ahead(common.max_ahead)
        .pipeline(move |ads| duplicate_clicks(ads).to(compensation_events(&kafka)));
    launch.run(job, no_preparation, shutdown).await
}

#[cfg(test)]
mod tests {
    use rtbflow::operators::window::Assigner;
    use rtbflow::source::RawRecord;
    use rtbflow::testing::{run, timed};

    use super::*;

    fn ad(time: &str, device: &str, price: Option<i64>) -> (AdClick, i64) {
        let timestamp: Timestamp = format!("2024-01-15T{time}Z").parse().unwrap();
        let click = price.map(|actual_price| Click {
            device_id: device.into(),
            ad_id: "ad_1".into(),
            campaign_id: format!("campaign_{actual_price}").into(),
            advertiser_id: format!("advertiser_{actual_price}").into(),
            product_id: "product_1".into(),
            actual_price,
        });
        (AdClick { timestamp, click }, timestamp.as_millis())
    }

    fn click(time: &str, device: &str, price: i64) -> (AdClick, i64) {
        ad(time, device, Some(price))
    }

    fn found(ads: impl IntoIterator<Item = (AdClick, i64)>) -> Vec<serde_json::Value> {
        let events = run(timed(ads), duplicate_clicks);
        events.iter().map(|event| serde_json::to_value(event).unwrap()).collect()
    }

    #[test]
    fn all_but_the_first_of_three_clicks_are_refunded() {
        let clicks = ["10:30:15", "10:30:18", "10:30:22"].map(|time| click(time, "device_1", 1200));
        let expected = serde_json::json!({
            "timestamp": "2024-01-15T10:35:00Z",
            "advertiser_id": "advertiser_1200",
            "campaign_id": "campaign_1200",
            "ad_id": "ad_1",
            "device_id": "device_1",
            "duplicate_click_count": 3,
            "refund_amount": 2400,
            "original_click_timestamps":
                ["2024-01-15T10:30:15Z", "2024-01-15T10:30:18Z", "2024-01-15T10:30:22Z"],
            "detection_window": "5_MINUTES",
            "reason": "DUPLICATE_CLICK_DETECTED",
            "compensation_type": "BALANCE_REFUND",
        });
        assert_eq!(found(clicks), [expected]);
    }

    #[test]
    fn a_click_whose_window_ends_after_the_year_9999_is_a_bad_record() {
        let decode = |kind: &str, at: &str| {
            let json = serde_json::json!({
                "event_type": kind, "timestamp": at, "device_id": "d", "session_id": "s", "ad_id": "a",
                "campaign_id": "c", "advertiser_id": "v", "product_id": "p", "placement": "HOME",
                "bid_price": 3, "actual_price": 2, "category": "shoes",
            });
            let (timestamp, value) = (Timestamp::from_millis(0), json.to_string());
            let value = Some(value.as_bytes());
            refundable_clicks().decode(&RawRecord::new(0, timestamp, None, value))
        };
        let last = "9999-12-31T23:54:59.999Z";
        assert!(decode("CLICK", last).is_ok());
        let bad = decode("CLICK", "9999-12-31T23:55:00Z").unwrap_err();
        assert!(bad.reason().contains("ends after the year 9999"), "{bad}");
        assert!(decode("IMPRESSION", "9999-12-31T23:59:59Z").is_ok());
        let window = Tumbling::of(WINDOW).late(Late::Drop);
        assert!(window.window_of(last.parse().unwrap()).end.to_string().starts_with("9999-"));
        assert!(window.window_of(LAST_WINDOW).end.to_string().starts_with("10000-"));
    }

    #[test]
    fn the_first_click_by_time_stays_charged_and_of_two_at_once_the_one_read_first() {
        let events = found([
            click("10:31:00", "a", 50),
            click("10:30:00", "a", 7),
            click("10:30:00", "a", 900),
            click("10:32:00", "b", 0),
            click("10:32:00", "b", 3),
        ]);
        let refunds: Vec<_> =
            events.iter().map(|event| (&event["advertiser_id"], &event["refund_amount"])).collect();
        assert_eq!(
            refunds,
            [(&"advertiser_7".into(), &950.into()), (&"advertiser_0".into(), &3.into())]
        );
        assert_eq!(events[0]["original_click_timestamps"][0], "2024-01-15T10:30:00Z");
    }

    #[test]
    fn a_refund_that_no_reader_takes_is_reported_whole_and_refused() {
        let clicks = |count| (0..count).map(|n| click(&format!("10:30:0{n}"), "a", i64::MAX));
        let sink = compensation_events(&rtbflow_kafka::Kafka::new("127.0.0.1:1").anchor());
        let of = |count| {
            let events = run(timed(clicks(count)), duplicate_clicks);
            Record::derived(events.into_iter().next().unwrap(), Timestamp::default())
        };
        let (fits, beyond) = (of(2), of(3));
        assert_eq!(sink.check(&fits), Ok(()));
        assert_eq!(fits.value.refund_amount, i64::MAX.into());
        let reason = sink.check(&beyond).unwrap_err();
        assert!(reason.reason().contains("refund_amount is 18446744073709551614"), "{reason}");
        let refused = sink.result(&beyond);
        let value = String::from_utf8(refused.value.unwrap()).unwrap();
        assert!(value.contains("\"refund_amount\":18446744073709551614,"), "{value}");
        assert_eq!(refused.topic.as_deref(), Some("compensation-events"));
    }

    #[test]
    fn one_click_of_a_window_a_device_or_an_ad_is_no_repeat() {
        let events = found([
            click("10:34:59.999", "a", 1200),
            click("10:35:00", "a", 1200),
            click("10:35:01", "b", 1200),
            ad("10:35:02", "b", None),
            click("10:40:00", "b", 1200),
            // Late: its window is over.
            click("10:34:59", "a", 1200),
        ]);
        assert!(events.is_empty(), "{events:?}");
    }
}
