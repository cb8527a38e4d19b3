//! The vocabulary of operations, and the pipeline's own Lua.

use std::time::Duration;

use rtbflow::epoch::Anchor;
use rtbflow_sinks::redis::Operations;

use crate::room::{Room, stage};

/// Commits what the closure stages in one epoch.
async fn apply(room: &Room, apply: impl Fn(&Room, &mut Operations)) {
    let mut owner = room.claim(0).await;
    let staged = room.stage_with(apply);
    owner.write(staged).await;
}

#[tokio::test]
async fn every_operation_does_what_it_says() {
    let room = Room::new("operations").await;
    apply(&room, |room, to| {
        let (hash, other, set) = (room.key("hash"), room.key("other"), room.key("set"));
        to.increment(&hash, "n", 3)
            .increment(&hash, "n", -1)
            .set(&hash, &[("a", &1), ("b", &"x y")]);
        to.set(&other, &[("gone", &1)])
            .delete(&other)
            .set(&other, &[("kept", &"yes"), ("left", &1)]);
        to.remove_field(&other, "left").expire(&other, Duration::from_secs(60));
        to.add_member(&set, "m", 0.1).add_member(&set, "l", -2.5).add_member(&set, "k", 1e300);
        to.remove_member(&set, "l").add_member(&set, "m", 7.0);
        to.set_if_newer(room.key("v"), ("version", 9), &[("who", &"nine")]);
        to.set_if_newer(room.key("v"), ("version", 10), &[("who", &"ten")]);
        to.set_if_newer(room.key("v"), ("version", 9), &[("who", &"late")]);
    })
    .await;
    let hash = room.hash("hash").await;
    assert_eq!(
        hash.into_iter().collect::<Vec<_>>(),
        pairs(&[("a", "1"), ("b", "x y"), ("n", "2")])
    );
    let other = room.hash("other").await;
    assert_eq!(other.into_iter().collect::<Vec<_>>(), pairs(&[("kept", "yes")]));
    let left_ms: i64 = room.ask(&["PTTL", &room.key("other")]).await;
    assert!((1..=60_000).contains(&left_ms));
    let set: Vec<(String, f64)> =
        room.ask(&["ZRANGE", &room.key("set"), "0", "-1", "WITHSCORES"]).await;
    assert_eq!(set, [("m".to_owned(), 7.0), ("k".to_owned(), 1e300)]);
    let version = room.hash("v").await;
    assert_eq!(
        version.into_iter().collect::<Vec<_>>(),
        pairs(&[("version", "10"), ("who", "ten")])
    );
    assert_eq!(room.rejected().await, Vec::<[String; 3]>::new());
    room.clean().await;
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[tokio::test]
async fn a_refused_operation_is_left_out_alone_and_once() {
    let room = Room::new("refused").await;
    room.ask::<()>(&["SET", &room.key("text"), "text"]).await;
    room.ask::<()>(&["HSET", &room.key("full"), "n", &i64::MAX.to_string()]).await;
    let mut owner = room.claim(0).await;
    let epoch = owner.epoch(room.stage_with(|room, to| {
        to.increment(room.key("before"), "n", 1);
        to.increment(room.key("text"), "n", 1);
        to.increment(room.key("full"), "n", 1);
        to.add_member(room.key("text"), "m", 1.0);
        to.add_member(room.key("set"), "m", f64::NAN);
        to.increment(room.key("after"), "n", 1);
    }));
    for _ in 0..3 {
        owner.commit(&epoch).await.unwrap();
    }
    for key in ["before", "after"] {
        assert_eq!(room.hash(key).await["n"], "1");
    }
    assert_eq!(room.hash("full").await["n"], i64::MAX.to_string());
    let refused = room.rejected().await;
    let keys = refused.iter().map(|[operation, key, _]| (operation.as_str(), key.as_str()));
    let (text, full, set) = (room.key("text"), room.key("full"), room.key("set"));
    assert_eq!(
        keys.collect::<Vec<_>>(),
        [
            ("increment", &*text),
            ("increment", &*full),
            ("add_member", &*text),
            ("add_member", &*set)
        ]
    );
    room.clean().await;
}

#[tokio::test]
async fn the_list_of_refused_operations_is_bounded() {
    let room = Room::new("bounded").await;
    room.ask::<()>(&["SET", &room.key("text"), "text"]).await;
    let mut owner = room.claim(0).await;
    for _ in 0..12 {
        let staged = room.stage_with(|room, to| {
            for n in 0..300 {
                to.increment(room.key("text"), &n.to_string(), 1);
            }
        });
        owner.write(staged).await;
    }
    assert_eq!(room.rejected().await.len(), 1_000);
    room.clean().await;
}

#[tokio::test]
async fn the_pipelines_own_lua_runs_in_the_step() {
    let room = Room::new("lua").await;
    let prefix = room.prefix.clone();
    let best = "
        local held = redis.call('HGET', KEYS[1], 'score')
        if held and tonumber(held) >= tonumber(ARGV[2]) then return end
        redis.call('HSET', KEYS[1], 'who', ARGV[1], 'score', ARGV[2])";
    let mut owner = room.claim(0).await;
    let mut sink = room.redis.script("best", best, move |(who, score): &(&str, i64), call| {
        call.key(format!("{prefix}:best")).argument(who).argument(score);
    });
    owner.write(stage(&mut sink, [("a", 3), ("b", 7), ("c", 5)])).await;
    assert_eq!(
        room.hash("best").await.into_iter().collect::<Vec<_>>(),
        pairs(&[("score", "7"), ("who", "b")])
    );
    room.clean().await;
}

#[tokio::test]
async fn a_failing_call_keeps_what_it_wrote_and_does_not_stop_the_others() {
    let room = Room::new("lua-fails").await;
    let key = room.key("log");
    let body = "
        redis.call('RPUSH', KEYS[1], ARGV[1])
        if ARGV[1] == 'error' then error('by hand') end
        if ARGV[1] == 'command' then redis.call('HSET', KEYS[1], 'a', 'b') end
        if ARGV[1] == 'global' then unknown() end
        if ARGV[1] == 'reply' then return redis.error_reply('NO not that') end
        redis.call('RPUSH', KEYS[1], 'done')";
    let mut sink = room.redis.script("steps", body, move |word: &&str, call| {
        call.key(&key).argument(word);
    });
    let mut owner = room.claim(0).await;
    let words = ["first", "error", "command", "global", "reply", "last"];
    let epoch = owner.epoch(stage(&mut sink, words));
    for _ in 0..2 {
        owner.commit(&epoch).await.unwrap();
    }
    let log: Vec<String> = room.ask(&["LRANGE", &room.key("log"), "0", "-1"]).await;
    assert_eq!(log, ["first", "done", "error", "command", "global", "reply", "last", "done"]);
    let refused = room.rejected().await;
    for (entry, sign) in refused.iter().zip(["by hand", "WRONGTYPE", "unknown", "NO not that"]) {
        assert!(
            entry[0] == "script" && entry[1] == "steps" && entry[2].contains(sign),
            "{entry:?}"
        );
    }
    assert_eq!(refused.len(), 4);
    room.clean().await;
}

#[tokio::test]
async fn lua_that_does_not_compile_is_told_by_name() {
    let room = Room::new("lua-broken").await;
    let _fine = room.redis.script("fine", "return 1", |(): &(), _| {});
    let mut broken = room.redis.script("broken", "retrun 1", |(): &(), _| {});
    let error = room.redis.prepare(&room.job).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("\"broken\""), "{error:?}");
    let mut owner = room.claim(0).await;
    let epoch = owner.epoch(stage(&mut broken, [()]));
    assert!(owner.commit(&epoch).await.unwrap_err().is_config());
    room.clean().await;
}

#[tokio::test]
async fn functions_that_come_later_join_those_that_run() {
    let room = Room::new("lua-later").await;
    let mut owner = room.claim(0).await;
    for number in 0..3_i64 {
        let key = room.key("sum");
        let body = format!("redis.call('HINCRBY', KEYS[1], 'n', {number})");
        let mut sink = room.redis.script("add", &body, move |(): &(), call| {
            call.key(&key);
        });
        owner.write(stage(&mut sink, [(), ()])).await;
    }
    assert_eq!(room.hash("sum").await["n"], "6");
    room.clean().await;
}
