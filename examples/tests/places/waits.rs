//! How long others wait for a Redis that ranks: servers of a test's own, one of them idle.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use rtbflow::source::MemorySource;
use rtbflow::{Job, Timestamp};
use rtbflow_examples::events::{ApprovalStatus, Campaign, CampaignStatus, Impact, Placement};
use rtbflow_examples::ranking::{Aliases, rank_cache, versions};
use rtbflow_sinks::redis::Redis;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(20);
/// What another client may have to wait.
const LONGEST: Duration = Duration::from_millis(250);

struct Server {
    url: String,
    _process: Child,
}

impl Server {
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server can not be started: run ./dev test, which installs it");
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

    /// The longest wait of a client that asks again and again, until it is told to stop.
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
    let redis = Redis::connect_to(&server.url).build().unwrap();
    let source = MemorySource::new(name, vec![snapshots])
        .event_time(|campaign| campaign.timestamp, Duration::from_secs(5));
    let job = Job::new(name)
        .unwrap()
        .source(source)
        .anchor(redis.clone())
        .pipeline(move |snapshots| versions(snapshots).to(rank_cache(&redis, Aliases::default())))
        .until_end(true);
    job.run(std::future::pending()).await.unwrap().commits
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
        // Once for a group and an epoch, so that it does not grow with the square; and once at the start, where
        // the rights are looked at.
        let rescored = busy.calls("zrange").await - 1;
        assert!(rescored <= commits, "{rescored} times in {commits} commits");
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
