//! A user with exactly the rights that are listed, and with each of them taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rtbflow::epoch::{Anchor, Epoch, Verdict};
use rtbflow::sink::Staged;
use rtbflow::state::{BucketChange, Chunk};
use rtbflow_sinks::redis::{MERGE_HASH, OWN_KEYS, Pattern, Redis, WRITE};

use crate::namespace::{Namespace, Owner, stage};
use crate::server::PrivateServer;

/// What is needed beside the commands on keys.
const CONNECTING: [&str; 3] = ["evalsha", "script|load", "info"];

/// A server with a user `job`, and a namespace that it works in.
struct Stage {
    _server: PrivateServer,
    namespace: Namespace,
}

/// All commands on keys that are listed, in small letters.
fn listed() -> BTreeSet<String> {
    let all = OWN_KEYS.iter().chain(MERGE_HASH).chain(WRITE);
    all.map(|command| command.to_lowercase()).collect()
}

impl Stage {
    async fn new(what: &str) -> Self {
        let server = PrivateServer::start(&[]).await;
        let reached = server.url().replace("redis://", "redis://job:secret@");
        // The results of a namespace begin with its name, which is not known yet; so with what it begins with.
        let prefix = format!("test-{what}-");
        let redis = Redis::connect_to(reached).uses(&prefix, MERGE_HASH).uses(&prefix, WRITE);
        let namespace = Namespace::over(redis.build().unwrap(), &server.url(), what).await;
        let stage = Self { _server: server, namespace };
        stage.allow(&["reset", "on", ">secret", "~rtbflow:*", &format!("~{prefix}*")]).await;
        for command in listed().iter().map(String::as_str).chain(CONNECTING) {
            stage.allow(&[&format!("+{command}")]).await;
        }
        stage
    }

    async fn allow(&self, rules: &[&str]) {
        let words = [&["ACL", "SETUSER", "job"], rules].concat();
        self.namespace.ask::<()>(&words).await;
    }

    /// What an epoch stages: every operation, a merge with a copy of the newest, and of state every change.
    fn epoch(&self, owner: &Owner) -> Epoch {
        let namespace = &self.namespace;
        let mut staged = namespace.stage_with(|namespace, to| {
            let (hash, scores) = (namespace.key("hash"), namespace.key("scores"));
            to.increment(&hash, "n", 1).set(&hash, &[("a", &1)]).remove_field(&hash, "a");
            to.set_if_newer(&hash, ("version", 1), &[]).expire(&hash, Duration::from_hours(1));
            to.add_member(&scores, "m", 1.0).add_member(&scores, "l", 1.0);
            to.remove_member(&scores, "l")
                .set(namespace.key("gone"), &[("a", &1)])
                .delete(namespace.key("gone"));
        });
        staged.extend(self.merges());
        let chunk = |bucket, change| Chunk { operator: "windows".into(), bucket, change };
        let chunks = vec![
            chunk(1, BucketChange::Append("a".into())),
            chunk(2, BucketChange::Replace("b".into())),
            chunk(3, BucketChange::Append("c".into())),
            chunk(3, BucketChange::Drop),
        ];
        let mut epoch = owner.epoch(staged);
        epoch.chunks = chunks;
        epoch
    }

    fn merges(&self) -> Vec<Staged> {
        let (own, newest) = (self.namespace.key("window"), self.namespace.key("newest"));
        let mut sink = self
            .namespace
            .redis
            .merge_hash(move |(): &()| own.clone())
            .add("n", |()| 1)
            .add("large", |()| 1_i64 << 53)
            .set("start", |()| 7)
            .ratio("ratio", "n", "large", 2)
            .newest(move |()| newest.clone(), "start")
            .expire(Duration::from_hours(1));
        stage(&mut sink, [()])
    }

    /// Every key, other than when it ends.
    async fn contents(&self) -> BTreeMap<String, Vec<String>> {
        let mut contents = BTreeMap::new();
        for key in self.namespace.ask::<Vec<String>>(&["KEYS", "*"]).await {
            let words: &[&str] = match &*self.namespace.ask::<String>(&["TYPE", &key]).await {
                "hash" => &["HGETALL", &key],
                "zset" => &["ZRANGE", &key, "0", "-1", "WITHSCORES"],
                "list" => &["LRANGE", &key, "0", "-1"],
                "set" => &["SMEMBERS", &key],
                _ => &["GET", &key],
            };
            let mut held: Vec<String> = self.namespace.ask(words).await;
            if words[0] == "HGETALL" {
                let mut fields: Vec<String> = held.chunks(2).map(|pair| pair.join("=")).collect();
                fields.sort();
                held = fields;
            }
            contents.insert(key, held);
        }
        contents
    }

    /// What everything holds after this many epochs.
    async fn holds(&self, epochs: usize) {
        let namespace = &self.namespace;
        assert_eq!(namespace.hash("hash").await["n"], epochs.to_string());
        for key in ["window", "newest"] {
            let held = namespace.hash(key).await;
            assert_eq!(held["n"], epochs.to_string(), "{key}");
            assert_eq!(held["large"], ((1_u64 << 53) * epochs as u64).to_string(), "{key}");
        }
        let log = format!("rtbflow:{}:state:0/4:1:windows", namespace.job);
        assert_eq!(namespace.ask::<usize>(&["LLEN", &log]).await, epochs);
    }
}

#[tokio::test]
async fn the_listed_rights_are_enough() {
    let stage = Stage::new("rights").await;
    let namespace = &stage.namespace;
    namespace.redis.prepare(&namespace.job).await.unwrap();
    let mut owner = namespace.claim(0).await;
    for epochs in 1..=3 {
        let epoch = stage.epoch(&owner);
        assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
        stage.holds(epochs).await;
    }
    let page = namespace.redis.restore(&namespace.job, owner.task, None).await.unwrap();
    assert_eq!(page.chunks.len(), 4);
    // What is refused for what it is can be taken back with them.
    let before = stage.contents().await;
    namespace.ask::<()>(&["SET", &namespace.key("text"), "text"]).await;
    let mut epoch = stage.epoch(&owner);
    epoch.staged.extend(namespace.stage_with(|namespace, to| {
        to.increment(namespace.key("text"), "n", 1);
    }));
    assert_eq!(owner.commit(&epoch).await.unwrap_err().refusals().len(), 1);
    namespace.ask::<()>(&["DEL", &namespace.key("text")]).await;
    assert_eq!(stage.contents().await, before);
    // To forget a job is no part of its work.
    stage.allow(&["+srandmember", "+scard", "+scan", "+hexists"]).await;
    let results = [Pattern::hashes(format!("{}*", namespace.prefix))];
    assert_eq!(namespace.redis.forget_with(&namespace.job, &results).await.unwrap(), 3);
    let left: Vec<String> = namespace.ask(&["KEYS", "rtbflow:*"]).await;
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn the_example_in_the_readme_lists_what_is_needed() {
    let readme = include_str!("../../README.md");
    let (_, example) = readme.split_once("ACL SETUSER performance").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let named: BTreeSet<&str> =
        example.split_whitespace().filter_map(|rule| rule.strip_prefix('+')).collect();
    let needed = OWN_KEYS.iter().chain(MERGE_HASH).map(|command| command.to_lowercase());
    let needed: Vec<String> = needed.chain(CONNECTING.map(str::to_owned)).collect();
    let mut needed: BTreeSet<&str> = needed.iter().map(String::as_str).collect();
    needed.insert("select");
    assert_eq!(named, needed);
}

#[tokio::test]
async fn each_right_that_is_missing_is_named_at_the_start() {
    let stage = Stage::new("missing").await;
    let namespace = &stage.namespace;
    for command in listed() {
        stage.allow(&[&format!("-{command}")]).await;
        let error = namespace.redis.prepare(&namespace.job).await.unwrap_err();
        let text = error.to_string();
        assert!(error.is_config(), "{command}: {error:?}");
        assert!(
            text.contains(&command.to_uppercase()) && text.contains("ACL SETUSER job"),
            "{text}"
        );
        // What it says is enough.
        for grant in text.split("ACL SETUSER job ").skip(1) {
            let rules: Vec<&str> = grant.trim_end_matches("; ").split(' ').collect();
            stage.allow(&rules).await;
        }
        namespace.redis.prepare(&namespace.job).await.unwrap();
    }
    stage.allow(&["resetkeys", "~rtbflow:*"]).await;
    let error = namespace.redis.prepare(&namespace.job).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("HSET"), "{error:?}");
    assert!(error.to_string().contains("begin with test-missing-"), "{error:?}");
    assert!(!error.report().contains("secret"), "{error:?}");
    assert_eq!(stage.contents().await, BTreeMap::new(), "looking changes nothing");
}

#[tokio::test]
async fn rights_that_are_taken_away_are_waited_for_and_nothing_is_lost() {
    let stage = Stage::new("taken").await;
    let namespace = &stage.namespace;
    let mut owner = namespace.claim(0).await;
    let first = stage.epoch(&owner);
    owner.commit(&first).await.unwrap();
    let keys = ["resetkeys", "~rtbflow:*"];
    let all = ["resetkeys", "~rtbflow:*", "~test-*"];
    let mut changes: Vec<(Vec<String>, Vec<String>)> = listed()
        .iter()
        .map(String::as_str)
        .chain(["evalsha"])
        .map(|command| (vec![format!("-{command}")], vec![format!("+{command}")]))
        .collect();
    changes.push((keys.map(str::to_owned).to_vec(), all.map(str::to_owned).to_vec()));
    let mut refused = 0;
    for (number, (take, give)) in changes.iter().enumerate() {
        let before = stage.contents().await;
        let epoch = stage.epoch(&owner);
        stage.allow(&take.iter().map(String::as_str).collect::<Vec<_>>()).await;
        match owner.commit(&epoch).await {
            // Not every command is needed for every epoch.
            Ok(verdict) => assert_eq!(verdict, Verdict::COMMITTED),
            Err(error) => {
                assert!(error.is_transient(), "{take:?}: {error:?}");
                assert!(error.report().contains("allow the user"), "{take:?}: {error:?}");
                assert_eq!(stage.contents().await, before, "{take:?}");
                refused += 1;
            }
        }
        stage.allow(&give.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED, "{give:?}");
        owner.at = epoch.advances[0].to;
        stage.holds(number + 2).await;
    }
    assert!(refused > 20, "only {refused} of {} were missed", changes.len());
}

#[tokio::test]
async fn a_command_that_the_server_does_not_know_is_no_fault_of_a_record() {
    let server = PrivateServer::start(&["--rename-command", "ZADD", ""]).await;
    let redis = Redis::connect_to(server.url()).build().unwrap();
    let namespace = Namespace::over(redis, &server.url(), "unknown").await;
    let mut owner = namespace.claim(0).await;
    let epoch = owner.epoch(namespace.stage_with(|namespace, to| {
        to.increment(namespace.key("hash"), "n", 1).add_member(namespace.key("scores"), "m", 1.0);
    }));
    let error = owner.commit(&epoch).await.unwrap_err();
    assert!(error.is_config() && error.refusals().is_empty(), "{error:?}");
    assert!(error.report().contains("ZADD") && error.report().contains("rename"), "{error:?}");
    assert!(namespace.hash("hash").await.is_empty(), "nothing of it is left");
}

#[tokio::test]
async fn a_first_commit_without_rights_is_a_configuration_error_and_moves_nothing() {
    let stage = Stage::new("first").await;
    let namespace = &stage.namespace;
    let mut owner = namespace.claim(0).await;
    stage.allow(&["resetkeys", "~rtbflow:*"]).await;
    let before = stage.contents().await;
    let epoch = stage.epoch(&owner);
    let error = owner.commit(&epoch).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains(&namespace.key("hash")), "{error:?}");
    assert_eq!(stage.contents().await, before);
    stage.allow(&["~test-first-*"]).await;
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    stage.holds(1).await;
}
