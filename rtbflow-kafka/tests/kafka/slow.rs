//! One partition is slow: the others wait for it, nothing is late by it, and what is held meanwhile is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rtbflow::codec::decode_with;
use rtbflow::epoch::Memory;
use rtbflow::operators::window::{Count, Late, Tumbling};
use rtbflow::source::Decoded;
use rtbflow::{BadRecord, Clock, Either, Job, SystemClock, Timestamp};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::held::{Held, Hold};
use crate::server::{SOON, kafka, topic, unique, write};

const BATCH: usize = 100;

fn millis(record: &rtbflow::source::RawRecord<'_>) -> Result<i64, BadRecord> {
    let text = std::str::from_utf8(record.value.unwrap_or_default());
    let number = text.ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| BadRecord::new("not a number"))
}

/// What came out of a run, and what can be seen of it while it goes on.
struct Run {
    /// Records that the pipeline took of the topic that is not held.
    taken: Arc<AtomicUsize>,
    /// The same of the topic that is.
    taken_slow: Arc<AtomicUsize>,
    /// Windows, by their start, and the records in each.
    counts: rtbflow::sink::Collected<(i64, u64)>,
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<rtbflow::Result<rtbflow::job::Report>>,
}

/// Counts the records of both topics in windows of a second; their values are their event times.
fn run(steady: &str, slow: &str, hold: &Hold, until_end: bool) -> Run {
    let source = |topic: &str| {
        let topic = kafka().topic(topic).max_poll_records(BATCH);
        Decoded::new(Held::new(topic, hold), decode_with(millis))
            .event_time(|ms| Timestamp::from_millis(*ms), Duration::ZERO)
    };
    let place = Memory::new();
    let counts = place.collected();
    let (taken, taken_slow) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let job = Job::new(unique("slow"))
        .source(source(steady).with(source(slow)))
        .anchor(place.clone())
        .idle_timeout(Duration::from_millis(400))
        .until_end(until_end)
        .pipeline({
            let (taken, taken_slow) = (Arc::clone(&taken), Arc::clone(&taken_slow));
            let counts = counts.clone();
            move |both| {
                let (taken, taken_slow) = (Arc::clone(&taken), Arc::clone(&taken_slow));
                both.inspect(move |one| {
                    let count = match one.value {
                        Either::Left(_) => &taken,
                        Either::Right(_) => &taken_slow,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                })
                .key_by(|_| ())
                .window(Tumbling::of(Duration::from_secs(1)).late(Late::Drop))
                .aggregate("counts", Count)
                .map(|window| (window.window.start.as_millis(), window.value))
                .to(counts.sink())
            }
        });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(job.run_until(async move {
        // A dropped sender does not stop the run.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    }));
    Run { taken, taken_slow, counts, stop, running }
}

/// Waits until a number stands still, as it does when everybody waits.
async fn settled(mut number: impl FnMut() -> usize) -> usize {
    let mut last = number();
    let mut still = 0;
    while still < 25 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = number();
        still = if now == last { still + 1 } else { 0 };
        last = now;
    }
    last
}

/// While a partition is held in the middle of a catch-up, the others are taken up to one record behind its
/// event time and no further; what they have beyond waits in queues of a few batches. The result is that of
/// an undisturbed run.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_catch_up_nobody_runs_ahead_of_the_partition_that_is_slow() {
    const RECORDS: u64 = 20_000;
    const BEFORE: usize = 5_000;
    let (steady, slow) = (topic("steady", 2).await, topic("slow", 1).await);
    // Ten milliseconds apart: two partitions of one topic and one of the other in the same span of time.
    for (topic, number) in [(&steady, 0), (&steady, 1), (&slow, 0)] {
        write(topic, number, (0..RECORDS).map(|n| n * 10)).await;
    }
    let (none, release) = Hold::new(&slow, BEFORE);
    release.send_replace(false);
    let undisturbed = run(&steady, &slow, &none, true);
    timeout(SOON, undisturbed.running).await.unwrap().unwrap().unwrap();

    let (hold, release) = Hold::new(&slow, BEFORE);
    let held = run(&steady, &slow, &hold, true);
    while hold.others() < 2 * BEFORE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let taken = settled(|| held.taken.load(Ordering::Relaxed)).await;
    assert!(taken >= 2 * (BEFORE - BATCH), "{taken} records were taken");
    assert!(taken <= 2 * (BEFORE + 1), "{taken} records: they ran ahead");
    // Two batches of each partition, the first of which may be taken in part.
    let at_hand = hold.others() - taken;
    assert!(at_hand <= 2 * 2 * BATCH, "{at_hand} records at hand");
    assert!(held.counts.values().len() <= BEFORE / 100, "windows closed that may not");

    release.send_replace(false);
    let report = timeout(SOON, held.running).await.unwrap().unwrap().unwrap();
    assert_eq!((report.late, report.records_in()), (0, 3 * RECORDS));
    assert_eq!(held.counts.values(), undisturbed.counts.values());
    assert_eq!(held.counts.values().len(), 200);
}

/// A window closes when traffic has stopped, which is proved, and not when a fetch takes long.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_closes_when_traffic_stops_and_not_when_a_fetch_is_slow() {
    let (steady, slow) = (topic("steady", 1).await, topic("slow", 1).await);
    let (hold, release) = Hold::new(&slow, 1);
    // A source that is a minute behind; its time goes on from there when it is quiet.
    let minute_ago = SystemClock.now() - Duration::from_mins(1);
    let start = u64::try_from(minute_ago.as_millis() / 1000 * 1000).unwrap();
    write(&slow, 0, [start + 200]).await;
    write(&steady, 0, [start + 100, start + 800]).await;
    let live = run(&steady, &slow, &hold, false);
    let read = async {
        let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        while (count(&live.taken), count(&live.taken_slow)) != (2, 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, read).await.expect("the first records are read");
    // No more comes of the slow one from now on.
    write(&slow, 0, [start + 300]).await;
    write(&steady, 0, [start + 20_000]).await;
    let closed = timeout(Duration::from_millis(1600), until(&live, 1)).await;
    assert!(closed.is_err(), "closed while a fetch took four times the idle time-out");

    release.send_replace(false);
    timeout(SOON, until(&live, 1)).await.expect("the window closes when traffic has stopped");
    let first = live.counts.values()[0];
    assert_eq!(first, (i64::try_from(start).unwrap(), 4));
    live.stop.send(()).unwrap();
    let report = timeout(SOON, live.running).await.unwrap().unwrap().unwrap();
    assert_eq!(report.late, 0);
}

async fn until(run: &Run, windows: usize) {
    while run.counts.values().len() < windows {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
