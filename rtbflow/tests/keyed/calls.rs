//! `map_async` and `lookup`: order, bounds, deadlines and failures, in jobs in virtual time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::pending;
use futures::{FutureExt, StreamExt, stream};
use proptest::prelude::*;
use rtbflow::epoch::Memory;
use rtbflow::job::{Intake, Report};
use rtbflow::operators::{Calls, Failed, Lookup};
use rtbflow::source::{IteratorSource, Source, StreamSource};
use rtbflow::testing::builders::at;
use rtbflow::testing::{TokioClock, laws, values};
use rtbflow::{BadRecord, Elements, Error, Flow, Job, Record, Result};
use tokio::time::{Instant, sleep};

type Numbers = Intake<<IteratorSource<u64> as Source>::Batch>;

const SECOND: Duration = Duration::from_secs(1);

/// What comes out of a job over these numbers, and its report.
async fn job<S>(
    numbers: Vec<u64>,
    pipeline: impl Fn(Flow<Numbers>) -> Flow<S> + Send + Sync + 'static,
) -> (Vec<S::Value>, Result<Report>)
where
    S: Elements<Value: Clone + Sync>,
{
    let place = Memory::new();
    let out = place.collected();
    let into = out.clone();
    let job = Job::new("calls")
        .source(IteratorSource::new("numbers", move || numbers.clone().into_iter()))
        .anchor(place.clone())
        .clock(TokioClock::new(at(0)))
        .pipeline(move |numbers| pipeline(numbers).to(into.sink()));
    let report = job.run_until(pending()).await;
    (out.values(), report)
}

#[tokio::test(start_paused = true)]
async fn results_come_in_order_and_no_more_calls_are_under_way_than_may_be() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, highest) = (Arc::clone(&now), Arc::clone(&most));
    let started = Instant::now();
    let (out, report) = job((0..40).collect(), move |numbers| {
        let (now, most) = (Arc::clone(&counter), Arc::clone(&highest));
        numbers.map_async(Calls::at_most(8), move |n| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                // The earlier ones take longer.
                sleep(Duration::from_millis(400 - n * 10)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                Ok(n * 10)
            }
        })
    })
    .await;
    assert_eq!(out, (0..40).map(|n| n * 10).collect::<Vec<u64>>());
    assert_eq!(report.unwrap().decoded, 40);
    assert_eq!(most.load(Ordering::Relaxed), 8);
    assert!(started.elapsed() < 3 * SECOND, "{:?}: several at a time", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_bad_record_is_a_dead_letter_and_the_flow_goes_on() {
    let (out, report) = job((0..10).collect(), |numbers| {
        numbers.map_async(Calls::at_most(3), |n| async move {
            sleep(SECOND).await;
            if n % 3 == 0 { Err(BadRecord::new("a third").into()) } else { Ok(n) }
        })
    })
    .await;
    assert_eq!(out, [1, 2, 4, 5, 7, 8]);
    let report = report.unwrap();
    assert_eq!((report.decoded, report.dead_lettered), (6, 4));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_answer_is_made_again() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&attempts);
    let (out, report) = job(vec![7], move |numbers| {
        let made = Arc::clone(&made);
        numbers.map_async(Calls::at_most(1).deadline(SECOND), move |n| {
            let attempt = made.fetch_add(1, Ordering::Relaxed);
            async move {
                match attempt {
                    0 => pending().await,
                    1 => Err(Error::transient("ask").into()),
                    _ => Ok(n),
                }
            }
        })
    })
    .await;
    report.unwrap();
    assert_eq!((out, attempts.load(Ordering::Relaxed)), (vec![7], 3));
}

#[tokio::test(start_paused = true)]
async fn after_the_last_attempt_the_job_begins_again_where_it_was_committed() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let made = Arc::clone(&calls);
    let began = Instant::now();
    let (out, report) = job((0..4).collect(), move |numbers| {
        let made = Arc::clone(&made);
        numbers.map_async(Calls::at_most(1).attempts(2), move |n| {
            made.lock().unwrap().push(n);
            async move {
                // An outage of a minute.
                if n == 2 && began.elapsed() < 60 * SECOND {
                    return Err(Error::transient("ask").into());
                }
                sleep(SECOND).await;
                Ok::<_, Failed>(n)
            }
        })
    })
    .await;
    report.unwrap();
    assert_eq!(out, [0, 1, 2, 3], "each once");
    let calls = calls.lock().unwrap();
    assert!(calls.iter().filter(|n| **n == 2).count() > 4, "{calls:?}");
    assert_eq!(calls.iter().filter(|n| **n == 0).count(), 1, "it is committed by then: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn little_is_read_and_what_was_done_is_committed_while_calls_take_long() {
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let numbers = move || {
        let read = Arc::clone(&counter);
        (0..1_000_000_u64).inspect(move |_| _ = read.fetch_add(1, Ordering::Relaxed))
    };
    let place = Memory::new();
    let out = place.collected();
    let into = out.clone();
    let job = Job::new("calls")
        .source(IteratorSource::new("numbers", numbers))
        .anchor(place.clone())
        .clock(TokioClock::new(at(0)))
        .pipeline(move |numbers| {
            let slow = numbers.map_async(Calls::at_most(2), |n| sleep(SECOND).map(move |()| Ok(n)));
            slow.to(into.sink())
        });
    let committed = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&committed);
    let report = job.run_until(async move {
        sleep(60 * SECOND).await;
        seen.store(out.values().len(), Ordering::Relaxed);
    });
    report.await.unwrap();
    let (read, committed) = (read.load(Ordering::Relaxed), committed.load(Ordering::Relaxed));
    assert!(read < 5_000, "{read} were read");
    assert!((100..=120).contains(&committed), "{committed} were committed after a minute");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_would_come_again_ends_the_job() {
    let (out, report) = job((0..4).collect(), |numbers| {
        numbers.map_async(Calls::at_most(2), |n| async move {
            sleep(SECOND).await;
            if n == 2 { Err(Error::permanent("understand the answer").into()) } else { Ok(n) }
        })
    })
    .await;
    let error = report.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("understand"), "{error}");
    assert!(!out.contains(&2) && !out.contains(&3), "{out:?}");
}

/// Which keys were asked for, as the records of these keys come a second apart.
async fn asked_for(keys: Vec<u64>, lookup: Lookup) -> (Vec<u64>, Vec<(u64, u64)>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let made = Arc::clone(&calls);
    let place = Memory::new();
    let out = place.collected();
    let into = out.clone();
    let keys = stream::iter(keys).then(|key| async move {
        sleep(SECOND).await;
        key
    });
    let job = Job::new("lookups")
        .source(StreamSource::new("keys", keys))
        .anchor(place.clone())
        .clock(TokioClock::new(at(0)))
        .pipeline(move |keys| {
            let made = Arc::clone(&made);
            let fetch = move |key| {
                made.lock().unwrap().push(key);
                async move {
                    sleep(3 * SECOND / 2).await;
                    Ok(key * 10)
                }
            };
            keys.key_by(|key| *key).lookup(lookup, fetch).to(into.sink())
        });
    job.run_until(pending()).await.unwrap();
    let calls = calls.lock().unwrap().clone();
    (calls, out.values())
}

#[tokio::test(start_paused = true)]
async fn a_key_is_looked_up_once_for_as_long_as_its_answer_is_kept() {
    let ten = Lookup::new(Calls::at_most(4), 10 * SECOND, 100);
    let keys: Vec<u64> = vec![1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2];
    let (calls, out) = asked_for(keys.clone(), ten).await;
    assert_eq!(calls, [1, 2, 1, 2]);
    assert_eq!(out, keys.iter().map(|key| (*key, key * 10)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn no_more_answers_are_kept_than_may_be() {
    let two = Lookup::new(Calls::at_most(4), 1_000 * SECOND, 2);
    let (calls, _) = asked_for(vec![1, 2, 1, 2, 3, 2, 3, 1], two).await;
    assert_eq!(calls, [1, 2, 3, 1], "the oldest goes");
}

#[tokio::test(start_paused = true)]
async fn records_that_wait_for_the_same_answer_share_its_failure() {
    let (out, report) = job(vec![1, 1, 2, 1], |numbers| {
        let lookup = Lookup::new(Calls::at_most(4), SECOND, 10);
        numbers.key_by(|n| *n).lookup(lookup, |key| async move {
            sleep(SECOND).await;
            if key == 1 { Err(BadRecord::new("unknown").into()) } else { Ok(()) }
        })
    })
    .await;
    assert_eq!(out, [(2, ())]);
    assert_eq!(report.unwrap().dead_lettered, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_record_is_answered_in_its_order_through_pauses_and_restarts(
        numbers in proptest::collection::vec(0..20_u64, 0..30), at_most in 1..5_usize
    ) {
        let input = values(numbers.clone());
        let calls = Calls::at_most(at_most);
        let answered = numbers.iter().filter(|n| *n % 7 != 6).map(|n| (*n, n * 2));
        let answered: Vec<_> = answered.collect();
        let in_order = |found: &[Record<(u64, u64)>]| {
            let found: Vec<_> = found.iter().map(|record| record.value).collect();
            assert_eq!(found, answered);
        };
        laws::operator_with(input.clone(), move |flow| {
            flow.map_async(calls, |n| async move {
                if n % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                if n % 7 == 6 { Err(BadRecord::new("a sixth").into()) } else { Ok((n, n * 2)) }
            })
        }, in_order);
        laws::operator_with(input, move |flow| {
            let lookup = Lookup::new(calls, Duration::from_millis(2), 3);
            flow.key_by(|n| *n).lookup(lookup, |key| async move {
                if key % 2 == 0 {
                    tokio::task::yield_now().await;
                }
                if key % 7 == 6 { Err(BadRecord::new("a sixth").into()) } else { Ok(key * 2) }
            })
        }, in_order);
    }
}
