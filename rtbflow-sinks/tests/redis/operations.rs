//! The vocabulary of operations, and the pipeline's own Lua.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use rtbflow::epoch::Anchor;
use rtbflow_sinks::redis::Operations;

use crate::namespace::{Namespace, stage};

/// Commits what the closure stages in one epoch.
async fn apply(namespace: &Namespace, apply: impl Fn(&Namespace, &mut Operations)) {
    let mut owner = namespace.claim(0).await;
    let staged = namespace.stage_with(apply);
    owner.write(staged).await;
}

#[tokio::test]
async fn every_operation_does_what_it_says() {
    let namespace = Namespace::new("operations").await;
    apply(&namespace, |namespace, to| {
        let (hash, other, set) =
            (namespace.key("hash"), namespace.key("other"), namespace.key("set"));
        to.increment(&hash, "n", 3)
            .increment(&hash, "n", -1)
            .set(&hash, &[("a", &1), ("b", &"x y")]);
        to.set(&other, &[("gone", &1)])
            .delete(&other)
            .set(&other, &[("kept", &"yes"), ("left", &1)]);
        to.remove_field(&other, "left").expire(&other, Duration::from_secs(60));
        to.add_member(&set, "m", 0.1).add_member(&set, "l", -2.5).add_member(&set, "k", 1e300);
        to.remove_member(&set, "l").add_member(&set, "m", 7.0);
        to.set_if_newer(namespace.key("v"), ("version", 9), &[("who", &"nine")]);
        to.set_if_newer(namespace.key("v"), ("version", 10), &[("who", &"ten")]);
        to.set_if_newer(namespace.key("v"), ("version", 9), &[("who", &"late")]);
    })
    .await;
    let hash = namespace.hash("hash").await;
    assert_eq!(
        hash.into_iter().collect::<Vec<_>>(),
        pairs(&[("a", "1"), ("b", "x y"), ("n", "2")])
    );
    let other = namespace.hash("other").await;
    assert_eq!(other.into_iter().collect::<Vec<_>>(), pairs(&[("kept", "yes")]));
    let left_ms: i64 = namespace.ask(&["PTTL", &namespace.key("other")]).await;
    assert!((1..=60_000).contains(&left_ms));
    let set: Vec<(String, f64)> =
        namespace.ask(&["ZRANGE", &namespace.key("set"), "0", "-1", "WITHSCORES"]).await;
    assert_eq!(set, [("m".to_owned(), 7.0), ("k".to_owned(), 1e300)]);
    let version = namespace.hash("v").await;
    assert_eq!(
        version.into_iter().collect::<Vec<_>>(),
        pairs(&[("version", "10"), ("who", "ten")])
    );
    namespace.clean().await;
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

/// What each of these records does, in an epoch of them all.
fn stage_each(
    namespace: &Namespace,
    records: &[&dyn Fn(&mut Operations)],
) -> Vec<rtbflow::sink::Staged> {
    let wanted: Vec<Mutex<Option<Operations>>> = records
        .iter()
        .map(|record| {
            let mut operations = Operations::default();
            record(&mut operations);
            Mutex::new(Some(operations))
        })
        .collect();
    let mut staged = Vec::new();
    for operations in wanted {
        let mut sink = namespace.redis.write(move |(): &(), to: &mut Operations| {
            *to = operations.lock().unwrap().take().unwrap();
        });
        staged.extend(stage(&mut sink, [()]));
    }
    staged
}

#[tokio::test]
async fn a_record_that_is_refused_is_left_out_whole_and_the_others_are_applied_once() {
    let namespace = Namespace::new("refused").await;
    namespace.ask::<()>(&["SET", &namespace.key("text"), "text"]).await;
    namespace.ask::<()>(&["HSET", &namespace.key("full"), "n", &i64::MAX.to_string()]).await;
    namespace.ask::<()>(&["HSET", &namespace.key("old"), "kept", "1"]).await;
    namespace.ask::<()>(&["PEXPIRE", &namespace.key("old"), "100000"]).await;
    namespace.ask::<()>(&["ZADD", &namespace.key("scores"), "1.5", "there"]).await;
    let key = |name: &str| namespace.key(name);
    let mut owner = namespace.claim(0).await;
    let staged = stage_each(
        &namespace,
        &[
            &|to| {
                to.increment(key("before"), "n", 1);
            },
            // What it does first is taken back.
            &|to| {
                to.set(key("old"), &[("new", &1), ("kept", &2)]).remove_field(key("old"), "kept");
                to.expire(key("old"), Duration::from_secs(1)).add_member(key("scores"), "m", 1.0);
                to.add_member(key("scores"), "there", 7.0).remove_member(key("scores"), "there");
                to.delete(key("full")).increment(key("text"), "n", 1);
            },
            &|to| {
                to.increment(key("made"), "n", 1).increment(key("full"), "n", 1);
            },
            &|to| {
                to.add_member(key("text"), "m", 1.0);
            },
            &|to| {
                to.add_member(key("set"), "m", f64::NAN);
            },
            &|to| {
                to.increment(key("after"), "n", 1);
            },
        ],
    );
    let refused = owner.commit_the_rest(owner.epoch(staged)).await;
    for name in ["before", "after"] {
        assert_eq!(namespace.hash(name).await["n"], "1");
    }
    assert_eq!(namespace.hash("full").await["n"], i64::MAX.to_string());
    assert_eq!(
        namespace.hash("old").await.into_iter().collect::<Vec<_>>(),
        pairs(&[("kept", "1")])
    );
    let left_ms: i64 = namespace.ask(&["PTTL", &key("old")]).await;
    assert!((90_000..=100_000).contains(&left_ms), "{left_ms}");
    let scores: Vec<(String, f64)> =
        namespace.ask(&["ZRANGE", &key("scores"), "0", "-1", "WITHSCORES"]).await;
    assert_eq!(scores, [("there".to_owned(), 1.5)]);
    assert_eq!(namespace.ask::<i64>(&["EXISTS", &key("made"), &key("set")]).await, 0);
    assert_eq!(refused.len(), 4, "{refused:?}");
    for (sign, operation, key) in [
        ("WRONGTYPE", "remove_member", key("text")),
        ("overflow", "increment", key("full")),
        ("WRONGTYPE", "add_member", key("text")),
        ("float", "add_member", key("set")),
    ] {
        let mut named = refused.iter().filter(|(_, result)| result.contains(operation));
        let found = named.any(|(reason, result)| reason.contains(sign) && result.contains(&key));
        assert!(found, "{sign} {key}: {refused:?}");
    }
    namespace.clean().await;
}

#[tokio::test]
async fn of_two_additions_of_which_one_fits_the_first_is_taken() {
    let namespace = Namespace::new("first-fits").await;
    let key = namespace.key("sum");
    namespace.ask::<()>(&["HSET", &key, "n", "10"]).await;
    let mut owner = namespace.claim(0).await;
    let mut sink = namespace.redis.write({
        let key = key.clone();
        move |by: &i64, to: &mut Operations| {
            to.increment(&key, "n", *by);
        }
    });
    let staged = stage(&mut sink, [i64::MAX - 12, 1, 5, 1, 2, 0]);
    assert_eq!(staged[0].rows, 6);
    let refused = owner.commit_the_rest(owner.epoch(staged)).await;
    let [(first, five), (second, two)] = &refused[..] else { panic!("{refused:?}") };
    assert!(first.contains("overflow") && second.contains("overflow"), "{refused:?}");
    assert!(five.contains("\"5\"") && two.contains("\"2\""), "{refused:?}");
    assert_eq!(namespace.hash("sum").await["n"], i64::MAX.to_string());
    namespace.clean().await;
}

#[tokio::test]
async fn nothing_is_refused_because_of_a_record_that_is() {
    let namespace = Namespace::new("because").await;
    let (sum, text) = (namespace.key("sum"), namespace.key("text"));
    namespace.ask::<()>(&["HSET", &sum, "n", &(i64::MAX - 5).to_string()]).await;
    namespace.ask::<()>(&["SET", &text, "text"]).await;
    let mut owner = namespace.claim(0).await;
    let mut sink =
        namespace.redis.write(move |(by, is_good): &(i64, bool), to: &mut Operations| {
            to.increment(&sum, "n", *by);
            if !is_good {
                to.increment(&text, "n", 1);
            }
        });
    let staged = stage(&mut sink, [(1, true), (4, false), (2, true), (3, false), (2, true)]);
    let refused = owner.commit_the_rest(owner.epoch(staged)).await;
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].1.contains("\"4\"") && refused[1].1.contains("\"3\""), "{refused:?}");
    assert_eq!(namespace.hash("sum").await["n"], i64::MAX.to_string());
    namespace.clean().await;
}

#[tokio::test]
async fn thousands_of_refused_records_are_all_reported() {
    let namespace = Namespace::new("many-refused").await;
    namespace.ask::<()>(&["SET", &namespace.key("text"), "text"]).await;
    let (text, sum) = (namespace.key("text"), namespace.key("sum"));
    let mut sink = namespace.redis.write(move |n: &usize, to: &mut Operations| {
        to.increment(if n.is_multiple_of(2) { &text } else { &sum }, &n.to_string(), 1);
    });
    let mut owner = namespace.claim(0).await;
    let staged = stage(&mut sink, 0..5_000);
    let refused = owner.commit_the_rest(owner.epoch(staged)).await;
    assert_eq!(refused.len(), 2_500);
    assert_eq!(namespace.ask::<usize>(&["HLEN", &namespace.key("sum")]).await, 2_500);
    namespace.clean().await;
}

#[tokio::test]
async fn the_pipelines_own_lua_runs_in_the_step() {
    let namespace = Namespace::new("lua").await;
    let prefix = namespace.prefix.clone();
    let best = "
        local held = redis.call('HGET', KEYS[1], 'score')
        if held and tonumber(held) >= tonumber(ARGV[2]) then return end
        redis.call('HSET', KEYS[1], 'who', ARGV[1], 'score', ARGV[2])";
    let mut owner = namespace.claim(0).await;
    let mut sink = namespace.redis.script("best", best, move |(who, score): &(&str, i64), call| {
        call.key(format!("{prefix}:best")).argument(who).argument(score);
    });
    owner.write(stage(&mut sink, [("a", 3), ("b", 7), ("c", 5)])).await;
    assert_eq!(
        namespace.hash("best").await.into_iter().collect::<Vec<_>>(),
        pairs(&[("score", "7"), ("who", "b")])
    );
    namespace.clean().await;
}

/// Everything that a function can write, of which nothing may be left.
const WRITES: &str = "
    local hash, set, scores, list, text, gone, made = unpack(KEYS)
    redis.call('HSET', hash, 'a', 2, 'b', 3)
    redis.call('hincrby', hash, 'n', 5)
    redis.call('HDEL', hash, 'n', 'a', 'b')
    redis.call('PEXPIRE', hash, 1)
    redis.call('SADD', set, 'x', 'y')
    redis.call('SREM', set, 'x')
    redis.call('ZADD', scores, 'XX', 'CH', 9, 'm')
    redis.call('ZADD', scores, 4, 'k', 5, 'l')
    redis.call('ZINCRBY', scores, 1, 'm')
    redis.call('ZREM', scores, 'm', 'k', 'l')
    redis.call('RPUSH', list, 'c', 'd')
    redis.call('LPUSH', list, 'z')
    redis.call('LPOP', list)
    redis.call('INCR', text)
    redis.call('SET', text, 'x', 'PX', 1)
    redis.call('DEL', gone, text)
    redis.call('SET', made, 1)
    redis.call('APPEND', made, 'x')
    redis.call('PUBLISH', 'news', 'nobody hears it')
    if ARGV[1] == 'error' then error('by hand') end
    if ARGV[1] == 'command' then redis.call('HSET', set, 'a', 'b') end
    if ARGV[1] == 'global' then unknown() end
    if ARGV[1] == 'reply' then return redis.error_reply('NO not that') end
    if ARGV[1] == 'caught' then return redis.pcall('HSET', set, 'a', 'b') end";

#[tokio::test]
async fn a_call_that_fails_leaves_nothing_behind_whatever_it_wrote() {
    let namespace = Namespace::new("lua-fails").await;
    let keys =
        ["hash", "set", "scores", "list", "text", "gone", "made"].map(|name| namespace.key(name));
    let [hash, set, scores, list, text, gone, made] = &keys;
    for words in [
        &["HSET", hash, "a", "1", "n", "7"][..],
        &["PEXPIRE", hash, "500000"],
        &["SADD", set, "x"],
        &["ZADD", scores, "0.1", "m"],
        &["RPUSH", list, "a", "b"],
        &["SET", text, "41"],
        &["PEXPIRE", text, "600000"],
        &["SET", gone, "here"],
    ] {
        namespace.ask::<redis::Value>(words).await;
    }
    let dump = async || -> (BTreeMap<String, String>, Vec<Option<Vec<u8>>>) {
        let mut all = Vec::new();
        // Fields of a hash may come back in another order.
        for key in &keys[1..] {
            all.push(namespace.ask(&["DUMP", key]).await);
        }
        (namespace.hash("hash").await, all)
    };
    let before = dump().await;
    let named = keys.clone();
    let mut sink = namespace.redis.script("steps", WRITES, move |word: &&str, call| {
        for key in &named {
            call.key(key);
        }
        call.argument(word);
    });
    let mut count = namespace.redis.script("count", "redis.call('INCR', KEYS[1])", {
        let key = namespace.key("count");
        move |(): &(), call| {
            call.key(&key);
        }
    });
    let mut owner = namespace.claim(0).await;
    let mut staged = stage(&mut count, [(), ()]);
    staged.extend(stage(&mut sink, ["error", "command", "global", "reply", "caught"]));
    let refused = owner.commit_the_rest(owner.epoch(staged)).await;
    assert_eq!(dump().await, before, "in order: {keys:?}");
    for (key, most) in [(hash, 500_000), (text, 600_000)] {
        let left_ms: i64 = namespace.ask(&["PTTL", key]).await;
        assert!((most - 50_000..=most).contains(&left_ms), "{key}: {left_ms}");
    }
    assert_eq!(namespace.ask::<i64>(&["EXISTS", made]).await, 0);
    assert_eq!(namespace.ask::<i64>(&["GET", &namespace.key("count")]).await, 2);
    let signs = ["by hand", "WRONGTYPE", "unknown", "NO not that", "WRONGTYPE"];
    assert_eq!(refused.len(), signs.len(), "{refused:?}");
    for ((reason, result), sign) in refused.iter().zip(signs) {
        assert!(reason.contains(sign) && result.contains("steps"), "{reason}: {result}");
    }
    // The same without a fault does it all.
    owner.write(stage(&mut sink, ["fine"])).await;
    assert_eq!(namespace.ask::<String>(&["GET", made]).await, "1x");
    assert_eq!(namespace.ask::<i64>(&["EXISTS", gone, text]).await, 0);
    assert_eq!(
        namespace.ask::<Vec<String>>(&["LRANGE", list, "0", "-1"]).await,
        ["a", "b", "c", "d"]
    );
    namespace.clean().await;
}

#[tokio::test]
async fn the_calls_of_an_epoch_share_a_table() {
    let namespace = Namespace::new("lua-epoch").await;
    let key = namespace.key("sum");
    let mut note = namespace.redis.script("note", "EPOCH.sum = (EPOCH.sum or 0) + ARGV[1]", {
        |n: &i64, call| {
            call.argument(n);
        }
    });
    let mut write = namespace.redis.script("write", "redis.call('RPUSH', KEYS[1], EPOCH.sum)", {
        move |(): &(), call| {
            call.key(&key);
        }
    });
    let mut owner = namespace.claim(0).await;
    for epoch in [&[1, 2, 3][..], &[10]] {
        let mut staged = stage(&mut note, epoch.iter().copied());
        staged.extend(stage(&mut write, [()]));
        owner.write(staged).await;
    }
    let sums: Vec<i64> = namespace.ask(&["LRANGE", &namespace.key("sum"), "0", "-1"]).await;
    assert_eq!(sums, [6, 10]);
    namespace.clean().await;
}

#[tokio::test]
async fn lua_that_does_not_compile_is_reported_by_name() {
    let namespace = Namespace::new("lua-broken").await;
    let _fine = namespace.redis.script("fine", "return 1", |(): &(), _| {});
    let mut broken = namespace.redis.script("broken", "retrun 1", |(): &(), _| {});
    let error = namespace.redis.prepare(&namespace.job).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("\"broken\""), "{error:?}");
    let mut owner = namespace.claim(0).await;
    let epoch = owner.epoch(stage(&mut broken, [()]));
    assert!(owner.commit(&epoch).await.unwrap_err().is_config());
    namespace.clean().await;
}

#[tokio::test]
async fn functions_that_come_later_join_those_that_run() {
    let namespace = Namespace::new("lua-later").await;
    let mut owner = namespace.claim(0).await;
    for number in 0..3_i64 {
        let key = namespace.key("sum");
        let body = format!("redis.call('HINCRBY', KEYS[1], 'n', {number})");
        let mut sink = namespace.redis.script("add", &body, move |(): &(), call| {
            call.key(&key);
        });
        owner.write(stage(&mut sink, [(), ()])).await;
    }
    assert_eq!(namespace.hash("sum").await["n"], "6");
    namespace.clean().await;
}
