//! How long others wait for a Redis that ranks or keeps metrics: servers of a test's own, one of them idle.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use rtbflow::epoch::{Anchor, JobName};
use rtbflow::source::{Batch, MemorySource, Source, channel};
use rtbflow::{Job, Timestamp};
use rtbflow_examples::events::{
    AdMetric, ApprovalStatus, Campaign, CampaignStatus, Happened, Impact, Placement,
};
use rtbflow_examples::performance::{PerformanceOptions, metric_cache, performance};
use rtbflow_examples::ranking::{Aliases, PORTION, rank_cache, uses, versions};
use rtbflow_sinks::redis::Redis;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(20);
/// What another client may have to wait.
const LONGEST: Duration = Duration::from_millis(250);
const DISORDER: Duration = Duration::from_secs(5);

struct Server {
    url: String,
    _process: Child,
}

impl Server {
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(
            std::env::var_os("RTBFLOW_TEST_REDIS_SERVER").unwrap_or_else(|| "redis-server".into()),
        )
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server cannot be started: run ./dev test, which installs it");
        let server = Self { url: format!("redis://127.0.0.1:{port}"), _process: process };
        let answers = async {
            while Client::open(&*server.url)
                .unwrap()
                .get_multiplexed_async_connection()
                .await
                .is_err()
            {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, answers).await.expect("redis-server does not answer");
        server
    }

    async fn reader(&self) -> MultiplexedConnection {
        let patient = AsyncConnectionConfig::new().set_response_timeout(None);
        let client = Client::open(&*self.url).unwrap();
        client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
    }

    /// The longest wait of a client that asks again and again, until it is asked to stop.
    async fn longest_wait(&self, stop: Arc<AtomicBool>) -> Duration {
        let mut reader = self.reader().await;
        let mut longest = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let asked = Instant::now();
            redis::cmd("PING").query_async::<()>(&mut reader).await.unwrap();
            longest = longest.max(asked.elapsed());
            sleep(Duration::from_millis(1)).await;
        }
        longest
    }

    /// How often a command was run.
    async fn calls(&self, command: &str) -> u64 {
        let mut info = redis::cmd("INFO");
        let text: String =
            info.arg("commandstats").query_async(&mut self.reader().await).await.unwrap();
        let line =
            text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }
}

fn campaign(number: i64, at: i64, rtb_impact: Impact) -> Campaign {
    Campaign {
        timestamp: Timestamp::from_millis(at),
        campaign_id: format!("campaign_{number}").into(),
        placement: Placement::Home,
        category: "books".into(),
        bid_price: 500 + number,
        status: CampaignStatus::Active,
        approval_status: ApprovalStatus::Approved,
        effective_from: None,
        rtb_impact,
    }
}

/// Ranks snapshots that have waited; returns how many commits that took.
async fn rank(server: &Server, name: &str, snapshots: Vec<Campaign>) -> u64 {
    rank_as(&server.url, name, snapshots).await
}

async fn rank_as(url: &str, name: &str, snapshots: Vec<Campaign>) -> u64 {
    let source = MemorySource::new(name, vec![snapshots])
        .event_time(|campaign| campaign.timestamp, DISORDER);
    rank_from(url, name, source).await
}

async fn rank_from<S>(url: &str, name: &str, source: S) -> u64
where
    S: Source<Batch: Batch<Value = Campaign>>,
{
    let redis = uses(Redis::connect_to(url)).build().unwrap();
    let job = Job::new(name)
        .source(source)
        .anchor(redis.clone())
        .pipeline(move |snapshots| versions(snapshots).to(rank_cache(&redis, Aliases::default())))
        .until_end(true);
    job.run_until(std::future::pending()).await.unwrap().commits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_long_for_thousands_of_snapshots_that_have_a_group_scored_anew() {
    for count in [1_000, 3_000] {
        let (busy, idle) = (Server::start().await, Server::start().await);
        let stop = Arc::new(AtomicBool::new(false));
        let snapshots = (0..count).map(|n| campaign(n, n, Impact::High)).collect();
        let ranks = async {
            let commits = rank(&busy, "high", snapshots).await;
            stop.store(true, Ordering::Relaxed);
            commits
        };
        let (commits, waited, noise) = tokio::join!(
            ranks,
            busy.longest_wait(Arc::clone(&stop)),
            idle.longest_wait(Arc::clone(&stop))
        );
        println!("{count} snapshots: {commits} commits, {waited:?} of waiting, {noise:?} of noise");
        assert!(waited <= LONGEST + noise, "{count}: {waited:?}, {noise:?} without any work");
        // Once for a group and an epoch, so that it does not grow with the square: after the claim and after each
        // commit it is asked for portions, and once more for none; and once where the rights are looked at.
        let portions = busy.calls("srandmember").await;
        let most = u64::try_from(count).unwrap() / PORTION as u64 + 2;
        assert!(portions <= 1 + (commits + 1) * most, "{portions} portions in {commits} commits");
        let ranked: i64 = redis::cmd("ZCARD")
            .arg("rtb:HOME:books")
            .query_async(&mut busy.reader().await)
            .await
            .unwrap();
        assert_eq!(ranked, count);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_scored_once_for_an_epoch_holds_what_it_would_hold_one_by_one() {
    let server = Server::start().await;
    let mut reader = server.reader().await;
    // Of all kinds, in an order that chance has not chosen: campaigns change, leave and come back.
    let impacts = [Impact::Low, Impact::Medium, Impact::High];
    let story: Vec<Campaign> = (0..600)
        .map(|at| {
            let mut campaign =
                campaign(at * 7 % 40, at, impacts[usize::try_from(at * 5 % 11 % 3).unwrap()]);
            campaign.bid_price += at * 13 % 17;
            if at % 9 == 4 {
                campaign.status = CampaignStatus::Paused;
            }
            campaign
        })
        .collect();
    for number in (0..40).step_by(2) {
        let mut metric = redis::cmd("HSET");
        metric.arg(format!("perf:campaign_{number}")).arg("clicks").arg(number * 3);
        metric.arg("impressions").arg(900).exec_async(&mut reader).await.unwrap();
    }
    let look = async |reader: &mut MultiplexedConnection| -> Vec<(String, f64)> {
        let mut range = redis::cmd("ZRANGE");
        range.arg("rtb:HOME:books").arg(0).arg(-1).arg("WITHSCORES");
        range.query_async(reader).await.unwrap()
    };
    rank(&server, "together", story.clone()).await;
    let together = look(&mut reader).await;
    let mut delete = redis::cmd("EVAL");
    delete
        .arg("for _, key in ipairs(redis.call('KEYS', 'rt*')) do redis.call('DEL', key) end")
        .arg(0);
    delete.exec_async(&mut reader).await.unwrap();
    for (number, campaign) in story.into_iter().enumerate() {
        rank(&server, &format!("alone-{number}"), vec![campaign]).await;
    }
    assert_eq!(together, look(&mut reader).await);
    assert!(together.len() > 20, "{together:?}");
}

const GROUP: &str = "rtb:HOME:books";
const LIVE: i64 = 30_000;

/// A click rate of 2 % without a metric, and 5 % with this one.
async fn give_metrics(server: &Server) {
    let give = "for n = 0, ARGV[1] - 1 do
            redis.call('HSET', 'perf:campaign_' .. n, 'clicks', 80, 'impressions', 1000)
        end";
    redis::cmd("EVAL")
        .arg(give)
        .arg(0)
        .arg(LIVE)
        .exec_async(&mut server.reader().await)
        .await
        .unwrap();
}

fn score(bid_price: i64, won_per_bid: i64) -> String {
    (bid_price * won_per_bid).to_string()
}

impl Server {
    /// Looks at some campaigns of the group at a time, again and again: each has its old score, or each has its new
    /// one. Returns how often it saw the old ones and the new ones.
    async fn looks(&self, stop: Arc<AtomicBool>) -> (u32, u32) {
        let mut reader = self.reader().await;
        let numbers: Vec<i64> = (0..LIVE).step_by(299).collect();
        let all = |rate: i64| -> Vec<String> {
            numbers.iter().map(|number| score(500 + number, rate)).collect()
        };
        let (old, new) = (all(20), all(50));
        let mut ask = redis::cmd("ZMSCORE");
        ask.arg(GROUP);
        for number in &numbers {
            ask.arg(format!("campaign_{number}"));
        }
        let (mut saw_old, mut saw_new) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let found: Vec<String> = ask.query_async(&mut reader).await.unwrap();
            match &found {
                found if *found == old => saw_old += 1,
                found if *found == new => saw_new += 1,
                found => panic!("half of a group: {found:?}"),
            }
            sleep(Duration::from_millis(1)).await;
        }
        (saw_old, saw_new)
    }

    async fn ranking(&self) -> BTreeMap<String, String> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(GROUP).arg(0).arg(-1).arg("WITHSCORES");
        let found: Vec<(String, String)> =
            range.query_async(&mut self.reader().await).await.unwrap();
        found.into_iter().collect()
    }

    /// What is kept of groups that are being scored.
    async fn left_over(&self) -> Vec<String> {
        let mut keys = redis::cmd("KEYS");
        keys.arg("rtbflow:rescore:*").query_async(&mut self.reader().await).await.unwrap()
    }
}

fn ranked_at(rate: i64) -> BTreeMap<String, String> {
    (0..LIVE).map(|n| (format!("campaign_{n}"), score(500 + n, rate))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_long_for_a_group_of_thirty_thousand_nor_sees_half_of_it() {
    let (busy, idle) = (Server::start().await, Server::start().await);
    let live = (0..LIVE).map(|n| campaign(n, n, Impact::Low)).collect();
    rank(&busy, "before", live).await;
    assert_eq!(busy.ranking().await, ranked_at(20));
    give_metrics(&busy).await;
    let stop = Arc::new(AtomicBool::new(false));
    let ranks = async {
        let began = Instant::now();
        let commits = rank(&busy, "high", vec![campaign(7, LIVE, Impact::High)]).await;
        stop.store(true, Ordering::Relaxed);
        (commits, began.elapsed())
    };
    let ((commits, took), waited, noise, (old, new)) = tokio::join!(
        ranks,
        busy.longest_wait(Arc::clone(&stop)),
        idle.longest_wait(Arc::clone(&stop)),
        busy.looks(Arc::clone(&stop)),
    );
    println!(
        "{took:?}, {commits} commits, {waited:?} of waiting, {noise:?} of noise; {old} looks, then {new}"
    );
    assert!(waited <= LONGEST + noise, "{waited:?}, {noise:?} without any work");
    assert!(old > 0, "it was looked at before all was there");
    assert_eq!(busy.ranking().await, ranked_at(50));
    assert_eq!(busy.left_over().await, Vec::<String>::new());
    let mut reader = busy.reader().await;
    for number in [0, 7, LIVE - 1] {
        let mut held = redis::cmd("HGET");
        held.arg(format!("rtb:campaign:campaign_{number}")).arg("score");
        let held: String = held.query_async(&mut reader).await.unwrap();
        assert_eq!(held, score(500 + number, 50));
    }
}

impl Server {
    /// Waits until a part of the group is scored, and not all of it.
    async fn until_a_part_is_scored(&self) {
        let mut reader = self.reader().await;
        let mut held = redis::cmd("EXISTS");
        held.arg(format!("rtbflow:rescore:reached:{GROUP}"));
        let begins = async {
            while !held.query_async::<bool>(&mut reader).await.unwrap() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, begins).await.expect("it is scored in portions");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_while_a_large_group_is_scored_is_in_its_new_ranking() {
    let server = Server::start().await;
    rank(&server, "before", (0..LIVE).map(|n| campaign(n, n, Impact::Low)).collect()).await;
    give_metrics(&server).await;
    let mut want = ranked_at(50);
    let (mut others, source) = channel::<Campaign>("others", 10_000);
    let (url, high) = (server.url.clone(), server.url.clone());
    let source = source.event_time(|campaign: &Campaign| campaign.timestamp, DISORDER);
    let changing = tokio::spawn(async move { rank_from(&url, "others", source).await });
    // It has claimed its place once this is there.
    others.push(campaign(1, LIVE, Impact::Low)).await.unwrap();
    let claimed = async {
        while server.ranking().await["campaign_1"] != score(501, 50) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, claimed).await.expect("the other instance ranks");
    let snapshots = vec![campaign(7, LIVE, Impact::High)];
    let scoring = tokio::spawn(async move { rank_as(&high, "high", snapshots).await });
    server.until_a_part_is_scored().await;
    for number in (0..LIVE).step_by(23) {
        let mut changed = campaign(number, LIVE + number, Impact::Low);
        let id = changed.campaign_id.to_string();
        match number % 4 {
            0 => {
                changed.bid_price = 3 * LIVE - number;
                want.insert(id, score(changed.bid_price, 50));
            }
            1 => {
                changed.placement = Placement::Search;
                want.remove(&id);
            }
            2 => {
                changed.status = CampaignStatus::Paused;
                want.remove(&id);
            }
            _ => {
                // One that was not there before, and has no metric.
                changed.campaign_id = format!("newcomer_{number}").into();
                let id = changed.campaign_id.to_string();
                want.insert(id, score(changed.bid_price, 20));
            }
        }
        others.push(changed).await.unwrap();
    }
    drop(others);
    let (changed, scored) = tokio::join!(changing, scoring);
    println!("{} commits, {} of others", scored.unwrap(), changed.unwrap());
    assert_eq!(server.ranking().await, want);
    assert_eq!(server.left_over().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_over_goes_on_where_a_large_group_was_being_scored() {
    let server = Server::start().await;
    rank(&server, "before", (0..LIVE).map(|n| campaign(n, n, Impact::Low)).collect()).await;
    give_metrics(&server).await;
    let url = server.url.clone();
    let snapshots = vec![campaign(7, LIVE, Impact::High)];
    let same = snapshots.clone();
    let killed = tokio::spawn(async move { rank_as(&url, "high", snapshots).await });
    server.until_a_part_is_scored().await;
    killed.abort();
    assert!(killed.await.unwrap_err().is_cancelled(), "it was killed before all was scored");
    assert_eq!(server.left_over().await.len(), 3, "what is to be done, what is there, and how far");
    let seven = score(507, 50);
    let but_for_seven = |mut ranking: BTreeMap<String, String>| {
        assert_eq!(ranking.insert("campaign_7".to_owned(), String::new()), Some(seven.clone()));
        ranking
    };
    let (held, mut want) = (but_for_seven(server.ranking().await), ranked_at(20));
    want.insert("campaign_7".to_owned(), String::new());
    assert_eq!(held, want, "no reader sees a part of it");
    // The record was committed, so it is the claim that looks.
    assert_eq!(rank(&server, "high", same).await, 0);
    assert_eq!(server.ranking().await, ranked_at(50));
    assert_eq!(server.left_over().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_that_one_epoch_has_scored_are_scored_in_portions_as_well() {
    const GROUPS: i64 = 20;
    const EACH: i64 = 250;
    let server = Server::start().await;
    let of = |number: i64, at, impact| Campaign {
        category: format!("books-{}", number % GROUPS).into(),
        ..campaign(number, at, impact)
    };
    rank(&server, "before", (0..GROUPS * EACH).map(|n| of(n, n, Impact::Low)).collect()).await;
    give_metrics(&server).await;
    let before = server.calls("srandmember").await;
    let high = (0..GROUPS).map(|n| of(n, LIVE, Impact::High)).collect();
    rank(&server, "high", high).await;
    // One group in the epoch, each of the others behind it.
    assert!(server.calls("srandmember").await - before >= u64::try_from(GROUPS - 1).unwrap());
    assert!(EACH < i64::try_from(PORTION).unwrap());
    for group in 0..GROUPS {
        let mut range = redis::cmd("ZRANGE");
        range.arg(format!("rtb:HOME:books-{group}")).arg(0).arg(-1).arg("WITHSCORES");
        let found: BTreeMap<String, String> =
            range.query_async(&mut server.reader().await).await.unwrap();
        let numbers = (0..EACH).map(|n| n * GROUPS + group);
        let want: BTreeMap<_, _> =
            numbers.map(|n| (format!("campaign_{n}"), score(500 + n, 50))).collect();
        assert_eq!(found, want);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_exactly_the_rights_that_are_listed_has_a_large_group_scored() {
    const MANY: i64 = 1_200;
    let server = Server::start().await;
    let allow = async |rules: &str| {
        let mut rule = redis::cmd("ACL");
        rule.arg("SETUSER");
        for word in rules.split_whitespace() {
            rule.arg(word);
        }
        rule.exec_async(&mut server.reader().await).await.unwrap();
    };
    allow("job reset on >secret ~rtbflow:* +evalsha +script|load +info").await;
    let url = server.url.replace("redis://", "redis://job:secret@");
    let redis = uses(Redis::connect_to(&url)).build().unwrap();
    let job = JobName::new("high").unwrap();
    let error = redis.prepare(&job).await.unwrap_err().to_string();
    for grant in error.split("ACL SETUSER ").skip(1) {
        allow(grant.split(';').next().unwrap()).await;
    }
    redis.prepare(&job).await.unwrap();
    let mut snapshots: Vec<_> = (0..MANY).map(|n| campaign(n, n, Impact::Low)).collect();
    snapshots.push(campaign(7, LIVE, Impact::High));
    rank_as(&url, "high", snapshots).await;
    assert!(server.calls("rename").await > 0);
    let want: BTreeMap<_, _> =
        (0..MANY).map(|n| (format!("campaign_{n}"), score(500 + n, 20))).collect();
    assert_eq!(server.ranking().await, want);
    assert_eq!(server.left_over().await, Vec::<String>::new());
}

/// How an epoch shows: where the partitions stand, and how many keys there are.
type Epoch = (Vec<String>, u64);

impl Server {
    /// What is there, in one look after the other.
    async fn epochs(&self, job: &str, stop: Arc<AtomicBool>) -> BTreeSet<Epoch> {
        let mut reader = self.reader().await;
        let look = "return { redis.call('HVALS', KEYS[1]), redis.call('DBSIZE') }";
        let mut seen = BTreeSet::new();
        let mut ask = redis::cmd("EVAL");
        ask.arg(look).arg(1).arg(format!("rtbflow:{job}:positions"));
        while !stop.load(Ordering::Relaxed) {
            seen.insert(ask.query_async(&mut reader).await.unwrap());
            sleep(Duration::from_millis(1)).await;
        }
        seen
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_long_for_two_hundred_thousand_windows_that_close_at_once_nor_sees_half_an_epoch()
 {
    const CAMPAIGNS: usize = 200_000;
    const SAMPLE: usize = 97;
    let (busy, idle) = (Server::start().await, Server::start().await);
    let stop = Arc::new(AtomicBool::new(false));
    let ad = |number: usize, happened| AdMetric {
        timestamp: Timestamp::from_millis(i64::try_from(number % 1_000).unwrap()),
        campaign_id: format!("campaign_{number}").into(),
        happened,
    };
    let ads = (0..CAMPAIGNS).map(|n| ad(n, Happened::Click(700))).collect();
    let redis = Redis::connect_to(&busy.url).build().unwrap();
    let source =
        MemorySource::new("ads", vec![ads]).event_time(|ad: &AdMetric| ad.timestamp, DISORDER);
    let ttl = Duration::from_hours(1);
    let options =
        PerformanceOptions { early: None, allowed_lateness: Duration::ZERO, metric_ttl: ttl };
    let job = Job::new("many")
        .source(source)
        .anchor(redis.clone())
        .pipeline(move |ads| performance(ads, options).to(metric_cache(&redis, ttl)))
        .until_end(true);
    let counts = async {
        let began = Instant::now();
        let report = job.run_until(std::future::pending()).await.unwrap();
        stop.store(true, Ordering::Relaxed);
        (report, began.elapsed())
    };
    let ((report, took), waited, noise, seen) = tokio::join!(
        counts,
        busy.longest_wait(Arc::clone(&stop)),
        idle.longest_wait(Arc::clone(&stop)),
        busy.epochs("many", Arc::clone(&stop)),
    );
    println!("{took:?}, {} commits, {waited:?} of waiting, {noise:?} of noise", report.commits);
    assert!(waited <= LONGEST + noise, "{waited:?}, {noise:?} without any work");
    assert_eq!((report.decoded, report.records_out), (200_000, 200_000));
    // Keys come with the positions of their epoch, and never without.
    let positions: BTreeSet<_> = seen.iter().map(|(positions, _)| positions).collect();
    assert_eq!(positions.len(), seen.len());
    assert!(seen.len() > 20, "only {} epochs were seen", seen.len());
    let mut reader = busy.reader().await;
    for number in (0..CAMPAIGNS).step_by(SAMPLE) {
        for key in [
            format!("perf:campaign_{number}:1970-01-01T00:00:00Z"),
            format!("perf:campaign_{number}"),
        ] {
            let mut held = redis::cmd("HMGET");
            held.arg(&key).arg(&["impressions", "clicks", "cost", "cvr", "window_end"]);
            let held: Vec<String> = held.query_async(&mut reader).await.unwrap();
            assert_eq!(held, ["0", "1", "700", "0.000000", "1970-01-01T00:05:00Z"], "{key}");
        }
    }
    let mut count = redis::cmd("EVAL");
    count.arg("return #redis.call('KEYS', 'perf:*')").arg(0);
    assert_eq!(count.query_async::<usize>(&mut reader).await.unwrap(), 2 * CAMPAIGNS);
}
