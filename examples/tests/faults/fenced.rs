//! Somebody takes a partition's position from under an instance that the group still counts as its owner.

use rtbflow::epoch::{Anchor, Claim, JobName, Task};
use rtbflow::{Partition, Topic};
use rtbflow_sinks::postgres::Postgres;
use rtbflow_sinks::redis::Redis;

use crate::stage::{ADS, Stage};
use crate::traffic::Traffic;
use crate::worker::{Kind, Worker};

const FENCED: i32 = 4;

/// Claims the first of eight tasks, as another instance would.
async fn take_over(place: &impl Anchor, group: &str) {
    let claim =
        Claim::new(Task { number: 0, of: 8 }, vec![Partition::new(Topic::new(ADS), 0)], 0x07E5);
    place.claim(&JobName::new(group).unwrap(), &claim).await.unwrap();
}

async fn ends_as_fenced(worker: Worker) {
    let ended = worker.end().await;
    assert_eq!(ended.code, Some(FENCED), "{}", ended.log);
    let last = ended.log.lines().last().unwrap();
    for part in ["commit task 0 of 8: another instance has taken over", "start this one again"] {
        assert!(last.contains(part), "{}", ended.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_fenced_says_so_and_the_next_one_completes() {
    let stage = Stage::new("fenced", 8).await;
    let mut traffic = Traffic::new(6);
    traffic.send(500, 0).await;
    let charged = stage.start(Kind::Balance).run();
    let counted = stage.start(Kind::Performance).run();
    let watch = stage.ledger.watch().await;
    stage.ledger.until_read(&traffic.sent().ends).await;
    stage.cache.until_read(&traffic.sent().ends).await;
    let postgres = Postgres::connect_to(&stage.ledger.url()).build().unwrap();
    let redis = Redis::connect_to(stage.cache.url()).build().unwrap();
    take_over(&postgres, &stage.ledger.group).await;
    take_over(&redis, &stage.cache.group).await;
    let traffic = traffic.steadily(1_000);
    tokio::join!(ends_as_fenced(charged), ends_as_fenced(counted));
    let sent = traffic.stop().await.sent();
    for kind in [Kind::Balance, Kind::Performance] {
        let ended = stage.start(kind).flag("--until-end").run().end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!((ended.count("late"), ended.count("pending")), (0, 0));
    }
    stage.ledger.is_exact(&sent).await;
    stage.cache.is_exact(&sent).await;
    watch.was_never_wrong().await;
}
