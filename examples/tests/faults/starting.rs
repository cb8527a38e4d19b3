//! What a process says while a server that it needs is not there yet; no server is asked.

use std::net::TcpListener;
use std::time::Duration;

use tokio::time::timeout;

use crate::watched::{free_address, get, until_ready};
use crate::worker::{Kind, Start};

/// Within this time the log says whether a host is unknown or a port closed.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

fn start(kafka: &str) -> Start {
    Start::bare(Kind::Balance)
        .with("--kafka", kafka)
        .with("--postgres", "postgres://nobody@127.0.0.1:1/nothing")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_and_a_closed_port_are_distinguished_at_once_and_end_with_3() {
    let closed = free_address().await;
    let unknown = "no-such-host.invalid:9092".to_owned();
    for (kafka, says) in
        [(closed, "nobody listens at this port"), (unknown, "the host is not known")]
    {
        let worker = start(&kafka).with("--connect-timeout", "6s").run();
        timeout(LONGEST_LOOK, worker.until_said(says, 1)).await.expect("nothing is said of it");
        let ended = worker.end().await;
        assert_eq!(ended.code, Some(3), "{}", ended.log);
        let last = ended.log.lines().last().unwrap_or_default();
        assert!(last.contains(&kafka) && last.contains(says), "{}", ended.log);
        assert!(last.contains("--connect-timeout"), "{}", ended.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_answers_while_the_servers_are_away() {
    let at = free_address().await;
    let worker = start(&free_address().await).with("--metrics", &at).run();
    until_ready(&at, 503, "starting").await;
    assert_eq!(get(&at, "/health/live").await.unwrap(), (200, "ok".to_owned()));
    assert_eq!(get(&at, "/metrics").await.unwrap().0, 200);
    assert_eq!(get(&at, "/nothing").await.unwrap().0, 404);
    let ended = worker.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_a_wrong_option() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let ended = start("127.0.0.1:1").with("--metrics", &at).run().end().await;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    assert!(ended.log.contains(&at) && ended.log.contains("--metrics"), "{}", ended.log);
}
