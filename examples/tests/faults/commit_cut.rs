//! The connection to Postgres breaks exactly between a commit and its answer, again and again.

use rtbflow::testing::Proxy;
use tokio::time::timeout;

use crate::stage::{SOON, Stage, address, postgres};
use crate::traffic::Traffic;
use crate::worker::Kind;

const CUTS: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_is_found_by_its_positions() {
    let stage = Stage::new("commit_cut", 8).await;
    let proxy = Proxy::to(address(&postgres())).await.unwrap();
    let by = stage.ledger.url_by(&proxy.address().to_string());
    let worker = stage.start(Kind::Balance).with("--postgres", by).run();
    let watch = stage.ledger.watch().await;
    let traffic = Traffic::new(1).steadily(1_000);
    worker.until_assigned().await;
    for cut in 1..=CUTS {
        // Whatever was sent by now is committed first, so that each cut meets a commit of its own.
        stage.ledger.until_read(&traffic.sent().ends).await;
        proxy.cut_after("commit\0");
        timeout(SOON, proxy.until_planned_cuts(cut)).await.expect("no commit to cut");
    }
    let sent = traffic.stop().await.sent();
    stage.ledger.until_read(&sent.ends).await;
    assert_eq!(worker.said("revoked"), 0, "it keeps its place in the group");
    let ended = worker.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.count("records_in"), sent.records, "{}", ended.log);
    assert_eq!(ended.count("decoded"), sent.clicks);
    assert_eq!((ended.count("pending"), ended.count("restarts")), (0, 0));
    stage.ledger.is_exact(&sent).await;
    watch.was_never_wrong().await;
}
