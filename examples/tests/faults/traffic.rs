//! Generated ad-events on their way into Kafka, and what has to come of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rtbflow::Timestamp;
use rtbflow_examples::generator::{Generator, Plan};
use rtbflow_examples::performance::Performance;
use rtbflow_examples::topics::SystemTopic;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::stage::{ADS, SOON, kafka};

pub(crate) const WINDOW_MS: i64 = 5 * 60 * 1000;
/// Event time that passes from one record to the next: a window holds 3,000 of them.
const STEP: Duration = Duration::from_millis(100);
/// How often steady traffic sends a little.
const TICK: Duration = Duration::from_millis(20);

/// What counts of an ad-event, read without the strictness that is to be tested.
#[derive(Deserialize)]
struct Ad {
    event_type: String,
    timestamp: Timestamp,
    campaign_id: String,
    advertiser_id: String,
    device_id: String,
    ad_id: String,
    actual_price: Option<i64>,
    revenue_amount: Option<i64>,
}

/// Clicks by device, ad and beginning of the window in milliseconds: when, at which offset, at which price.
pub(crate) type Clicks = BTreeMap<(String, String, i64), Vec<(Timestamp, i64, i64)>>;

/// What was sent and acknowledged: what the pipelines owe.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    pub(crate) records: i64,
    pub(crate) clicks: i64,
    /// The offset behind the last record of each partition.
    pub(crate) ends: BTreeMap<i32, i64>,
    /// What each advertiser owes.
    pub(crate) charges: BTreeMap<String, i64>,
    /// What happened by campaign and beginning of the window, in milliseconds.
    pub(crate) windows: BTreeMap<(String, i64), Performance>,
    pub(crate) clicks_of: Clicks,
}

impl Sent {
    /// Takes in a record that was written there.
    pub(crate) fn add(&mut self, value: &[u8], (partition, offset): (i32, i64)) {
        let ad: Ad = serde_json::from_slice(value).unwrap();
        let start = ad.timestamp.as_millis().div_euclid(WINDOW_MS) * WINDOW_MS;
        let counts = self.windows.entry((ad.campaign_id, start)).or_default();
        match ad.event_type.as_str() {
            "IMPRESSION" => counts.impressions += 1,
            "CLICK" => {
                let price = ad.actual_price.unwrap();
                counts.clicks += 1;
                counts.cost += price;
                self.clicks += 1;
                let of = (ad.device_id, ad.ad_id, start);
                self.clicks_of.entry(of).or_default().push((ad.timestamp, offset, price));
                *self.charges.entry(ad.advertiser_id).or_default() += price;
            }
            _ => {
                counts.conversions += 1;
                counts.revenue += ad.revenue_amount.unwrap_or(0);
            }
        }
        self.passed((partition, offset));
    }

    /// Takes in a record that changes nothing.
    pub(crate) fn passed(&mut self, (partition, offset): (i32, i64)) {
        self.records += 1;
        let end = self.ends.entry(partition).or_default();
        *end = (*end).max(offset + 1);
    }
}

pub(crate) fn producer() -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("message.max.bytes", "16777216")
        .create()
        .unwrap()
}

/// Sends generated ad-events.
pub(crate) struct Traffic {
    generator: Generator,
    producer: FutureProducer,
    sent: Arc<Mutex<Sent>>,
}

impl Traffic {
    pub(crate) fn new(seed: u64) -> Self {
        let start: Timestamp = "2024-01-15T10:31:00Z".parse().unwrap();
        let plan = Plan { campaigns: 30, ..Plan::new(seed, start, STEP) };
        Self { generator: Generator::new(plan), producer: producer(), sent: Arc::default() }
    }

    /// Sends this many more, each made longer by this many bytes that nobody reads.
    pub(crate) async fn send(&mut self, count: usize, padding: usize) {
        let ads = self.generator.by_ref().filter(|record| record.topic == SystemTopic::AdEvents);
        let padding = format!(r#","padding":"{}"}}"#, "x".repeat(padding));
        let ads: Vec<(String, Vec<u8>)> = ads
            .take(count)
            .map(|ad| {
                let mut value = ad.value.unwrap();
                value.truncate(value.len() - 1);
                value.extend_from_slice(padding.as_bytes());
                (ad.key, value)
            })
            .collect();
        let sent = ads.iter().map(|(key, value)| {
            self.producer.send(FutureRecord::to(ADS).key(key).payload(value), SOON)
        });
        let delivered = try_join_all(sent).await.map_err(|(error, _)| error).unwrap();
        let mut sent = self.sent.lock().unwrap();
        for ((_, value), at) in ads.iter().zip(delivered) {
            sent.add(value, (at.partition, at.offset));
        }
    }

    pub(crate) fn sent(&self) -> Sent {
        self.sent.lock().unwrap().clone()
    }

    /// Goes on by itself, at about this many a second.
    pub(crate) fn steadily(mut self, per_second: usize) -> Steady {
        let sent = Arc::clone(&self.sent);
        let (stop, mut stopped) = oneshot::channel::<()>();
        let per_tick = per_second * usize::try_from(TICK.as_millis()).unwrap() / 1000;
        let sending = tokio::spawn(async move {
            let mut tick = interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                tick.tick().await;
                self.send(per_tick, 0).await;
            }
            self
        });
        Steady { sent, stop, sending }
    }
}

/// Traffic that goes on by itself.
pub(crate) struct Steady {
    sent: Arc<Mutex<Sent>>,
    stop: oneshot::Sender<()>,
    sending: JoinHandle<Traffic>,
}

impl Steady {
    /// What was sent by now.
    pub(crate) fn sent(&self) -> Sent {
        self.sent.lock().unwrap().clone()
    }

    pub(crate) async fn stop(self) -> Traffic {
        // Should it have failed, joining it says why.
        let _ = self.stop.send(());
        self.sending.await.unwrap()
    }
}
