//! An instance is frozen past its session and wakes up when another has its partitions.

use std::collections::BTreeSet;

use crate::stage::{Stage, until};
use crate::traffic::{Sent, Steady, Traffic};
use crate::worker::{Kind, Worker};

/// What the log says of an instance that drops its work and goes on.
const REJOINS: &str = "it rejoins";
/// Fenced: what was not committed is somebody else's.
const FENCED: i32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_applied_twice_when_a_frozen_instance_wakes_up() {
    let stage = Stage::new("frozen", 8).await;
    let mut traffic = Traffic::new(2);
    traffic.send(400, 0).await;
    let traffic = traffic.steadily(1_000);
    let charged = pair(&stage, Kind::Balance).await;
    let counted = pair(&stage, Kind::Performance).await;
    let watch = stage.ledger.watch().await;
    let (charged, counted) =
        tokio::join!(freeze(&stage, &traffic, charged), freeze(&stage, &traffic, counted));
    let sent = traffic.stop().await.sent();
    for workers in [charged, counted] {
        for worker in workers {
            let ended = worker.stop().await;
            assert_eq!(ended.code, Some(0), "{}", ended.log);
            ended.count("records_in");
        }
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

/// Two instances that share the tasks.
async fn pair(stage: &Stage, kind: Kind) -> [Worker; 2] {
    let workers = [stage.start(kind).run(), stage.start(kind).run()];
    until("each of two has tasks, and together all", async || {
        let [one, other] = workers.each_ref().map(Worker::tasks);
        let all: BTreeSet<u32> = one.iter().chain(&other).copied().collect();
        let shared = !one.is_empty() && !other.is_empty() && one.len() + other.len() == 8;
        if shared && all.len() == 8 { Ok(()) } else { Err((one, other)) }
    })
    .await;
    workers
}

/// Freezes the first until the second has all its tasks and has gone on with them, wakes it up, and
/// waits until it has made up its mind; those that still run are returned.
async fn freeze(stage: &Stage, traffic: &Steady, [frozen, other]: [Worker; 2]) -> Vec<Worker> {
    let kind = other.kind();
    // Both are at work, on whatever is on its way now.
    read_on(stage, kind, &traffic.sent()).await;
    let before = frozen.said("running: assigned");
    frozen.signal("STOP");
    other.until("all tasks assigned", |_| other.tasks().len() == 8).await;
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

async fn read_on(stage: &Stage, kind: Kind, sent: &Sent) {
    match kind {
        Kind::Balance => stage.ledger.until_read(&sent.ends).await,
        Kind::Performance => stage.cache.until_read(&sent.ends).await,
    }
}

/// Wakes a frozen instance; whether it takes part again. If not, it says that it is fenced and ends.
async fn wake(frozen: &Worker, assignments: usize) -> bool {
    frozen.signal("CONT");
    let assigned = |log: &str| log.matches("running: assigned").count() > assignments;
    let fenced = |log: &str| log.contains("balance-worker: error") || log.contains("performance: error");
    frozen.until("assigned again, or an error", |log| assigned(log) || fenced(log)).await;
    let lives = !fenced(&frozen.log());
    if lives {
        let log = frozen.log();
        // Which of its ways back it took depends on what it was doing when it was frozen.
        assert!(log.contains(REJOINS) || log.contains("revoked"), "{log}");
    }
    eprintln!("{:?}: the frozen one {}", frozen.kind(), if lives { "rejoined" } else { "was fenced" });
    lives
}
