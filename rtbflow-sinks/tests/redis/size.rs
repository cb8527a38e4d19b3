//! Epochs of ten thousand operations.

use rtbflow_sinks::redis::Redis;

use crate::namespace::{Namespace, Owner, stage};

const COUNT: usize = 10_000;

async fn timed(what: &str, owner: &mut Owner, staged: Vec<rtbflow::sink::Staged>) {
    let epoch = owner.epoch(staged);
    let begin = tokio::time::Instant::now();
    owner.commit(&epoch).await.unwrap();
    let took = begin.elapsed();
    println!("{what}: {COUNT} in {took:?}, {:?} each", took / u32::try_from(COUNT).unwrap());
}

#[tokio::test]
async fn ten_thousand_merges_are_one_epoch() {
    let namespace = Namespace::new("size").await;
    let mut owner = namespace.claim(0).await;
    let (own, newest) = (namespace.prefix.clone(), namespace.prefix.clone());
    let mut sink = namespace
        .redis
        .merge_hash(move |n: &usize| format!("{own}:{n}:2024-01-15T10:30:00Z"))
        .add("impressions", |n| i64::try_from(*n).unwrap())
        .add("clicks", |_| 1)
        .add("conversions", |_| 0)
        .add("cost", |_| 1200)
        .add("revenue", |_| 0)
        .ratio("ctr", "clicks", "impressions", 6)
        .ratio("cvr", "conversions", "clicks", 6)
        .set("window_start", |_| "2024-01-15T10:30:00Z")
        .set("window_end", |_| "2024-01-15T10:35:00Z")
        .newest(move |n| format!("{newest}:{n}"), "window_start")
        .expire(std::time::Duration::from_hours(48));
    for what in ["merge_hash into new keys", "merge_hash into keys that are there"] {
        let staged = stage(&mut sink, 0..COUNT);
        timed(what, &mut owner, staged).await;
    }
    let last = namespace.hash(&format!("{}", COUNT - 1)).await;
    assert_eq!((last["impressions"].as_str(), last["clicks"].as_str()), ("19998", "2"));
    assert_eq!(last.len(), 9);
    namespace.clean().await;
}

#[tokio::test]
async fn ten_thousand_increments_are_one_epoch() {
    let namespace = Namespace::new("size-increments").await;
    let mut owner = namespace.claim(0).await;
    let staged = namespace.stage_with(|namespace, to| {
        for n in 0..COUNT {
            to.increment(namespace.key(&format!("{}", n % 100)), &n.to_string(), 1);
        }
    });
    timed("increment", &mut owner, staged).await;
    let sums: Vec<i64> = namespace.ask(&["HVALS", &namespace.key("7")]).await;
    assert_eq!(sums, [1; COUNT / 100]);

    let key = namespace.key("calls");
    let body = "redis.call('HINCRBY', KEYS[1], ARGV[1], 1)";
    let mut sink = Redis::script(&namespace.redis, "count", body, move |n: &usize, call| {
        call.key(&key).argument(n % 100);
    });
    let staged = stage(&mut sink, 0..COUNT);
    timed("script", &mut owner, staged).await;
    assert_eq!(namespace.hash("calls").await["7"], "100");
    namespace.clean().await;
}
