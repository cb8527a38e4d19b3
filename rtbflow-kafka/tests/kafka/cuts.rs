//! Commits of the Kafka anchor that are cut, meet rivals, or whose owner dies: nothing is lost, and
//! nothing is there twice for who reads what is committed.

use std::time::Duration;

use rtbflow::epoch::{Anchor, Verdict};
use rtbflow::state::{BucketChange, Chunk};
use rtbflow::testing::Proxy;
use rtbflow_kafka::{Kafka, KafkaAnchor};
use tokio::time::timeout;

use crate::committed::committed;
use crate::place::{ONLY, Owner, job};
use crate::refused::noise;
use crate::server::{SOON, address, topic};

/// `EndTxn` in its second version, as a request begins: what commits or aborts.
pub(crate) const END_TRANSACTION: [u8; 4] = [0, 26, 0, 1];

/// A broker that tells its clients to come by the proxy, and the anchor that does.
async fn behind_a_proxy() -> (Proxy, KafkaAnchor) {
    let (proxy, kafka) = kafka_behind_a_proxy().await;
    (proxy, kafka.anchor())
}

/// A broker that tells its clients to come by the proxy.
pub(crate) async fn kafka_behind_a_proxy() -> (Proxy, Kafka) {
    let (server, proxy) = (address(), Proxy::to(address()).await.unwrap());
    let named = |address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap();
        let port: i32 = port.parse().unwrap();
        [host.as_bytes(), &port.to_be_bytes()].concat()
    };
    let by = proxy.address().to_string();
    proxy.translate(named(&server), named(&by));
    (proxy, Kafka::new(by))
}

/// What is committed to a topic, in order.
async fn values(topic: &str) -> Vec<i64> {
    let seen = committed(topic).await;
    let mut values: Vec<i64> =
        seen.into_iter().map(|seen| seen.value.unwrap().parse().unwrap()).collect();
    values.sort_unstable();
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_neither_lost_nor_doubled() {
    let (topic, job) = (topic("lost-answer", 2).await, job("lost-answer"));
    let (proxy, anchor) = behind_a_proxy().await;
    let mut owner = Owner::claim(anchor, &job, ONLY, 1).await;
    let mut cuts = 0;
    for value in 1..=6 {
        let epoch = owner.epoch(&topic, value);
        match value % 3 {
            1 => proxy.cut_after(END_TRANSACTION),
            2 => proxy.cut_before(END_TRANSACTION),
            _ => cuts -= 1,
        }
        cuts += 1;
        assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
        proxy.until_planned_cuts(cuts).await;
        assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED, "again");
        assert_eq!(values(&topic).await, (1..=value).collect::<Vec<_>>());
    }
    assert_eq!(owner.state().await.len(), 6, "a chunk for each epoch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_anywhere_lose_nothing_and_double_nothing() {
    let (topic, job) = (topic("cut", 2).await, job("cut"));
    let (proxy, anchor) = behind_a_proxy().await;
    let mut owner = Owner::claim(anchor, &job, ONLY, 1).await;
    for value in 1..=12 {
        let epoch = owner.epoch(&topic, value);
        proxy.cut_after_bytes(usize::try_from(value).unwrap() * 37);
        assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    }
    assert!(proxy.planned_cuts() > 6, "{} cuts", proxy.planned_cuts());
    assert_eq!(values(&topic).await, (1..=12).collect::<Vec<_>>());
    assert_eq!(owner.state().await.len(), 12);
    let next = Owner::claim(owner.anchor.clone(), &job, ONLY, 2).await;
    assert_eq!(next.at.offset, Some(12));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rival_that_comes_after_a_lost_answer_finds_the_commit_and_fences_what_follows() {
    let (topic, job) = (topic("rival", 1).await, job("rival"));
    let (proxy, anchor) = behind_a_proxy().await;
    let mut owner = Owner::claim(anchor, &job, ONLY, 1).await;
    let first = owner.epoch(&topic, 1);
    assert_eq!(owner.commit(&first).await, Verdict::COMMITTED);
    let sent = owner.epoch(&topic, 2);
    proxy.cut_after(END_TRANSACTION);
    // No way back for the one whose answer is lost, until the rival has come.
    proxy.stay_cut();
    let before = (owner.anchor.clone(), owner.job.clone());
    let answer = tokio::spawn(async move {
        let answer = before.0.commit(&before.1, std::slice::from_ref(&sent)).await;
        (answer, sent)
    });
    proxy.until_planned_cuts(1).await;
    let mut rival = Owner::claim(crate::server::kafka().anchor(), &job, ONLY, 2).await;
    assert_eq!(rival.at.offset, Some(2), "the commit that was not answered was made");
    proxy.mend();
    let (answer, sent) = timeout(2 * SOON, answer).await.unwrap().unwrap();
    if let Ok(verdicts) = answer {
        assert_eq!(verdicts, [Verdict::COMMITTED], "it was, and the answer came in time");
    }
    // The former owner learns what became of its epoch, so that its records are accounted for; it commits no more.
    assert_eq!(owner.commit(&sent).await, Verdict::COMMITTED);
    let next = owner.epoch(&topic, 4);
    assert_eq!(owner.commit(&next).await, Verdict::Fenced);
    let epoch = rival.epoch(&topic, 3);
    assert_eq!(rival.commit(&epoch).await, Verdict::COMMITTED);
    assert_eq!(values(&topic).await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_owners_the_one_whose_mark_is_gone_stops_and_disturbs_nobody() {
    let (topic, job) = (topic("two", 1).await, job("two"));
    let anchor = || crate::server::kafka().anchor();
    let former = Owner::claim(anchor(), &job, ONLY, 1).await;
    let mut owner = Owner::claim(anchor(), &job, ONLY, 2).await;
    for value in 1..=20 {
        let (epoch, mut stale) = (owner.epoch(&topic, value), former.clone());
        let late = stale.epoch(&topic, 1000 + value);
        // Not tried again: a new producer of the former owner would interrupt this commit.
        let commit = owner.anchor.commit(&job, std::slice::from_ref(&epoch));
        let (committed, fenced) = tokio::join!(commit, stale.commit(&late));
        assert_eq!(committed.unwrap(), [Verdict::COMMITTED], "undisturbed");
        assert_eq!(fenced, Verdict::Fenced);
        owner.at = epoch.advances[0].to;
    }
    assert_eq!(values(&topic).await, (1..=20).collect::<Vec<_>>());
}

/// A commit that is on its way when its process dies: the next owner ends it, and begins where it left
/// the place. The thread that commits cannot be killed, so the connection is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_owner_has_begun_is_ended_by_the_next() {
    let (topic, job) = (topic("dead", 2).await, job("dead"));
    let (mut expected, mut mark) = (0, 0);
    for cut in (40..3000).step_by(240) {
        let (proxy, anchor) = behind_a_proxy().await;
        mark += 1;
        let owner = Owner::claim(anchor.clone(), &job, ONLY, mark).await;
        assert_eq!(owner.at.offset.unwrap_or(0), expected, "where the one before has left it");
        let epoch = owner.epoch(&topic, expected + 1);
        proxy.cut_after_bytes(cut);
        let commit = anchor.commit(&job, std::slice::from_ref(&epoch));
        // Dead as soon as its connection is.
        let done = tokio::select! {
            verdicts = commit => verdicts.is_ok(),
            () = proxy.until_planned_cuts(1) => false,
        };
        proxy.cut();
        mark += 1;
        let next = Owner::claim(crate::server::kafka().anchor(), &job, ONLY, mark).await;
        let found = next.at.offset.unwrap_or(0);
        assert!(found == expected + 1 || (!done && found == expected), "{found} after {expected}");
        expected = found;
        assert_eq!(values(&topic).await, (1..=expected).collect::<Vec<_>>(), "cut at {cut}");
        assert_eq!(next.state().await.len(), usize::try_from(expected).unwrap());
    }
    assert!(expected > 0, "some were committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_falls_silent_is_waited_for_and_what_it_did_is_found_out() {
    let (topic, job) = (topic("silent", 1).await, job("silent"));
    let (proxy, anchor) = behind_a_proxy().await;
    let mut owner = Owner::claim(anchor, &job, ONLY, 1).await;
    let first = owner.epoch(&topic, 1);
    assert_eq!(owner.commit(&first).await, Verdict::COMMITTED);
    proxy.freeze();
    let epoch = owner.epoch(&topic, 2);
    let answer = timeout(2 * SOON, owner.anchor.commit(&job, std::slice::from_ref(&epoch)));
    let error = answer.await.expect("an answer within its deadline").unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    proxy.thaw();
    assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    assert_eq!(values(&topic).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_a_thin_line_takes_long_for_gets_more_time() {
    let (topic, job) = (topic("thin", 1).await, job("thin"));
    let (proxy, anchor) = behind_a_proxy().await;
    // A transaction may be open for six seconds at first.
    let mut owner = Owner::claim(anchor.call_timeout(Duration::from_secs(2)), &job, ONLY, 1).await;
    let mut epoch = owner.epoch(&topic, 1);
    let change = BucketChange::Append(noise(12 << 20).into());
    epoch.chunks = vec![Chunk { operator: "windows".into(), bucket: 1, change }];
    // Sixteen seconds, and one for a record.
    proxy.slow_down(3 << 18);
    let mut attempts = 1;
    while let Err(error) = owner.anchor.commit(&owner.job, std::slice::from_ref(&epoch)).await {
        assert!(error.is_transient(), "{error:?}");
        attempts += 1;
        assert!(attempts < 8, "it is tried in the same time again and again: {error:?}");
    }
    assert!(attempts > 1, "it took longer than a call may");
    assert_eq!(owner.commit(&epoch).await, Verdict::COMMITTED);
    assert_eq!(values(&topic).await, [1]);
    let next = owner.epoch(&topic, 2);
    assert_eq!(owner.commit(&next).await, Verdict::COMMITTED);
    assert_eq!(values(&topic).await, [1, 2]);
}
