//! Instances by name, one more process than names: it goes on in the place of whoever was killed or is frozen.

use tokio::time::Instant;

use crate::stage::{Stage, until};
use crate::traffic::{Steady, Traffic};
use crate::worker::{Kind, Start, Worker};

const KILLS: usize = 6;
const NAMES: &str = "a,b";
/// Longer than anything here is waited for: what goes on sooner has not waited for the group.
const SESSION: &str = "session.timeout.ms=60000";

fn start(stage: &Stage) -> Start {
    stage.start(Kind::Balance).with("--kafka-option", SESSION).with("--instances", NAMES)
}

/// Two that have names, and one that stands by.
async fn three(stage: &Stage) -> (Vec<Worker>, Worker) {
    let (mut holders, mut all) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        all.push(start(stage).run());
    }
    for worker in &all {
        worker.until("stands by or reads", |log| log.contains("stands by for")).await;
    }
    until("two have names", async || {
        let named = all.iter().filter(|worker| has_a_name(worker)).count();
        if named == 2 { Ok(()) } else { Err(named) }
    })
    .await;
    let mut spare = None;
    for worker in all {
        match has_a_name(&worker) {
            true => holders.push(worker),
            false => spare = Some(worker),
        }
    }
    (holders, spare.unwrap())
}

fn has_a_name(worker: &Worker) -> bool {
    let log = worker.log();
    log.contains("takes the name of an instance") || log.contains("takes over an instance")
}

/// Everything that is sent now is committed.
async fn read_on(stage: &Stage, traffic: &Steady) {
    stage.ledger.until_read(&traffic.sent().ends).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_goes_on_for_whoever_was_killed_and_nothing_is_lost_or_doubled() {
    let stage = Stage::new("named", 8).await;
    let traffic = Traffic::new(31).steadily(500);
    let (mut holders, mut spare) = three(&stage).await;
    until("the tasks are shared", async || {
        let counts: Vec<usize> = holders.iter().map(|holder| holder.tasks().len()).collect();
        if counts == [4, 4] { Ok(()) } else { Err(counts) }
    })
    .await;
    for _ in 0..KILLS {
        read_on(&stage, &traffic).await;
        let killed = holders.remove(0);
        killed.signal("KILL");
        let began = Instant::now();
        assert_eq!(killed.end().await.code, None, "killed");
        spare.until("takes over", |log| log.contains("whose heartbeat has stopped")).await;
        let taken = began.elapsed();
        read_on(&stage, &traffic).await;
        eprintln!("taken over after {taken:?}, all is committed after {:?}", began.elapsed());
        holders.push(spare);
        spare = start(&stage).run();
        spare.until("stands by", |log| log.contains("stands by for")).await;
    }
    // One that ends in order gives its name back: nobody waits for silence.
    let ended = holders.remove(0).stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    spare.until("takes the name that was given back", |log| log.contains("takes the name")).await;
    let sent = traffic.stop().await.sent();
    stage.ledger.until_read(&sent.ends).await;
    stage.ledger.is_exact(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_only_frozen_stands_by_when_it_wakes_up() {
    let stage = Stage::new("named_frozen", 4).await;
    let traffic = Traffic::new(32).steadily(500);
    let (mut holders, spare) = three(&stage).await;
    read_on(&stage, &traffic).await;
    let frozen = holders.remove(0);
    frozen.signal("STOP");
    read_on(&stage, &traffic).await;
    spare.until("takes over", |log| log.contains("whose heartbeat has stopped")).await;
    frozen.signal("CONT");
    let again = |log: &str| log.matches("stands by for").count() == 2;
    frozen.until("stands by again", again).await;
    read_on(&stage, &traffic).await;
    // It goes on for whoever is killed next.
    spare.signal("KILL");
    assert_eq!(spare.end().await.code, None, "killed");
    read_on(&stage, &traffic).await;
    frozen.until("takes over", |log| log.contains("whose heartbeat has stopped")).await;
    let sent = traffic.stop().await.sent();
    stage.ledger.until_read(&sent.ends).await;
    stage.ledger.is_exact(&sent).await;
}
