//! Traffic into the partitions of a topic, by a producer that finds new leaders quickly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::brokers::addresses;

/// Records that rise by one, ten a second into each partition, until it ends.
pub(crate) struct Traffic {
    writing: Arc<AtomicBool>,
    written: Vec<JoinHandle<u64>>,
}

impl Traffic {
    pub(crate) fn begin(topic: &str, partitions: i32) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", addresses())
            .set("enable.idempotence", "true")
            .set("socket.timeout.ms", "3000")
            .set("request.timeout.ms", "3000")
            .set("topic.metadata.refresh.interval.ms", "1000");
        let producer: FutureProducer = config.create().unwrap();
        let writing = Arc::new(AtomicBool::new(true));
        let write = |partition| {
            let (producer, writing, topic) =
                (producer.clone(), Arc::clone(&writing), topic.to_owned());
            tokio::spawn(async move {
                let mut tick = interval(Duration::from_millis(100));
                tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut next = 0_u64;
                while writing.load(Ordering::Relaxed) {
                    tick.tick().await;
                    let value = next.to_string();
                    let record =
                        FutureRecord::<str, str>::to(&topic).partition(partition).payload(&value);
                    producer.send(record, Duration::from_secs(120)).await.unwrap();
                    next += 1;
                }
                next
            })
        };
        let written = (0..partitions).map(write).collect();
        Self { writing, written }
    }

    /// Stops; how many records were written into each partition.
    pub(crate) async fn end(self) -> Vec<u64> {
        self.writing.store(false, Ordering::Relaxed);
        let mut counts = Vec::new();
        for written in self.written {
            counts.push(written.await.unwrap());
        }
        counts
    }
}
