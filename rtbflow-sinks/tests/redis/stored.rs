//! What an earlier build has stored in Redis half-way is gone on with, as if nothing had happened.

#[path = "../../../rtbflow/tests/stored_state/five_operators.rs"]
mod five_operators;
#[path = "../../../rtbflow/tests/stored_state/fixtures.rs"]
mod fixtures;
#[path = "../../../rtbflow/tests/stored_state/lines.rs"]
mod lines;

use rtbflow_sinks::redis::MergeHash;

use self::five_operators::{OPERATORS, in_one_go, run_half, run_rest};
use self::lines::{line, lines};
use crate::namespace::Namespace;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/stored");
/// What stands for the name of the job, with which the keys of the results begin as well.
const NAME: &str = "{name}";

async fn keys(namespace: &Namespace, pattern: &str) -> Vec<String> {
    let mut keys: Vec<String> = namespace.ask(&["KEYS", pattern]).await;
    keys.sort_unstable();
    keys
}

/// All that lies in the place, as commands.
async fn dump(namespace: &Namespace) -> String {
    let mut dump = String::new();
    for key in keys(namespace, &format!("*{}:*", namespace.job)).await {
        let name = key.replace(namespace.job.as_str(), NAME);
        let kind: String = namespace.ask(&["TYPE", &key]).await;
        let (read, write, size): (&[&str], &str, usize) = match &*kind {
            "hash" => (&["HGETALL", &key], "HSET", 2),
            "list" => (&["LRANGE", &key, "0", "-1"], "RPUSH", 1),
            "set" => (&["SMEMBERS", &key], "SADD", 1),
            "zset" => (&["ZRANGE", &key, "0", "-1", "WITHSCORES"], "ZADD", 2),
            _ => panic!("{key} is a {kind}"),
        };
        let words: Vec<Vec<u8>> = namespace.ask(read).await;
        let command = |entry: &[Vec<u8>]| {
            let mut entry = entry.to_vec();
            if kind == "zset" {
                entry.reverse(); // A score is written first, and read last.
            }
            line([vec![write.into(), name.clone().into()], entry].concat())
        };
        let mut commands: Vec<_> = words.chunks(size).map(command).collect();
        if kind != "list" {
            commands.sort_unstable();
        }
        dump += &commands.concat();
    }
    dump
}

/// A namespace in which all that lies that was stored.
async fn loaded(dump: &str) -> Namespace {
    let namespace = Namespace::new("stored").await;
    for command in lines(&dump.replace(NAME, namespace.job.as_str())) {
        namespace.ask::<i64>(&command).await;
    }
    namespace
}

/// Sinks that count how often each result came.
fn results(namespace: &Namespace) -> impl Fn() -> MergeHash<String> + Clone + use<> {
    let (redis, job) = (namespace.redis.clone(), namespace.job.clone());
    move || {
        let job = job.clone();
        redis.merge_hash(move |result: &String| format!("{job}:{result}")).add("times", |_| 1)
    }
}

async fn go_on(namespace: &Namespace) -> rtbflow::Result<Vec<String>> {
    run_rest((namespace.job.as_str(), namespace.redis.clone()), results(namespace)).await?;
    let mut all = Vec::new();
    for key in keys(namespace, &namespace.key("*")).await {
        let times: usize = namespace.ask(&["HGET", &key, "times"]).await;
        let result = key.strip_prefix(&namespace.key("")).unwrap().to_owned();
        all.extend(std::iter::repeat_n(result, times));
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_build_has_stored_goes_on() {
    let expected = in_one_go().await;
    for (build, dump) in fixtures::stored(FOLDER) {
        let namespace = loaded(&dump).await;
        assert_eq!(go_on(&namespace).await.unwrap(), expected, "{build}");
        namespace.clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_build_stores_goes_on() {
    let namespace = Namespace::new("stores").await;
    run_half((namespace.job.as_str(), namespace.redis.clone()), results(&namespace)).await;
    let dump = dump(&namespace).await;
    namespace.clean().await;
    fixtures::store(FOLDER, ("txt", "#"), &dump);
    let namespace = loaded(&dump).await;
    assert_eq!(go_on(&namespace).await.unwrap(), in_one_go().await);
    namespace.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_state_of_which_a_byte_has_changed_is_refused() {
    for (_, dump) in fixtures::stored(FOLDER) {
        for operator in OPERATORS {
            let spoilt = fixtures::spoilt(&dump, &["RPUSH", &format!("{operator} 0x")]);
            let namespace = loaded(&spoilt).await;
            let report = go_on(&namespace).await.unwrap_err().report();
            assert!(report.contains(operator), "{report}");
            namespace.clean().await;
        }
    }
}
