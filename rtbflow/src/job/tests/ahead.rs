//! How far a record may be ahead of the wall clock.

use std::future::pending;
use std::time::Duration;

use crate::epoch::Memory;
use crate::job::Job;
use crate::source::{Batch, MemorySource, Source, channel};
use crate::testing::ManualClock;
use crate::testing::builders::at;

const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;
/// Now, an hour from now, a little later, and in the year 2099.
const TIMES: [i64; 4] = [NOW, NOW + HOUR, NOW + HOUR + 1, 4_070_908_800_000];

type Unset = Job<(), (), ()>;

/// How many of the times a job takes; all others are dead letters.
async fn taken<S>(source: S, set: impl Fn(Unset) -> Unset) -> usize
where
    S: Source<Batch: Batch<Value = i64>>,
{
    let place = Memory::new();
    let out = place.collected();
    let into = out.clone();
    let job = set(Job::new("times").clock(ManualClock::new(at(NOW)))).source(source);
    let job = job.anchor(place.clone()).pipeline(move |times| times.to(into.sink()));
    let report = job.run_until(pending()).await.unwrap();
    let taken = out.values();
    assert_eq!(taken, TIMES[..taken.len()]);
    let [taken_all, all] = [taken.len(), TIMES.len()].map(|count| count as u64);
    assert_eq!((report.decoded, report.dead_lettered), (taken_all, all - taken_all));
    taken.len()
}

/// Of a source that could bring more at any time.
async fn live(set: impl Fn(Unset) -> Unset) -> usize {
    let (mut pusher, source) = channel("times", TIMES.len());
    for time in TIMES {
        pusher.push(time).await.unwrap();
    }
    drop(pusher);
    taken(source.event_time(|time| at(*time), Duration::ZERO), set).await
}

/// Of a source that ends by itself.
async fn bounded(set: impl Fn(Unset) -> Unset) -> usize {
    let source = MemorySource::new("times", vec![TIMES.to_vec()]);
    taken(source.event_time(|time| at(*time), Duration::ZERO), set).await
}

#[tokio::test(start_paused = true)]
async fn a_live_job_takes_what_is_an_hour_ahead_and_no_more_unless_it_says_otherwise() {
    assert_eq!(live(|job| job).await, 2);
    assert_eq!(live(|job| job.max_ahead(Duration::ZERO)).await, 1);
    assert_eq!(live(|job| job.max_ahead(Duration::from_millis(3_600_001))).await, 3);
    assert_eq!(live(|job| job.max_ahead(None)).await, 4);
}

#[tokio::test(start_paused = true)]
async fn what_ends_by_itself_has_no_bound_unless_it_is_set_and_what_is_read_to_the_end_has_none() {
    assert_eq!(bounded(|job| job).await, 4);
    assert_eq!(bounded(|job| job.max_ahead(Duration::from_hours(1))).await, 2);
    assert_eq!(bounded(|job| job.max_ahead(Duration::ZERO).until_end(true)).await, 4);
    assert_eq!(live(|job| job.max_ahead(Duration::ZERO).until_end(true)).await, 4);
}
