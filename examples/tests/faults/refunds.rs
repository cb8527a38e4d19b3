//! What stands in compensation-events for who reads what is committed, beside what has to stand there.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rtbflow_examples::events::{CompensationView, Object};

use crate::stage::{COMPENSATIONS, SOON, kafka};
use crate::traffic::{Clicks, WINDOW_MS};

/// Looks that may bring nothing before the end of what is committed.
const MOST_EMPTY: u32 = 2_000;

/// Device, ad and the end of the window in milliseconds; each with how many clicks and how much is refunded.
pub(crate) type Refunds = BTreeMap<(String, String, i64), Vec<(i64, i64)>>;

/// The refunds that are owed for clicks: all of a window but the first.
pub(crate) fn owed(clicks: &Clicks) -> Refunds {
    let several = clicks.iter().filter(|(_, clicks)| clicks.len() > 1);
    several
        .map(|((device, ad, start), clicks)| {
            let mut clicks = clicks.clone();
            clicks.sort_unstable();
            let refund = clicks.iter().skip(1).map(|(_, _, price)| price).sum();
            let count = i64::try_from(clicks.len()).unwrap();
            ((device.clone(), ad.clone(), start + WINDOW_MS), vec![(count, refund)])
        })
        .collect()
}

fn consumer(isolation: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .set("group.id", "nobody")
        .set("enable.auto.commit", "false")
        .set("isolation.level", isolation)
        .create()
        .unwrap()
}

/// Reads all refunds that are committed. Nothing may be undecided.
pub(crate) fn committed() -> Refunds {
    let (reader, written) = (consumer("read_committed"), consumer("read_uncommitted"));
    let metadata = written.fetch_metadata(Some(COMPENSATIONS), SOON).unwrap();
    let (mut from, mut ends) = (TopicPartitionList::new(), Vec::new());
    for partition in metadata.topics()[0].partitions() {
        let (_, end) = written.fetch_watermarks(COMPENSATIONS, partition.id(), SOON).unwrap();
        ends.push((partition.id(), end));
        from.add_partition_offset(COMPENSATIONS, partition.id(), Offset::Offset(0)).unwrap();
    }
    reader.assign(&from).unwrap();
    let behind = || {
        let at = reader.position().unwrap();
        let at = |partition| {
            let found = at.find_partition(COMPENSATIONS, partition);
            found.and_then(|element| element.offset().to_raw()).unwrap_or(0).max(0)
        };
        ends.iter().any(|(partition, end)| at(*partition) < *end)
    };
    let (mut refunds, mut empty) = (Refunds::new(), 0);
    while behind() {
        let Some(message) = reader.poll(Duration::from_millis(10)) else {
            empty += 1;
            assert!(empty < MOST_EMPTY, "a transaction is not decided");
            continue;
        };
        let message = message.unwrap();
        let value = message.payload().unwrap();
        let Object(event): Object<CompensationView<'_>> = serde_json::from_slice(value).unwrap();
        assert_eq!(message.key(), Some(event.advertiser_id.as_bytes()), "keyed by who gets it");
        let key =
            (event.device_id.to_string(), event.ad_id.to_string(), event.timestamp.as_millis());
        let refund = (event.duplicate_click_count.get(), event.refund_amount.get());
        refunds.entry(key).or_default().push(refund);
    }
    refunds
}
