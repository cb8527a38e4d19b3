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
use crate::room::Room;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/stored");
/// What stands for the name of the job, with which the keys of the results begin as well.
const NAME: &str = "{name}";

async fn keys(room: &Room, pattern: &str) -> Vec<String> {
    let mut keys: Vec<String> = room.ask(&["KEYS", pattern]).await;
    keys.sort_unstable();
    keys
}

/// All that lies in the place, as commands.
async fn dump(room: &Room) -> String {
    let mut dump = String::new();
    for key in keys(room, &format!("*{}:*", room.job)).await {
        let name = key.replace(room.job.as_str(), NAME);
        let kind: String = room.ask(&["TYPE", &key]).await;
        let (read, write, size): (&[&str], &str, usize) = match &*kind {
            "hash" => (&["HGETALL", &key], "HSET", 2),
            "list" => (&["LRANGE", &key, "0", "-1"], "RPUSH", 1),
            "set" => (&["SMEMBERS", &key], "SADD", 1),
            "zset" => (&["ZRANGE", &key, "0", "-1", "WITHSCORES"], "ZADD", 2),
            _ => panic!("{key} is a {kind}"),
        };
        let words: Vec<Vec<u8>> = room.ask(read).await;
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

/// A room in which all that lies that was stored.
async fn loaded(dump: &str) -> Room {
    let room = Room::new("stored").await;
    for command in lines(&dump.replace(NAME, room.job.as_str())) {
        room.ask::<i64>(&command).await;
    }
    room
}

/// Sinks that count how often each result came.
fn results(room: &Room) -> impl Fn() -> MergeHash<String> + Clone + use<> {
    let (redis, job) = (room.redis.clone(), room.job.clone());
    move || {
        let job = job.clone();
        redis.merge_hash(move |result: &String| format!("{job}:{result}")).add("times", |_| 1)
    }
}

async fn go_on(room: &Room) -> rtbflow::Result<Vec<String>> {
    run_rest((room.job.as_str(), room.redis.clone()), results(room)).await?;
    let mut all = Vec::new();
    for key in keys(room, &room.key("*")).await {
        let times: usize = room.ask(&["HGET", &key, "times"]).await;
        let result = key.strip_prefix(&room.key("")).unwrap().to_owned();
        all.extend(std::iter::repeat_n(result, times));
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_build_has_stored_goes_on() {
    let expected = in_one_go().await;
    for (build, dump) in fixtures::stored(FOLDER) {
        let room = loaded(&dump).await;
        assert_eq!(go_on(&room).await.unwrap(), expected, "{build}");
        room.clean().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_build_stores_goes_on() {
    let room = Room::new("stores").await;
    run_half((room.job.as_str(), room.redis.clone()), results(&room)).await;
    let dump = dump(&room).await;
    room.clean().await;
    fixtures::store(FOLDER, ("txt", "#"), &dump);
    let room = loaded(&dump).await;
    assert_eq!(go_on(&room).await.unwrap(), in_one_go().await);
    room.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_state_of_which_a_byte_has_changed_is_refused() {
    for (_, dump) in fixtures::stored(FOLDER) {
        for operator in OPERATORS {
            let spoilt = fixtures::spoilt(&dump, &["RPUSH", &format!("{operator} 0x")]);
            let room = loaded(&spoilt).await;
            let report = go_on(&room).await.unwrap_err().report();
            assert!(report.contains(operator), "{report}");
            room.clean().await;
        }
    }
}
