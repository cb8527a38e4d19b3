//! The account of a job that ended, whatever its end was.

use std::time::Duration;

use crate::either::Either::{self, Left, Right};
use crate::epoch::Memory;
use crate::error::BadRecord;
use crate::job::{Health, Job, Report};
use crate::operators::interval_join::{Bound, IntervalJoin};
use crate::operators::window::{Count, Late, Tumbling};
use crate::source::MemorySource;
use crate::time::Timestamp;

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_says_what_is_pending() {
    let place = Memory::new();
    let out = place.collected::<i32>();
    let odd = |n: i32| if n == 3 { Err(BadRecord::new("three")) } else { Ok(n) };
    let job = Job::new("fails")
        .source(MemorySource::new("numbers", vec![vec![1, 2, 3]]))
        .anchor(place.clone())
        .pipeline({
            let out = out.clone();
            move |numbers| numbers.map(odd).dead_letter().to(out.sink())
        })
        .fail_on_bad_records();
    let account = job.account();
    let error = job.run_until(std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("numbers/0 at offset 2"), "{error}");
    let report = account.report();
    assert_eq!((report.records_in(), report.pending, report.commits), (3, 3, 0));
    assert_eq!(report.restarts, 0);
    assert!(out.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_without_partitions_ends() {
    let place = Memory::new();
    let out = place.collected::<i32>();
    let job = Job::new("empty").source(MemorySource::new("none", Vec::new()));
    let job = job.anchor(place.clone());
    let job = job.pipeline(move |numbers| numbers.to(out.sink()));
    let run = job.run_until(std::future::pending());
    let report = tokio::time::timeout(std::time::Duration::from_secs(60), run).await.unwrap();
    assert_eq!(report.unwrap(), Report::default());
}

/// Of 200 seconds in order, 20 once more from the beginning, in one window a second; and one in ten is bad.
async fn run_disordered(most: impl Fn(Unlimited) -> Unlimited) -> (crate::Result<Report>, Health) {
    let place = Memory::new();
    let out = place.collected();
    let seconds: Vec<i64> = (0..200).chain(0..20).collect();
    let at = |second: &i64| Timestamp::from_millis(second * 1000);
    let source = MemorySource::new("seconds", vec![seconds]).event_time(at, Duration::from_secs(5));
    let windows = Tumbling::of(Duration::from_secs(1)).late(Late::DeadLetter);
    let odd = |n: i64| if n % 10 == 3 { Err(BadRecord::new("a three")) } else { Ok(n) };
    let job = most(Job::new("disordered")).source(source).anchor(place.clone());
    let job = job.until_end(true).pipeline(move |seconds| {
        let good = seconds.map(odd).dead_letter();
        let counts = good.key_by(|_| ()).window(windows).aggregate("counts", Count);
        counts.to(out.sink())
    });
    let health = job.health();
    (job.run_until(std::future::pending()).await, health)
}

type Unlimited = Job<(), (), ()>;

#[tokio::test(start_paused = true)]
async fn more_that_is_late_or_bad_than_may_be_is_an_error_with_the_figures() {
    let (ended, health) = run_disordered(|job| job.max_late(0.0819).max_bad(0.1)).await;
    let report = ended.unwrap();
    assert_eq!((report.records_in(), report.late, report.dead_lettered), (220, 18, 22));
    assert_eq!(health.live().unwrap_err().reason(), "the job has ended");

    let (ended, health) = run_disordered(|job| job.max_late(0.08)).await;
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Permanent);
    let text = error.report();
    assert!(text.contains("keep late records within 8 % of the input: 18 of the 220"), "{text}");
    // The second 0 comes again at 199 s, of which its window was over at 1 s: 193 s late at most.
    assert!(text.contains("3m13s at most"), "{text}");
    assert!(text.contains("(it is 5s)") && text.contains("3m19s for all"), "{text}");
    assert!(
        text.contains("first late: seconds/0 at offset 200: late: its window ended at"),
        "{text}"
    );
    assert!(text.contains("first bad: seconds/0 at offset 3: a three"), "{text}");
    assert!(health.ready().unwrap_err().reason().contains("keep late records"));

    let (ended, _) = run_disordered(|job| job.max_bad(0.09)).await;
    let text = ended.unwrap_err().report();
    assert!(text.contains("keep bad records within 9 % of the input: 22 of the 220"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_a_join_decides_behind_the_watermark_is_counted_and_judged_as_late() {
    let run = |most: f64| {
        let place = Memory::new();
        let out = place.collected();
        // Of the left ones, only the last is decided by what is still held.
        let events = vec![Right(10), Left(100), Right(101), Left(50)];
        let at = |event: &Either<i64, i64>| {
            Timestamp::from_millis(match *event {
                Left(at) | Right(at) => at,
            })
        };
        let source = MemorySource::new("events", vec![events]).event_time(at, Duration::ZERO);
        let before = Bound::before(Duration::from_millis(100));
        let last =
            IntervalJoin::between(before, Bound::same()).left_outer().last_touch().late_joins();
        let job = Job::new("joined").source(source).anchor(place.clone()).until_end(true);
        let job = job.max_late(most).pipeline(move |events| {
            let pairs = events.key_by_either(|_| 0_u8, |_| 0_u8).interval_join("pairs", last);
            pairs.to(out.sink())
        });
        (job.account(), job.run_until(std::future::pending()))
    };
    let report = run(0.25).1.await.unwrap();
    assert_eq!((report.records_in(), report.decoded, report.late, report.behind), (4, 4, 0, 1));
    let (account, ended) = run(0.24);
    let text = ended.await.unwrap_err().report();
    assert!(text.contains("keep late records within 24 % of the input: 1 of the 4"), "{text}");
    assert!(text.contains("25.0 % (1) were used though behind the watermark"), "{text}");
    assert!(text.contains("first late: events/0 at offset 3: behind the watermark"), "{text}");
    assert_eq!(account.report().behind, 1);
}
