//! The place comes back as an older self while nothing comes: what is missing there is read again, by itself.

use crate::stage::{Stage, until};
use crate::traffic::Traffic;
use crate::worker::{Kind, Worker};

/// The log says what was found, once, and the process is the same.
async fn has_noticed(worker: &Worker) {
    let said = || match worker.said("the place has come back as an older self") {
        0 => Err("nothing"),
        _ => Ok(()),
    };
    until("that the place is an older self is said", async || said()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_postgres_lacks_is_charged_again_without_another_click() {
    let stage = Stage::new("older_postgres", 2).await;
    let worker = stage.start(Kind::Balance).run();
    let mut traffic = Traffic::new(53);
    traffic.send(300, 0).await;
    stage.ledger.until_read(&traffic.sent().ends).await;
    stage.ledger.remember().await;
    traffic.send(400, 0).await;
    let sent = traffic.sent();
    stage.ledger.until_read(&sent.ends).await;
    stage.ledger.is_exact(&sent).await;
    stage.ledger.fall_back().await;
    has_noticed(&worker).await;
    stage.ledger.until_read(&sent.ends).await;
    stage.ledger.is_exact(&sent).await;
    assert_eq!(worker.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_redis_lacks_is_counted_again_without_another_event() {
    let stage = Stage::new("older_redis", 2).await;
    let worker = stage.start(Kind::Performance).run();
    let mut traffic = Traffic::new(59);
    traffic.send(300, 0).await;
    stage.cache.until_read(&traffic.sent().ends).await;
    let older = stage.cache.remember().await;
    traffic.send(400, 0).await;
    let sent = traffic.sent();
    stage.cache.until_read(&sent.ends).await;
    stage.cache.fall_back(&older).await;
    has_noticed(&worker).await;
    stage.cache.until_read(&sent.ends).await;
    assert_eq!(worker.stop().await.code, Some(0));
    // What is still open is closed, and every window of every campaign is right.
    let ended = stage.start(Kind::Performance).flag("--until-end").run().end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    stage.cache.is_exact(&sent).await;
}
