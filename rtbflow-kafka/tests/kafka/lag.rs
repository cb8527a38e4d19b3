//! What an instance says of partitions that it reads, and no longer says of those that it has given back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_global_recorder,
};
use rtbflow::source::Feed;
use tokio::time::{sleep, timeout};

use crate::member::{begin, open, read};
use crate::server::{SOON, kafka, topic, unique, write};

/// Keeps the gauges of the process.
#[derive(Clone, Default)]
struct Gauges(Arc<Mutex<HashMap<Key, Arc<AtomicU64>>>>);

impl Gauges {
    /// What `rtbflow_lag` is for a job's partition.
    fn lag(&self, job: &str, partition: i32) -> Option<f64> {
        let all = self.0.lock().unwrap();
        let found = all.iter().find(|(key, _)| {
            let label =
                |name| key.labels().find(|label| label.key() == name).map(|label| label.value());
            key.name() == "rtbflow_lag"
                && label("job") == Some(job)
                && label("partition") == Some(partition.to_string().as_str())
        });
        found.map(|(_, value)| f64::from_bits(value.load(Ordering::Relaxed)))
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::clone(self.0.lock().unwrap().entry(key.clone()).or_default()))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_a_partition_is_shown_only_by_who_reads_it() {
    let gauges = Gauges::default();
    set_global_recorder(gauges.clone()).unwrap();
    let (topic, job) = (topic("lag", 2).await, unique("lag"));
    write(&topic, 0, 0..7).await;
    write(&topic, 1, 0..9).await;
    let mut feed = open(&kafka().topic(&topic), &job, false).await;
    let mut inputs = begin(&mut feed, &[(1, 4)]).await;
    read(inputs.get_mut(&0).unwrap(), 7).await;
    // Nothing is committed: that all is handed over changes nothing.
    let lags = || [gauges.lag(&job, 0), gauges.lag(&job, 1)];
    let shown = async {
        while lags() != [Some(7.0), Some(5.0)] {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, shown).await.unwrap_or_else(|_| panic!("{:?}", lags()));
    feed.close().await;
    assert_eq!(lags(), [Some(0.0); 2], "it has given them back");
}
