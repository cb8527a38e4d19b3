//! Programs that follow one another at one job: what was kept under another name is taken along, or given up.

use std::future::pending;
use std::time::Duration;

use futures::{StreamExt, stream};
use rtbflow::epoch::Anchor;
use rtbflow::operators::window::{Count, Late, Tumbling, Windowed};
use rtbflow::source::StreamSource;
use rtbflow::{Job, Timestamp};
use rtbflow_sinks::postgres::Postgres;
use tokio_postgres::Client;

use super::schema::{Schema, job, one};

/// Clicks on 40 ads, ten milliseconds apart, so that all are in one window; without an end, but for the last.
fn clicks(from: i64, upto: i64, ends: bool) -> StreamSource<(i64, i64)> {
    let clicks = stream::iter((from..upto).map(|n| (n % 40, n * 10)));
    let clicks = if ends { clicks.boxed() } else { clicks.chain(stream::pending()).boxed() };
    StreamSource::new("clicks", clicks)
        .event_time(|(_, at)| Timestamp::from_millis(*at), Duration::ZERO)
}

/// Runs a program, whose operators have these names, until this many clicks are committed or to the end of
/// all.
async fn run(
    schema: &Schema,
    [first, window]: [Option<&'static str>; 2],
    upto: i64,
    ends: bool,
    change: impl FnOnce(Job) -> Job,
) {
    let postgres: Postgres = schema.place().await;
    let position = postgres.kept(&job()).await.unwrap().positions.into_values().next();
    let from = position.and_then(|at| at.offset).unwrap_or(0);
    let (place, watched) = (postgres.clone(), schema.place().await);
    let counts = move || {
        let sink = place.insert("counts").bigint("ad", |count: &Windowed<i64, u64>| count.key);
        sink.bigint("clicks", |count| count.value.cast_signed())
    };
    let of_ten_minutes = || Tumbling::of(Duration::from_secs(600)).late(Late::DeadLetter);
    let job = change(Job::new("worker")).source(clicks(from, upto, ends)).anchor(postgres);
    let job = job.until_end(ends).commit_interval(Duration::from_millis(1));
    let stop = async move {
        if ends {
            pending::<()>().await;
        }
        let read = async || watched.kept(&super::schema::job()).await.unwrap().positions;
        while read().await.values().all(|at| at.offset < Some(upto)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let window = window.unwrap_or("clicks");
    let report = match first {
        Some(first) => {
            let pipeline = job.pipeline(move |clicks| {
                let clicks = clicks.key_by(|click| *click).dedup(first, Duration::from_secs(3_600));
                let clicks = clicks.key_by(|(ad, _)| *ad).window(of_ten_minutes());
                clicks.aggregate(window, Count).to(counts())
            });
            Box::pin(pipeline.run_until(stop)).await
        }
        None => {
            let pipeline = job.pipeline(move |clicks| {
                let clicks = clicks.key_by(|(ad, _)| *ad).window(of_ten_minutes());
                clicks.aggregate(window, Count).to(counts())
            });
            Box::pin(pipeline.run_until(stop)).await
        }
    };
    assert_eq!(report.unwrap().decoded, (upto - from).unsigned_abs());
}

async fn operators(reader: &Client) -> Vec<String> {
    let sql = "select distinct operator from rtbflow_state order by 1";
    reader.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_operator_takes_its_state_along_and_a_removed_one_gives_it_up() {
    let schema = Schema::new().await;
    let place = schema.place().await;
    place.create_table("create table counts (ad bigint primary key, clicks bigint)").await.unwrap();
    let reader = schema.reader().await;
    Box::pin(run(&schema, [Some("repeats"), Some("old")], 400, false, |job| job)).await;
    assert_eq!(operators(&reader).await, ["old", "repeats"]);
    let change = |job: Job| job.renamed("old", "new").removed("repeats");
    // Stopped again and again on the way, and the last life need not know the former names.
    for upto in [401, 500] {
        Box::pin(run(&schema, [None, Some("new")], upto, false, change)).await;
    }
    assert_eq!(operators(&reader).await, ["new"], "nothing is kept under the former names");
    assert_eq!(one::<i64>(&reader, "select count(*) from counts").await, 0, "the window is open");
    Box::pin(run(&schema, [None, Some("new")], 1_000, true, |job| job)).await;
    let each = "select count(*) from counts where clicks = 25";
    assert_eq!(one::<i64>(&reader, each).await, 40, "each ad once, with every click");
    assert_eq!(operators(&reader).await, Vec::<String>::new());
}
