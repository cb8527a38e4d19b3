//! An instance is frozen past its session, with a commit on its way, and wakes up when another has its
//! partitions.

use std::collections::BTreeSet;

use rtbflow::testing::Proxy;

use crate::stage::{Stage, address, postgres, redis, until};
use crate::traffic::{Sent, Steady, Traffic};
use crate::worker::{Kind, Worker};

/// Fenced: what was not committed is somebody else's.
const FENCED: i32 = 4;
/// Enough records, of a second, that some of them have been sent to the place in a commit.
const A_SECOND: i64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_applied_twice_when_a_frozen_instance_wakes_up() {
    let stage = Stage::new("frozen", 8).await;
    let mut traffic = Traffic::new(2);
    traffic.send(400, 0).await;
    let traffic = traffic.steadily(1_000);
    let charged = Pair::new(&stage, Kind::Balance).await;
    let counted = Pair::new(&stage, Kind::Performance).await;
    let watch = stage.ledger.watch().await;
    let (charged, counted) =
        tokio::join!(charged.freeze(&stage, &traffic), counted.freeze(&stage, &traffic));
    let sent = traffic.stop().await.sent();
    for worker in charged.into_iter().chain(counted) {
        let ended = worker.stop().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        ended.count("records_in");
    }
    for kind in [Kind::Balance, Kind::Performance] {
        let ended = stage.start(kind).flag("--until-end").run().end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(ended.count("late"), 0);
    }
    stage.ledger.is_exact(&sent).await;
    stage.cache.is_exact(&sent).await;
    watch.was_never_wrong().await;
}

/// Two instances that share the tasks; one reaches its place through a proxy.
struct Pair {
    proxy: Proxy,
    frozen: Worker,
    other: Worker,
}

impl Pair {
    async fn new(stage: &Stage, kind: Kind) -> Self {
        let (flag, url) = match kind {
            Kind::Balance | Kind::Matching => ("--postgres", postgres()),
            Kind::Performance => ("--redis", redis()),
            Kind::Duplicates | Kind::Compensation | Kind::Budget | Kind::Ranking => {
                panic!("no proxy stands before its place")
            }
        };
        let proxy = Proxy::to(address(&url)).await.unwrap();
        let by = proxy.address().to_string();
        let by = match kind {
            Kind::Balance | Kind::Matching => stage.ledger.url_by(&by),
            Kind::Performance => stage.cache.url_by(&by),
            Kind::Duplicates | Kind::Compensation | Kind::Budget | Kind::Ranking => {
                panic!("no proxy stands before its place")
            }
        };
        let frozen = stage.start(kind).with(flag, by).run();
        let other = stage.start(kind).run();
        until("each of two has tasks, and together all", async || {
            let (one, two) = (frozen.tasks(), other.tasks());
            let all: BTreeSet<u32> = one.iter().chain(&two).copied().collect();
            let shared = !one.is_empty() && !two.is_empty() && one.len() + two.len() == 8;
            if shared && all.len() == 8 { Ok(()) } else { Err((one, two)) }
        })
        .await;
        Self { proxy, frozen, other }
    }

    /// Freezes one until the other has all tasks and has gone on with them, wakes it up, and waits until
    /// it has made up its mind; those that still run are returned.
    async fn freeze(self, stage: &Stage, traffic: &Steady) -> Vec<Worker> {
        let Self { proxy, frozen, other } = self;
        let kind = other.kind();
        // Both are at work, on whatever is on its way now.
        read_on(stage, kind, &traffic.sent()).await;
        let before = frozen.said("assigned job=");
        proxy.freeze();
        let already = traffic.sent().records;
        until("a commit is on its way", async || {
            let more = traffic.sent().records - already;
            if more >= A_SECOND { Ok(()) } else { Err(more) }
        })
        .await;
        frozen.signal("STOP");
        other.until("all tasks assigned", |_| other.tasks().len() == 8).await;
        read_on(stage, kind, &traffic.sent()).await;
        // The commit arrives now.
        proxy.thaw();
        read_on(stage, kind, &traffic.sent()).await;
        let lives = wake(&frozen, before).await;
        read_on(stage, kind, &traffic.sent()).await;
        if lives {
            return vec![frozen, other];
        }
        let ended = frozen.end().await;
        assert_eq!(ended.code, Some(FENCED), "{}", ended.log);
        assert!(ended.log.contains("another instance has taken over"), "{}", ended.log);
        vec![other]
    }
}

async fn read_on(stage: &Stage, kind: Kind, sent: &Sent) {
    match kind {
        Kind::Balance | Kind::Matching => stage.ledger.until_read(&sent.ends).await,
        Kind::Performance => stage.cache.until_read(&sent.ends).await,
        Kind::Duplicates | Kind::Compensation | Kind::Budget | Kind::Ranking => {
            panic!("its positions are not looked at")
        }
    }
}

/// Wakes a frozen instance; whether it takes part again. If not, it says that it is fenced and ends.
async fn wake(frozen: &Worker, assignments: usize) -> bool {
    frozen.signal("CONT");
    let assigned = |log: &str| log.matches("assigned job=").count() > assignments;
    let ends = |log: &str| log.contains(": error: ");
    frozen.until("assigned again, or an error", |log| assigned(log) || ends(log)).await;
    let log = frozen.log();
    let lives = !ends(&log);
    // Which way back it took depends on what it was doing when it was frozen.
    let ways = ["joins the group again", "did not commit", "drop the last epochs"];
    assert!(!lives || ways.iter().any(|way| log.contains(way)), "{log}");
    lives
}
