//! The pipeline whose place is Kafka is killed at random, again and again, in the middle of whatever it does.

use crate::refunds::{committed, owed};
use crate::stage::{COMPENSATIONS, Stage, make_topic, until};
use crate::traffic::Traffic;
use crate::worker::Kind;

const KILLS: u64 = 20;
/// Records a second; a life ends after some of them, between none and this many.
const A_SECOND: u64 = 800;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_leave_each_refund_once() {
    let stage = Stage::new("killed", 8).await;
    make_topic(COMPENSATIONS, 4).await;
    make_topic("compensation-events.dead-letter", 4).await;
    let traffic = Traffic::new(12).steadily(800);
    let start = || stage.start(Kind::Duplicates).with("--kafka-option", "session.timeout.ms=1000");
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for kill in 1..=KILLS {
        let worker = start().run();
        worker.until_assigned().await;
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(kill);
        let already = traffic.sent().records;
        let life = i64::try_from((seed >> 33) % A_SECOND).unwrap();
        until("a life", async || {
            let lived = traffic.sent().records - already;
            if lived >= life { Ok(()) } else { Err((lived, life)) }
        })
        .await;
        worker.signal("KILL");
        assert_eq!(worker.end().await.code, None, "killed");
    }
    let sent = traffic.stop().await.sent();
    let ended = start().flag("--until-end").run().end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!((ended.count("late"), ended.count("pending")), (0, 0));
    let owed = owed(&sent.clicks_of);
    assert!(owed.len() > 50, "only {} refunds are owed", owed.len());
    let committed = tokio::task::spawn_blocking(committed).await.unwrap();
    assert_eq!(committed, owed, "each refund once");
    // Whoever comes later finds nothing to do.
    let again = start().flag("--until-end").run().end().await;
    assert_eq!((again.count("records_in"), again.count("records_out")), (0, 0), "{}", again.log);
}
