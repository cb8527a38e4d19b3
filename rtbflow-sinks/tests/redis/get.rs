//! Lookups in jobs: how many round trips, what is not there, a server that is away, and how long answers last.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use rtbflow::epoch::Memory;
use rtbflow::job::Report;
use rtbflow::operators::{Calls, Failed, Lookup};
use rtbflow::source::{IteratorSource, channel};
use rtbflow::testing::builders::at;
use rtbflow::testing::{ManualClock, Proxy};
use rtbflow::{Job, Result};
use rtbflow_sinks::redis::Redis;

use crate::namespace::{Namespace, address};
use crate::server::PrivateServer;

const MINUTE: Duration = Duration::from_mins(1);

fn calls() -> Calls {
    Calls::at_most(100).deadline(Duration::from_millis(300)).attempts(100)
}

/// What a job over these numbers finds by `fetch`.
async fn found<V, G, R>(numbers: Vec<u32>, lookup: Lookup, fetch: G) -> (Vec<(u32, V)>, Report)
where
    V: Clone + Send + Sync + 'static,
    G: Fn(u32) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<V, Failed>> + Send + 'static,
{
    let place = Memory::new();
    let out = place.collected();
    let into = out.clone();
    let job = Job::new("lookups")
        .source(IteratorSource::new("numbers", move || numbers.clone().into_iter()))
        .anchor(place.clone())
        .pipeline(move |numbers| {
            let found = numbers.key_by(|n| *n).lookup(lookup, fetch.clone());
            found.to(into.sink())
        });
    let report = job.run_until(pending()).await.unwrap();
    (out.values(), report)
}

/// How often a command has run on the server.
async fn count(namespace: &Namespace, command: &str) -> u32 {
    let all: String = namespace.ask(&["INFO", "commandstats"]).await;
    let line = all.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

async fn private(options: &[&str]) -> (PrivateServer, Namespace) {
    let server = PrivateServer::start(options).await;
    let redis = Redis::connect_to(server.url()).build().unwrap();
    let namespace = Namespace::over(redis, &server.url(), "lookup").await;
    (server, namespace)
}

#[tokio::test]
async fn keys_that_are_asked_for_together_are_one_round_trip() {
    let (_server, namespace) = private(&[]).await;
    for n in (0..200).step_by(2) {
        namespace.ask::<()>(&["SET", &namespace.key(&n.to_string()), &format!("value {n}")]).await;
    }
    namespace.ask::<()>(&["HSET", &namespace.key("1"), "no", "string"]).await;
    let prefix = namespace.key("");
    let get = namespace.redis.get(move |n: &u32| format!("{prefix}{n}"));
    let lookup = Lookup::new(calls(), MINUTE, 1_000);
    let numbers: Vec<u32> = (0..200).chain(0..200).collect();
    let (found, report) = found(numbers.clone(), lookup, get).await;
    let value = |n: u32| (n, n.is_multiple_of(2).then(|| format!("value {n}")));
    assert_eq!(found, numbers.into_iter().map(value).collect::<Vec<_>>());
    assert_eq!((report.decoded, report.dead_lettered), (400, 0));
    let trips = count(&namespace, "mget").await;
    assert!((2..=4).contains(&trips), "{trips} round trips for 200 keys, a hundred at a time");
}

#[tokio::test]
async fn fields_of_hashes_and_what_is_none() {
    let namespace = Namespace::new("lookup").await;
    namespace
        .ask::<()>(&["HSET", &namespace.key("0"), "spent", "7", "budget", "100", "other", "1"])
        .await;
    namespace.ask::<()>(&["HSET", &namespace.key("1"), "spent", "8"]).await;
    namespace.ask::<()>(&["HSET", &namespace.key("2"), "other", "1"]).await;
    namespace.ask::<()>(&["SET", &namespace.key("3"), "a string"]).await;
    let prefix = namespace.key("");
    let get = namespace.redis.get_hash(["spent", "budget"], move |n: &u32| format!("{prefix}{n}"));
    let (found, report) = found((0..5).collect(), Lookup::new(calls(), MINUTE, 10), get).await;
    let some = |text: &str| Some(text.to_owned());
    let expected =
        [(0, Some([some("7"), some("100")])), (1, Some([some("8"), None])), (2, None), (4, None)];
    assert_eq!(found, expected);
    assert_eq!(report.dead_lettered, 1, "the string");
}

#[tokio::test]
async fn a_value_that_is_no_text_is_a_dead_letter() {
    let namespace = Namespace::new("lookup").await;
    namespace.ask::<()>(&[b"SET".as_slice(), namespace.key("0").as_bytes(), &[0xff, 0]]).await;
    let prefix = namespace.key("");
    let get = namespace.redis.get(move |n: &u32| format!("{prefix}{n}"));
    let (found, report) = found(vec![0, 1], Lookup::new(calls(), MINUTE, 10), get).await;
    assert_eq!((found, report.dead_lettered), (vec![(1, None)], 1));
}

#[tokio::test]
async fn a_server_that_is_silent_or_away_is_asked_again_until_it_answers() {
    let namespace = Namespace::new("lookup").await;
    namespace.ask::<()>(&["MSET", &namespace.key("1"), "one", &namespace.key("2"), "two"]).await;
    let proxy = Proxy::to(address()).await.unwrap();
    let redis = Redis::connect_to(format!("redis://{}", proxy.address())).build().unwrap();
    let prefix = namespace.key("");
    let get = redis.get(move |n: &u32| format!("{prefix}{n}"));
    let attempts = Arc::new(AtomicUsize::new(0));
    let (made, reached) = (Arc::clone(&attempts), Arc::new(tokio::sync::Notify::new()));
    let tell = Arc::clone(&reached);
    let counted = move |n| {
        made.fetch_add(1, Ordering::Relaxed);
        tell.notify_one();
        get(n)
    };
    let attempts_are = async |count: usize| {
        while attempts.load(Ordering::Relaxed) < count {
            tokio::time::timeout(MINUTE, reached.notified()).await.unwrap();
        }
    };
    proxy.freeze();
    let job = found(vec![1, 2, 3], Lookup::new(calls(), MINUTE, 10), counted);
    let outage = async {
        // Each attempt ends by its deadline: the third can only come after two of them.
        attempts_are(9).await;
        proxy.cut();
        let made = attempts.load(Ordering::Relaxed);
        attempts_are(made + 6).await;
        proxy.thaw();
        proxy.mend();
    };
    let ((found, report), ()) = futures::join!(job, outage);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found, [(1, text("one")), (2, text("two")), (3, None)]);
    assert_eq!(report.decoded, 3);
}

#[tokio::test]
async fn an_answer_is_asked_for_anew_when_its_time_is_over() {
    let namespace = Namespace::new("lookup").await;
    let (clock, place) = (ManualClock::new(at(1_000_000)), Memory::new());
    let (mut pusher, keys) = channel::<u32>("keys", 10);
    let (writer, mut results) = rtbflow::writer::channel(10);
    let prefix = namespace.key("");
    let get = namespace.redis.get(move |n: &u32| format!("{prefix}{n}"));
    let job = Job::new("lookups")
        .source(keys)
        .anchor(place)
        .writer(writer.clone())
        .clock(clock.clone())
        .pipeline(move |keys| {
            let lookup = Lookup::new(calls(), MINUTE, 10);
            keys.key_by(|n| *n).lookup(lookup, get.clone()).to(writer.sink())
        });
    let job = tokio::spawn(job.run_until(pending()));
    let mut answer = async |n: u32| {
        pusher.push(n).await.unwrap();
        let found = tokio::time::timeout(MINUTE, results.next()).await.unwrap().unwrap();
        found.value
    };
    let mut answers = Vec::new();
    for (value, passed) in [("first", 0), ("second", 59), ("third", 2), ("fourth", 59)] {
        namespace.ask::<()>(&["SET", &namespace.key("1"), value]).await;
        clock.advance(Duration::from_secs(passed));
        // The barrier behind another record tells the time.
        answer(2).await;
        answers.push(answer(1).await.1.unwrap());
    }
    assert_eq!(answers, ["first", "first", "third", "third"]);
    drop(pusher);
    job.await.unwrap().unwrap();
}
