//! A server that is full, forgets, restarts, refuses, does not know us or wants to be sure of us.

use std::time::Duration;

use rtbflow::epoch::{Anchor, Verdict};
use rtbflow::state::{BucketChange, Chunk};
use rtbflow::testing::Proxy;
use rtbflow_sinks::redis::Redis;

use crate::namespace::Namespace;
use crate::server::{PrivateServer, free_port};

async fn namespace_on(server: &PrivateServer) -> Namespace {
    Namespace::over(Redis::connect_to(server.url()).build().unwrap(), &server.url(), "private")
        .await
}

async fn sum(namespace: &Namespace) -> i64 {
    namespace.ask::<Option<i64>>(&["HGET", &namespace.key("sum"), "n"]).await.unwrap_or(0)
}

#[tokio::test]
async fn out_of_memory_leaves_nothing_half_applied() {
    let server = PrivateServer::start(&["--maxmemory-policy", "noeviction"]).await;
    let namespace = namespace_on(&server).await;
    let mut owner = namespace.claim(0).await;
    let epoch = owner.epoch(namespace.stage_with(|namespace, to| {
        to.delete(namespace.key("old")).increment(namespace.key("sum"), "n", 1);
    }));
    namespace.ask::<()>(&["SET", &namespace.key("old"), "still here"]).await;
    namespace.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = owner.commit(&epoch).await.unwrap_err();
    assert!(error.is_transient() && error.report().contains("127.0.0.1:"), "{error:?}");
    assert_eq!(
        namespace.ask::<i64>(&["EXISTS", &namespace.key("old"), &namespace.key("sum")]).await,
        1
    );
    namespace.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    for _ in 0..2 {
        assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    }
    assert_eq!(sum(&namespace).await, 1);
}

#[tokio::test]
async fn a_replica_is_a_transient_error() {
    let server = PrivateServer::start(&[]).await;
    let namespace = namespace_on(&server).await;
    let mut owner = namespace.claim(0).await;
    namespace.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let epoch = owner.epoch(vec![]);
    let error = owner.commit(&epoch).await.unwrap_err();
    assert!(error.is_transient() && error.report().contains("read only replica"), "{error:?}");
    namespace.ask::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
}

#[tokio::test]
async fn scripts_that_were_flushed_are_loaded_again() {
    let server = PrivateServer::start(&[]).await;
    let namespace = namespace_on(&server).await;
    namespace.redis.prepare(&namespace.job).await.unwrap();
    let mut owners = [namespace.claim(0).await, namespace.claim(1).await, namespace.claim(2).await];
    for _ in 0..5 {
        namespace.ask::<()>(&["SCRIPT", "FLUSH"]).await;
        let increment = || {
            namespace.stage_with(|namespace, to| {
                to.increment(namespace.key("sum"), "n", 1);
            })
        };
        let epochs: Vec<_> = owners.iter().map(|owner| owner.epoch(increment())).collect();
        let verdicts = namespace.redis.commit(&namespace.job, &epochs).await.unwrap();
        assert_eq!(verdicts, [Verdict::COMMITTED; 3]);
        for (owner, epoch) in owners.iter_mut().zip(&epochs) {
            owner.at = epoch.advances[0].to;
        }
    }
    assert_eq!(sum(&namespace).await, 15);
}

#[tokio::test]
async fn a_connection_that_was_killed_is_made_again() {
    let server = PrivateServer::start(&[]).await;
    let namespace = namespace_on(&server).await;
    let mut owner = namespace.claim(0).await;
    for _ in 0..10 {
        let killed: i64 =
            namespace.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        assert_eq!(killed, 1);
        let staged = namespace.stage_with(|namespace, to| {
            to.increment(namespace.key("sum"), "n", 1);
        });
        owner.write(staged).await;
    }
    assert_eq!(sum(&namespace).await, 10);
}

#[tokio::test]
async fn an_epoch_that_a_thin_line_takes_long_for_gets_more_time() {
    const CALL: Duration = Duration::from_millis(500);
    let server = PrivateServer::start(&[]).await;
    let proxy = Proxy::to(format!("127.0.0.1:{}", server.port)).await.unwrap();
    let redis = Redis::connect_to(format!("redis://{}", proxy.address())).call_timeout(CALL);
    let namespace = Namespace::over(redis.build().unwrap(), &server.url(), "thin").await;
    namespace.redis.prepare(&namespace.job).await.unwrap();
    let mut owner = namespace.claim(0).await;
    let mut epoch = owner.epoch(namespace.stage_with(|namespace, to| {
        to.increment(namespace.key("sum"), "n", 1);
    }));
    let change = BucketChange::Replace(vec![7; 2 << 20].into());
    epoch.chunks = vec![Chunk { operator: "windows".into(), bucket: 1, change }];
    // Two seconds.
    proxy.slow_down(1 << 20);
    let mut attempts = 1;
    while let Err(error) = owner.commit(&epoch).await {
        assert!(error.is_transient(), "{error:?}");
        attempts += 1;
        assert!(attempts < 8, "it is tried in the same time again and again: {error:?}");
    }
    assert!(attempts > 2, "it took longer than a call may");
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    assert_eq!(sum(&namespace).await, 1);
    // One that does not even take connections is not waited for any longer.
    proxy.slow_down(0);
    proxy.freeze();
    let next = owner.epoch(vec![]);
    assert!(owner.commit(&next).await.unwrap_err().is_transient());
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        assert!(owner.commit(&next).await.unwrap_err().is_transient());
    }
    assert!(began.elapsed() < 20 * CALL, "{:?}", began.elapsed());
    proxy.thaw();
    owner.commit(&next).await.unwrap();
}

#[tokio::test]
async fn a_server_that_restarts_goes_on_where_it_stood() {
    let mut server =
        PrivateServer::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let redis =
        Redis::connect_to(server.url()).call_timeout(Duration::from_secs(2)).build().unwrap();
    let namespace = Namespace::over(redis, &server.url(), "restart").await;
    let mut owner = namespace.claim(0).await;
    let increment = |namespace: &Namespace| {
        namespace.stage_with(|namespace, to| {
            to.increment(namespace.key("sum"), "n", 1);
        })
    };
    owner.write(increment(&namespace)).await;
    let before = owner.epoch(increment(&namespace));
    owner.commit(&before).await.unwrap();
    server.kill().await;
    let next = owner.epoch(increment(&namespace));
    assert!(owner.commit(&next).await.unwrap_err().is_transient());
    server.restart().await;
    assert_eq!(owner.commit(&next).await.unwrap(), Verdict::COMMITTED);
    let namespace = Namespace::over(namespace.redis.clone(), &server.url(), "again").await;
    let held: Vec<String> = namespace.ask(&["KEYS", "test-restart-*"]).await;
    let n: i64 = namespace.ask(&["HGET", held[0].as_str(), "n"]).await;
    assert_eq!(n, 3);
}

#[tokio::test]
async fn a_cluster_is_refused() {
    let server = PrivateServer::start(&["--cluster-enabled", "yes"]).await;
    let namespace = namespace_on(&server).await;
    let error = namespace.redis.prepare(&namespace.job).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("cluster"), "{error:?}");
}

#[tokio::test]
async fn a_wrong_password_says_what_to_do_and_not_what_it_was() {
    let server = PrivateServer::start(&[]).await;
    let namespace = namespace_on(&server).await;
    namespace.ask::<()>(&["ACL", "SETUSER", "job", "on", ">hunter2", "~*", "+@all"]).await;
    namespace.ask::<()>(&["CONFIG", "SET", "requirepass", "hunter3"]).await;
    let at = |login: &str| format!("redis://{login}127.0.0.1:{}/3", server.port);
    for login in ["", "job:hunter4@", "nobody:hunter2@", ":hunter2@"] {
        let redis = Redis::connect_to(at(login)).build().unwrap();
        let error = redis.prepare(&namespace.job).await.unwrap_err();
        assert!(error.is_config(), "{login}: {error:?}");
        let shown = format!("{error:?} {redis:?}");
        assert!(shown.contains("password") && !shown.contains("hunter"), "{shown}");
    }
    for login in ["job:hunter2@", ":hunter3@"] {
        Redis::connect_to(at(login)).build().unwrap().prepare(&namespace.job).await.unwrap();
    }
    let error = Redis::connect_to(at("job:hunter2@").replace("/3", "/99")).build().unwrap();
    let error = error.prepare(&namespace.job).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("database"), "{error:?}");
}

#[tokio::test]
async fn an_unknown_host_a_closed_port_and_a_forbidden_database_are_distinguished() {
    let server = PrivateServer::start(&[]).await;
    let namespace = namespace_on(&server).await;
    namespace
        .ask::<()>(&["ACL", "SETUSER", "job", "on", ">hunter2", "~*", "+@all", "-select"])
        .await;
    let (open, closed) = (server.port, free_port());
    for (url, is_transient, says) in [
        (format!("redis://no-such-host.invalid:{open}"), true, "name is not known"),
        (format!("redis://127.0.0.1:{closed}"), true, "nothing listens"),
        (format!("redis://job:hunter2@127.0.0.1:{open}/3"), false, "+select"),
    ] {
        let redis = Redis::connect_to(url).build().unwrap();
        let asked =
            tokio::time::timeout(Duration::from_secs(5), redis.prepare(&namespace.job)).await;
        let error = asked.expect("it is reported at once").unwrap_err();
        assert_eq!((error.is_transient(), error.is_config()), (is_transient, !is_transient));
        assert!(error.to_string().contains(says), "{error:?}");
        assert!(!error.report().contains("hunter2"), "{error:?}");
    }
    let redis = Redis::connect_to(format!("redis://job:hunter2@127.0.0.1:{open}")).build().unwrap();
    redis.prepare(&namespace.job).await.unwrap();
}

#[tokio::test]
async fn a_busy_server_is_a_transient_error() {
    let server = PrivateServer::start(&["--lua-time-limit", "1"]).await;
    let namespace = namespace_on(&server).await;
    let mut owner = namespace.claim(0).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut other = client.get_multiplexed_async_connection().await.unwrap();
    let busy = tokio::spawn(async move {
        let endless = redis::Cmd::new().arg("EVAL").arg("while true do end").arg(0).to_owned();
        endless.query_async::<()>(&mut other).await
    });
    let epoch = owner.epoch(vec![]);
    let error = loop {
        match owner.commit(&epoch).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(error.is_transient() && error.report().contains("BUSY"), "{error:?}");
    let elsewhere = Redis::connect_to(format!("{}/1", server.url())).build().unwrap();
    let error = elsewhere.prepare(&namespace.job).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    namespace.ask::<()>(&["SCRIPT", "KILL"]).await;
    busy.await.unwrap().unwrap_err();
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
}
