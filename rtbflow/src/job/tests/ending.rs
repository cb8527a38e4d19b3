//! The account of a job that ended, whatever its end was.

use crate::epoch::Memory;
use crate::error::BadRecord;
use crate::job::Job;
use crate::job::Report;
use crate::source::MemorySource;

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_says_what_is_pending() {
    let place = Memory::new();
    let (_, out) = place.collect::<i32>();
    let odd = |n: i32| if n == 3 { Err(BadRecord::new("three")) } else { Ok(n) };
    let job = Job::new("fails")
        .unwrap()
        .source(MemorySource::new("numbers", vec![vec![1, 2, 3]]))
        .anchor(place.clone())
        .pipeline({
            let (place, out) = (place.clone(), out.clone());
            move |numbers| numbers.map(odd).dead_letter().to(place.collect_into(&out))
        })
        .fail_on_bad_records();
    let account = job.account();
    let error = job.run(std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("numbers/0 at offset 2"), "{error}");
    let report = account.report();
    assert_eq!((report.records_in(), report.pending, report.commits), (3, 3, 0));
    assert_eq!(report.restarts, 0);
    assert!(out.values().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_without_partitions_ends() {
    let place = Memory::new();
    let (_, out) = place.collect::<i32>();
    let job = Job::new("empty").unwrap().source(MemorySource::new("none", Vec::new()));
    let job = job.anchor(place.clone());
    let job = job.pipeline(move |numbers| numbers.to(place.collect_into(&out)));
    let run = job.run(std::future::pending());
    let report = tokio::time::timeout(std::time::Duration::from_secs(60), run).await.unwrap();
    assert_eq!(report.unwrap(), Report::default());
}
