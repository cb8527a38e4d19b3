//! Commits whose answer is lost, scripts that are forgotten, state that is read back.

use std::time::Duration;

use rtbflow::epoch::{Anchor, Epoch, Task, Verdict};
use rtbflow::state::{BucketChange, Chunk};
use rtbflow::testing::Proxy;
use rtbflow_sinks::redis::Redis;

use crate::namespace::{Namespace, Owner, address, stage, url};

/// A namespace whose anchor goes through a proxy.
async fn behind_proxy(what: &str, deadline: Duration) -> (Namespace, Proxy) {
    let proxy = Proxy::to(address()).await.unwrap();
    let through = url().replace(&address(), &proxy.address().to_string());
    let redis = Redis::connect_to(&through).call_timeout(deadline).build().unwrap();
    (Namespace::over(redis, &url(), what).await, proxy)
}

/// An epoch with a result and a chunk of state.
fn epoch(namespace: &Namespace, owner: &Owner) -> Epoch {
    let staged = namespace.stage_with(|namespace, to| {
        to.increment(namespace.key("sum"), "n", 1);
    });
    let change = BucketChange::Append("chunk".into());
    let chunk = Chunk { operator: "windows".into(), bucket: 1, change };
    owner.epoch(staged).with_chunks(vec![chunk])
}

async fn assert_applied(namespace: &Namespace, times: usize) {
    let sum: Option<usize> = namespace.ask(&["HGET", &namespace.key("sum"), "n"]).await;
    assert_eq!(sum.unwrap_or(0), times, "results");
    let log = format!("rtbflow:{}:state:0/4:1:windows", namespace.job);
    assert_eq!(namespace.ask::<usize>(&["LLEN", &log]).await, times, "chunks");
}

const PATIENT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_committed_once() {
    let (namespace, proxy) = behind_proxy("lost-answer", PATIENT).await;
    let mut owner = namespace.claim(0).await;
    for round in 1..=5 {
        let epoch = epoch(&namespace, &owner);
        proxy.cut_after("EVALSHA");
        assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
        assert_applied(&namespace, round).await;
    }
    assert_eq!(proxy.planned_cuts(), 5);
    namespace.clean().await;
}

#[tokio::test]
async fn a_commit_cut_at_any_byte_is_committed_once() {
    let (namespace, proxy) = behind_proxy("any-byte", PATIENT).await;
    let mut owner = namespace.claim(0).await;
    let mut rounds = 0;
    for bytes in (1..1200).step_by(23) {
        proxy.cut_after_bytes(bytes);
        let epoch = epoch(&namespace, &owner);
        assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED, "cut after {bytes}");
        rounds += 1;
        assert_applied(&namespace, rounds).await;
    }
    assert!(proxy.planned_cuts() > 10);
    namespace.clean().await;
}

#[tokio::test]
async fn a_server_that_is_silent_is_not_waited_for_beyond_the_deadline() {
    let (namespace, proxy) = behind_proxy("silent", Duration::from_millis(300)).await;
    let mut owner = namespace.claim(0).await;
    let first = epoch(&namespace, &owner);
    owner.commit(&first).await.unwrap();
    let next = epoch(&namespace, &owner);
    proxy.freeze();
    let answer = tokio::time::timeout(PATIENT, owner.commit(&next)).await.expect("a deadline");
    let error = answer.unwrap_err();
    assert!(error.is_transient() && error.report().contains("127.0.0.1:"), "{error:?}");
    // What was sent and held back arrives late, beside the second attempt: applied once all the same.
    proxy.thaw();
    let verdict = loop {
        match owner.commit(&next).await {
            Ok(verdict) => break verdict,
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
    };
    assert_eq!(verdict, Verdict::COMMITTED);
    assert_applied(&namespace, 2).await;
    namespace.clean().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_a_transient_error_that_names_it() {
    let (namespace, proxy) = behind_proxy("away", PATIENT).await;
    let mut owner = namespace.claim(0).await;
    proxy.cut();
    let epoch = epoch(&namespace, &owner);
    let error = owner.commit(&epoch).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains(&proxy.address().to_string()), "{error}");
    assert_applied(&namespace, 0).await;
    proxy.mend();
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    assert_applied(&namespace, 1).await;
    namespace.clean().await;
}

#[tokio::test]
async fn state_is_replaced_dropped_and_read_back_in_pages() {
    let namespace = Namespace::new("pages").await;
    let small = Redis::connect_to(url()).page_bytes(100).build().unwrap();
    let mut owner = namespace.claim(0).await;
    let chunk =
        |operator: &str, bucket, change| Chunk { operator: operator.into(), bucket, change };
    let text = |text: String| BucketChange::Append(text.into());
    let mut chunks: Vec<Chunk> =
        (0..90).map(|n| chunk("windows", n % 3, text(format!("{n:08}")))).collect();
    chunks.push(chunk("windows", 1, BucketChange::Drop));
    chunks.push(chunk("windows", 2, BucketChange::Replace("whole".into())));
    chunks.push(chunk("windows", 2, text("more".into())));
    chunks.push(chunk("large", -1, text("x".repeat(1000))));
    chunks.push(chunk("ended", 7, text("x".into())));
    chunks.push(chunk("ended", 7, BucketChange::Drop));
    owner.commit(&owner.epoch(vec![]).with_chunks(chunks)).await.unwrap();

    let (mut from, mut pages, mut found) = (None, 0, Vec::new());
    loop {
        let page = small.restore(&namespace.job, owner.task, from).await.unwrap();
        let bytes: usize = page.chunks.iter().map(Chunk::len).sum();
        assert!(bytes <= 100 || page.chunks.len() == 1, "a page of {bytes} bytes");
        pages += 1;
        found.extend(page.chunks);
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    let of = |bucket| -> Vec<String> {
        let chunks = found.iter().filter(|chunk| &*chunk.operator == "windows");
        let logs = chunks.filter(|chunk| chunk.bucket == bucket).map(|chunk| &chunk.change);
        logs.map(|change| match change {
            BucketChange::Append(bytes) | BucketChange::Replace(bytes) => {
                String::from_utf8(bytes.to_vec()).unwrap()
            }
            BucketChange::Drop => panic!("an ended bucket came back"),
        })
        .collect()
    };
    assert_eq!(of(0), (0..90).step_by(3).map(|n| format!("{n:08}")).collect::<Vec<_>>());
    assert_eq!((of(1), of(2)), (vec![], vec!["whole".to_owned(), "more".to_owned()]));
    assert_eq!(found.len(), 33);
    assert_eq!(pages, 4);
    namespace.clean().await;
}

#[tokio::test]
async fn state_that_has_ended_does_not_hold_on_to_its_number_of_tasks() {
    let namespace = Namespace::new("layout").await;
    let mut owner = namespace.claim(0).await;
    let chunk = |change| Chunk { operator: "windows".into(), bucket: 1, change };
    let staged = vec![chunk(BucketChange::Append("x".into()))];
    owner.commit(&owner.epoch(vec![]).with_chunks(staged)).await.unwrap();
    let claim = rtbflow::epoch::Claim::new(Task { number: 0, of: 8 }, vec![owner.partition], 1);
    let error = namespace.redis.claim(&namespace.job, &claim).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("for 4 tasks"), "{error:?}");
    let chunks = vec![chunk(BucketChange::Drop)];
    owner.commit(&owner.epoch(vec![]).with_chunks(chunks)).await.unwrap();
    assert!(namespace.redis.claim(&namespace.job, &claim).await.is_ok());
    namespace.clean().await;
}

#[tokio::test]
async fn state_is_not_written_into_a_key_of_somebody_else() {
    let namespace = Namespace::new("foreign").await;
    let mut owner = namespace.claim(0).await;
    let log = format!("rtbflow:{}:state:0/4:1:windows", namespace.job);
    namespace.ask::<()>(&["SET", &log, "text"]).await;
    let epoch = epoch(&namespace, &owner);
    let error = owner.commit(&epoch).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains(&log), "{error:?}");
    assert_eq!(namespace.hash("sum").await.len(), 0, "nothing of the epoch was applied");
    namespace.ask::<()>(&["DEL", &log]).await;
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    assert_applied(&namespace, 1).await;
    namespace.clean().await;
}

#[tokio::test]
async fn forgetting_a_job_fences_whoever_still_runs() {
    let namespace = Namespace::new("forget").await;
    let mut owner = namespace.claim(0).await;
    let first = epoch(&namespace, &owner);
    owner.commit(&first).await.unwrap();
    namespace.redis.forget(&namespace.job).await.unwrap();
    let next = epoch(&namespace, &owner);
    assert_eq!(owner.commit(&next).await.unwrap(), Verdict::Fenced);
    assert_eq!(namespace.claim(0).await.at.offset, None);
    namespace.clean().await;
}

#[tokio::test]
async fn counters_of_commits_are_exact_to_64_bits() {
    let namespace = Namespace::new("counter").await;
    let positions = format!("rtbflow:{}:positions", namespace.job);
    for (held, next) in [
        ("9", 10),
        ("1299", 1300),
        ("9007199254740992", (1 << 53) + 1),
        ("9999999999999999999", 10_000_000_000_000_000_000),
        ("18446744073709551614", u64::MAX),
    ] {
        namespace
            .ask::<()>(&["HSET", &positions, "ads/0", &format!("{held} 7 -5 9007199254740993")])
            .await;
        let at = namespace.claim(0).await.at;
        assert_eq!((at.commit, at.offset), (next, Some(-5)));
        assert_eq!(at.event_time.unwrap().as_millis(), 9_007_199_254_740_993);
    }
    namespace.clean().await;
}

#[tokio::test]
async fn a_sink_that_is_not_used_stages_nothing() {
    let namespace = Namespace::new("empty").await;
    let mut sink = namespace.redis.write(|(): &(), _| {});
    assert!(stage(&mut sink, [()]).is_empty());
    namespace.clean().await;
}
