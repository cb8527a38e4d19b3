//! A job at work while its server refuses to write, for one reason after the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rtbflow::Job;
use rtbflow::Result;
use rtbflow::epoch::{DeadLetter, DeadLetters};
use rtbflow::source::{IteratorSource, channel};
use rtbflow_sinks::redis::{MERGE_HASH, Redis, WRITE};

use crate::namespace::Namespace;
use crate::server::PrivateServer;

const KEYS: u64 = 50;
const SOON: Duration = Duration::from_secs(30);

/// What the server refuses to write for: the words that whoever watches the job finds, how it begins and how it ends.
const REASONS: [(&str, &[&str], &[&str]); 5] = [
    ("OOM", &["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]),
    ("read only replica", &["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
    (
        "Not enough good replicas",
        &["CONFIG", "SET", "min-replicas-to-write", "1"],
        &["CONFIG", "SET", "min-replicas-to-write", "0"],
    ),
    (
        "allow the user what the documentation",
        &["ACL", "SETUSER", "job", "resetkeys", "~rtbflow:*"],
        &["ACL", "SETUSER", "job", "resetkeys", "~rtbflow:*", "~live:*"],
    ),
    (
        "allow the user what the documentation",
        &["ACL", "SETUSER", "job", "-evalsha"],
        &["ACL", "SETUSER", "job", "+@all"],
    ),
];

/// A server, and a job's own way to it as a user with these rights.
async fn served(prefix: &str) -> (PrivateServer, Redis, Namespace) {
    let server = PrivateServer::start(&["--maxmemory-policy", "noeviction"]).await;
    let reached = server.url().replace("redis://", "redis://job:secret@");
    let redis = Redis::connect_to(reached).uses(prefix, WRITE).uses(prefix, MERGE_HASH);
    let namespace = Namespace::over(redis.build().unwrap(), &server.url(), "live").await;
    let rules = ["reset", "on", ">secret", "+@all", "~rtbflow:*"].map(str::to_owned);
    let rules = rules.into_iter().chain([format!("~{prefix}*")]);
    let words = ["ACL", "SETUSER", "job"].map(str::to_owned).into_iter().chain(rules);
    namespace.ask::<()>(&words.collect::<Vec<_>>()).await;
    (server, namespace.redis.clone(), namespace)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_for_its_own_reasons_is_waited_for_and_all_is_exact() {
    let (_server, redis, namespace) = served("live:").await;
    let (mut pusher, numbers) = channel::<u64>("numbers", 10_000);
    let job = Job::new(namespace.job.as_str()).source(numbers).anchor(redis.clone());
    let job = job.commit_interval(Duration::from_millis(5)).pipeline(move |numbers| {
        let sums = redis.write(|n: &u64, to| {
            let key = format!("live:{}", n % KEYS);
            to.increment(&key, "n", 1).increment(&key, "sum", i64::try_from(*n).unwrap());
        });
        let merged = redis
            .merge_hash(|n: &u64| format!("live:merged:{}", n % KEYS))
            .add("n", |_| 1)
            .set("last", |n| *n)
            .newest(|_| "live:newest".into(), "last");
        numbers.to((sums, merged))
    });
    let health = job.health();
    let job = tokio::spawn(job.run_until(std::future::pending()));
    let mut next = 0;
    let mut push = async |count: u64| {
        for number in next..next + count {
            pusher.push(number).await.unwrap();
        }
        next += count;
        next
    };
    let written = async |namespace: &Namespace, total: u64| {
        let last = format!("live:{}", (total - 1) % KEYS);
        let expected = (total - 1) / KEYS + 1;
        let written = async {
            while namespace.ask::<Option<u64>>(&["HGET", &last, "n"]).await != Some(expected) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, written).await.expect("the job goes on");
    };
    let total = push(1_000).await;
    written(&namespace, total).await;
    let info: String = namespace.ask(&["INFO", "server"]).await;
    let is_old = info.lines().any(|line| line.starts_with("redis_version:6."));
    for (why, begin, end) in REASONS {
        // Before 7.0 a script is run by a server that has too few replicas.
        if is_old && why.contains("replicas") {
            continue;
        }
        namespace.ask::<redis::Value>(begin).await;
        push(500).await;
        let reason = || health.ready().map_err(|unhealthy| unhealthy.to_string());
        let refused = async {
            while !reason().is_err_and(|reason| reason.contains(why)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let refused = tokio::time::timeout(SOON, refused).await;
        refused.unwrap_or_else(|_| panic!("{why} is not said: {:?}", reason()));
        namespace.ask::<redis::Value>(end).await;
        let total = push(500).await;
        written(&namespace, total).await;
    }
    drop(pusher);
    let report = job.await.unwrap().unwrap();
    assert_eq!((report.decoded, report.dead_lettered, report.pending), (next, 0, 0));
    holds_all_below(&namespace, next).await;
}

/// Checks what the numbers below this one have left.
async fn holds_all_below(namespace: &Namespace, next: u64) {
    for key in 0..KEYS {
        let all: Vec<u64> = (key..next).step_by(usize::try_from(KEYS).unwrap()).collect();
        let held: BTreeMap<String, u64> = namespace.ask(&["HGETALL", &format!("live:{key}")]).await;
        assert_eq!(held["n"], all.len() as u64);
        assert_eq!(held["sum"], all.iter().sum::<u64>());
        let merged: BTreeMap<String, u64> =
            namespace.ask(&["HGETALL", &format!("live:merged:{key}")]).await;
        assert_eq!((merged["n"], merged["last"]), (all.len() as u64, all[all.len() - 1]));
    }
    let newest: u64 = namespace.ask(&["HGET", "live:newest", "last"]).await;
    assert_eq!(newest, next - 1);
}

/// Keeps dead letters.
#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Vec<DeadLetter>>>);

impl DeadLetters for Letters {
    fn deliver<'a>(&'a self, _: &'a str, letters: &'a [DeadLetter]) -> BoxFuture<'a, Result<()>> {
        self.0.lock().unwrap().extend_from_slice(letters);
        async { Ok(()) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_what_it_is_becomes_a_dead_letter_and_the_rest_is_there_once() {
    const BAD: [u64; 3] = [7, 500, 1_999];
    let (_server, redis, namespace) = served("live:").await;
    namespace.ask::<()>(&["SET", "live:text", "text"]).await;
    let letters = Letters::default();
    let source = IteratorSource::new("numbers", || 0..2_000_u64);
    let job = Job::new(namespace.job.as_str()).source(source).anchor(redis.clone());
    let job = job.dead_letters(letters.clone()).pipeline(move |numbers| {
        let sums = redis.write(|n: &u64, to| {
            let key = if BAD.contains(n) { "live:text" } else { "live:sum" };
            to.increment("live:all", "n", 1).increment(key, "n", 1);
        });
        // The other sink takes every record, and nothing of these.
        let calls = redis.script("count", "redis.call('HINCRBY', KEYS[1], 'n', 1)", |_, call| {
            call.key("live:calls");
        });
        numbers.to((sums, calls))
    });
    let report = job.run_until(std::future::pending()).await.unwrap();
    assert_eq!((report.decoded, report.dead_lettered), (1_997, 3));
    assert_eq!((report.results_refused, report.pending), (0, 0));
    let letters = letters.0.lock().unwrap().clone();
    let offsets: Vec<i64> = letters.iter().map(|letter| letter.origin.offset()).collect();
    assert_eq!(offsets, BAD.map(|n| i64::try_from(n).unwrap()));
    assert!(letters.iter().all(|letter| letter.reason.reason().contains("WRONGTYPE")));
    for key in ["live:all", "live:sum", "live:calls"] {
        assert_eq!(namespace.ask::<u64>(&["HGET", key, "n"]).await, 1_997, "{key}");
    }
}
