//! The ranking in Redis: what readers see while campaigns move, and campaigns whose time comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rtbflow::job::Report;
use rtbflow::source::{Batch, MemorySource, Source, StreamSource};
use rtbflow::{Clock, Job, SystemClock, Timestamp};
use rtbflow_examples::events::{ApprovalStatus, Campaign, CampaignStatus, Impact, Placement};
use rtbflow_examples::ranking::{Aliases, rank_cache, versions};
use tokio::time::{interval, timeout};

use crate::cache::{self, Reader, unique};

const SOON: Duration = Duration::from_secs(30);

fn campaign(at: i64, id: &str, placement: Placement, category: &str) -> Campaign {
    Campaign {
        timestamp: Timestamp::from_millis(at),
        campaign_id: id.into(),
        placement,
        category: category.into(),
        bid_price: 500,
        status: CampaignStatus::Active,
        approval_status: ApprovalStatus::Approved,
        effective_from: None,
        rtb_impact: Impact::Low,
    }
}

/// Ranks what these partitions hold, to their end.
async fn rank(name: &str, partitions: Vec<Vec<Campaign>>) -> Report {
    let source = MemorySource::new(name, partitions)
        .event_time(|campaign| campaign.timestamp, Duration::from_secs(5));
    rank_from(source, name, true, std::future::pending()).await
}

async fn rank_from<S: Source<Batch: Batch<Value = Campaign>>>(
    source: S,
    name: &str,
    until_end: bool,
    until: impl Future<Output = ()> + Send,
) -> Report {
    let redis = cache::place();
    let job = Job::new(name)
        .source(source)
        .anchor(redis.clone())
        .pipeline(move |snapshots| versions(snapshots).to(rank_cache(&redis, Aliases::default())))
        .commit_interval(Duration::from_millis(5))
        .until_end(until_end);
    job.run_until(until).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_moves_is_always_in_one_set_and_never_in_two() {
    const MOVES: i64 = 10_000;
    let name = unique("moves");
    let places = [Placement::Home, Placement::Search];
    let mut partitions = vec![Vec::new(), Vec::new()];
    for (number, side) in (0..MOVES).zip([0, 1].into_iter().cycle()) {
        partitions[side].push(campaign(number, &name, places[side], &name));
    }
    rank(&format!("{name}-first"), vec![partitions[0].drain(..1).collect()]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let looking = tokio::spawn({
        let (stop, name) = (Arc::clone(&stop), name.clone());
        async move {
            let mut reader = Reader::new().await;
            // Both sets in one look.
            let look = "return (redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0)
                + (redis.call('ZSCORE', KEYS[2], ARGV[1]) and 1 or 0)";
            let (home, search) = (format!("rtb:HOME:{name}"), format!("rtb:SEARCH:{name}"));
            let mut every = interval(Duration::from_millis(1));
            let mut looks = 0;
            while !stop.load(Ordering::Relaxed) {
                every.tick().await;
                let sets: i64 = reader.ask(&["EVAL", look, "2", &home, &search, &name]).await;
                assert_eq!(sets, 1, "sets with the campaign, after {looks} looks");
                looks += 1;
            }
            looks
        }
    });
    let report = rank(&name, partitions).await;
    stop.store(true, Ordering::Relaxed);
    let looks = looking.await.unwrap();
    assert!(looks > 20, "only {looks} looks");
    // Which are late depends on who is ahead; the newest is there in the end.
    assert_eq!(report.records_in(), u64::try_from(MOVES).unwrap() - 1);
    assert!(report.late > 0, "two partitions are never read in step: {report:?}");
    assert_eq!(report.records_out, report.decoded);
    let mut reader = Reader::new().await;
    let hash = reader.hash(&format!("rtb:campaign:{name}")).await;
    assert_eq!(hash["key"], format!("rtb:SEARCH:{name}"));
    assert_eq!(hash["event_timestamp"], Timestamp::from_millis(MOVES - 1).to_string());
    let empty: bool = reader.ask(&["EXISTS", &format!("rtb:HOME:{name}")]).await;
    assert!(!empty, "an empty group has no key");
    reader.clean(&name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_enters_when_its_time_comes_also_after_a_restart() {
    let name = unique("waits");
    let group = format!("rtb:HOME:{name}");
    let from = SystemClock.now() + Duration::from_secs(3);
    let waits = |id: String, at| Campaign {
        effective_from: Some(from),
        ..campaign(at, &id, Placement::Home, &name)
    };
    let (first, second, third) = (format!("{name}-1"), format!("{name}-2"), format!("{name}-3"));
    let snapshots = vec![
        waits(first.clone(), 1),
        // Paused before its time comes; and one whose time has come long ago.
        waits(second.clone(), 2),
        Campaign { status: CampaignStatus::Paused, ..waits(second.clone(), 3) },
        Campaign {
            effective_from: Some(Timestamp::from_millis(4)),
            ..campaign(4, &third, Placement::Home, &name)
        },
    ];
    rank(&name, vec![snapshots]).await;
    let mut reader = Reader::new().await;
    let live: Vec<String> = reader.ask(&["ZRANGE", &group, "0", "-1"]).await;
    assert_eq!(live, [third.as_str()], "before its time, and after the end of the first life");
    let hash = reader.hash(&format!("rtb:campaign:{first}")).await;
    let fields: Vec<&str> = hash.keys().map(String::as_str).collect();
    assert_eq!(fields, ["bid_price", "event_timestamp"], "not live: no key, no score");
    let entered = {
        let (mut reader, group) = (reader.clone(), group.clone());
        async move {
            let enters = async {
                while reader.ask::<i64>(&["ZCARD", &group]).await < 2 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            timeout(SOON, enters).await.expect("it does not enter");
        }
    };
    // The next life, in which nothing comes.
    let quiet = StreamSource::new(&name, futures::stream::pending());
    let report = rank_from(quiet, &name, false, entered).await;
    let now = SystemClock.now();
    let live: Vec<String> = reader.ask(&["ZRANGE", &group, "0", "-1"]).await;
    assert!(now >= from, "{live:?} at {now}, to be live from {from}: {report:?}");
    assert_eq!((report.records_in(), report.records_out), (0, 1), "nothing else happens");
    assert_eq!(live, [first.as_str(), third.as_str()]);
    reader.clean(&name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_impact_says_who_is_scored_again() {
    let name = unique("impact");
    let group = format!("rtb:HOME:{name}");
    let mut reader = Reader::new().await;
    let id = |number: i64| format!("{name}-{number:02}");
    let of = |number: i64, at, rtb_impact| Campaign {
        bid_price: 100 + number,
        rtb_impact,
        ..campaign(at, &id(number), Placement::Home, &name)
    };
    rank(&name, vec![(0..13).map(|n| of(n, n, Impact::Low)).collect()]).await;
    for number in 0..13 {
        let key = format!("perf:{}", id(number));
        reader.ask::<()>(&["HSET", &key, "clicks", "80", "impressions", "1000"]).await;
    }
    // 2 % of clicks without a metric, 5 % with it.
    let rescored = async |reader: &mut Reader| {
        let scores: Vec<(String, f64)> =
            reader.ask(&["ZRANGE", &group, "0", "-1", "WITHSCORES"]).await;
        let number = |id: &str| id[id.len() - 2..].parse::<i32>().unwrap();
        let is_fresh =
            |id: &str, score: f64| (score - f64::from(100 + number(id)) * 50.0).abs() < 1e-6;
        let fresh = scores.iter().filter(|(id, score)| is_fresh(id, *score));
        let mut rescored: Vec<i32> = fresh.map(|(id, _)| number(id)).collect();
        assert_eq!(scores.len(), 13);
        rescored.sort_unstable();
        rescored
    };
    let change = async |number, at, impact| {
        rank(&format!("{name}-{at}"), vec![vec![of(number, at, impact)]]).await;
    };
    assert_eq!(rescored(&mut reader).await, Vec::<i32>::new());
    change(5, 100, Impact::Low).await;
    assert_eq!(rescored(&mut reader).await, [5]);
    // The ten best before the event: all but 0, 1 and 2; and 1, which is changed.
    change(1, 101, Impact::Medium).await;
    assert_eq!(rescored(&mut reader).await, [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    change(12, 102, Impact::High).await;
    assert_eq!(rescored(&mut reader).await, (0..13).collect::<Vec<_>>());
    reader.clean(&name).await;
}
