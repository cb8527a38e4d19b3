//! Partials merged into hashes, against a model.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rtbflow::Timestamp;
use rtbflow::sink::{Sink, Staged};
use rtbflow_sinks::redis::{MergeHash, Redis};

use crate::namespace::{Namespace, stage};

const FIVE_MINUTES: i64 = 300_000;
const TIME_TO_LIVE: Duration = Duration::from_hours(48);

/// A partial of a window, as each partition hands it over.
#[derive(Debug, Clone)]
struct Window {
    campaign: String,
    window: i64,
    impressions: i64,
    clicks: i64,
    cost: i64,
}

impl Window {
    fn new(campaign: &str, window: i64, impressions: i64, clicks: i64, cost: i64) -> Self {
        Self { campaign: campaign.into(), window, impressions, clicks, cost }
    }

    fn start(&self) -> Timestamp {
        Timestamp::from_millis(1_705_314_600_000 + self.window * FIVE_MINUTES)
    }
}

fn performance(redis: &Redis, prefix: &str) -> MergeHash<Window> {
    let (own, newest) = (prefix.to_owned(), prefix.to_owned());
    redis
        .merge_hash(move |w: &Window| format!("{own}:{}:{}", w.campaign, w.start()))
        .add("impressions", |w| w.impressions)
        .add("clicks", |w| w.clicks)
        .add("cost", |w| w.cost)
        .ratio("ctr", "clicks", "impressions", 6)
        .set("window_start", Window::start)
        .set("window_end", |w| w.start() + Duration::from_millis(300_000))
        .newest(move |w| format!("{newest}:{}", w.campaign), "window_start")
        .expire(TIME_TO_LIVE)
}

/// What all keys below the prefix must hold.
fn model(windows: &[Window]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sums: BTreeMap<(String, i64), Window> = BTreeMap::new();
    for window in windows {
        sums.entry((window.campaign.clone(), window.window))
            .and_modify(|sum| {
                sum.impressions += window.impressions;
                sum.clicks += window.clicks;
                sum.cost += window.cost;
            })
            .or_insert_with(|| window.clone());
    }
    let mut keys = BTreeMap::new();
    for sum in sums.into_values() {
        let ctr = match sum.impressions {
            0 => 0.0,
            #[expect(clippy::cast_precision_loss, reason = "the numbers of this test are small")]
            some => sum.clicks as f64 / some as f64,
        };
        let hash = BTreeMap::from([
            ("impressions".to_owned(), sum.impressions.to_string()),
            ("clicks".to_owned(), sum.clicks.to_string()),
            ("cost".to_owned(), sum.cost.to_string()),
            ("ctr".to_owned(), format!("{ctr:.6}")),
            ("window_start".to_owned(), sum.start().to_string()),
            ("window_end".to_owned(), (sum.start() + Duration::from_mins(5)).to_string()),
        ]);
        // Windows come in ascending order: the last one is the newest.
        keys.insert(sum.campaign.clone(), hash.clone());
        keys.insert(format!("{}:{}", sum.campaign, sum.start()), hash);
    }
    keys
}

async fn all_hashes(namespace: &Namespace) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let keys: Vec<String> = namespace.ask(&["KEYS", &format!("{}:*", namespace.prefix)]).await;
    for key in keys {
        let name = key[namespace.prefix.len() + 1..].to_owned();
        let left_ms: i64 = namespace.ask(&["PTTL", &key]).await;
        assert!((170_000_000..=172_800_000).contains(&left_ms), "{name} expires in {left_ms} ms");
        found.insert(name.clone(), namespace.hash(&name).await);
    }
    found
}

/// Commits each group of partials in an epoch of its own, in turn by three tasks, some of them twice.
async fn check(groups: Vec<Vec<Window>>) {
    let namespace = Namespace::new("merge").await;
    let mut owners = Vec::new();
    for number in 0..3 {
        owners.push((
            namespace.claim(number).await,
            performance(&namespace.redis, &namespace.prefix),
        ));
    }
    for (number, group) in groups.iter().enumerate() {
        let (owner, sink) = &mut owners[number % 3];
        let epoch = owner.epoch(stage(sink, group.clone()));
        for _ in 0..=number % 2 {
            owner.commit(&epoch).await.unwrap();
        }
    }
    assert_eq!(all_hashes(&namespace).await, model(&groups.concat()));
    namespace.clean().await;
}

fn windows() -> impl Strategy<Value = Window> {
    let campaign = prop::sample::select(vec!["a", "b", "한 글"]);
    (campaign, 0..4_i64, 0..1000_i64, 0..50_i64, 0..1_000_000_i64)
        .prop_map(|(campaign, window, i, c, cost)| Window::new(campaign, window, i, c, cost))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_grouping_of_partials_gives_the_same_hashes(
        groups in prop::collection::vec(prop::collection::vec(windows(), 0..8), 1..10)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(groups));
    }
}

#[tokio::test]
async fn the_newest_is_never_replaced_by_an_older_one() {
    let namespace = Namespace::new("newest").await;
    let mut owner = namespace.claim(0).await;
    let mut sink = performance(&namespace.redis, &namespace.prefix);
    for (window, newest, impressions) in
        [(5, 5, "10"), (3, 5, "10"), (5, 5, "20"), (6, 6, "10"), (5, 6, "10"), (6, 6, "20")]
    {
        owner.write(stage(&mut sink, [Window::new("a", window, 10, 1, 1)])).await;
        let expected = Window::new("a", newest, 0, 0, 0).start().to_string();
        let held = namespace.hash("a").await;
        assert_eq!((&held["window_start"], held["impressions"].as_str()), (&expected, impressions));
        assert_eq!(held, namespace.hash(&format!("a:{expected}")).await);
    }
    namespace.clean().await;
}

#[tokio::test]
async fn guards_are_compared_by_what_they_mean() {
    let namespace = Namespace::new("guards").await;
    let mut owner = namespace.claim(0).await;
    let guards = [
        // Each is newer than the one before.
        "-10",
        "-9",
        "0",
        "7",
        "10",
        "9007199254740992",
        "9007199254740993",
        "99999999999999999999",
    ];
    let times = [
        "0999-12-31T23:59:59Z",
        "2024-01-15T10:30:00Z",
        "2024-01-15T10:30:00.001Z",
        "2024-01-15T10:30:00.500Z",
        "2024-01-15T10:30:01Z",
        "9999-12-31T23:59:59.999Z",
        "10000-01-01T00:00:00Z",
    ];
    for ascending in [&guards[..], &times[..]] {
        for pair in ascending.windows(2) {
            let (own, newest) = (namespace.key("own"), namespace.key("newest"));
            let mut sink = namespace
                .redis
                .merge_hash(move |guard: &&'static str| format!("{own}:{guard}"))
                .set("guard", |guard| *guard)
                .newest(move |_| newest.clone(), "guard");
            for guard in [pair[1], pair[0]] {
                owner.write(stage(&mut sink, [guard])).await;
                assert_eq!(namespace.hash("newest").await["guard"], pair[1]);
            }
            namespace.ask::<()>(&["DEL", &namespace.key("newest")]).await;
            for guard in pair {
                owner.write(stage(&mut sink, [*guard])).await;
                assert_eq!(namespace.hash("newest").await["guard"], *guard);
            }
            namespace.ask::<()>(&["DEL", &namespace.key("newest")]).await;
        }
    }
    namespace.clean().await;
}

#[tokio::test]
async fn sums_are_exact_beyond_what_a_lua_number_can_tell() {
    let namespace = Namespace::new("exact").await;
    let mut owner = namespace.claim(0).await;
    let mut sink = performance(&namespace.redis, &namespace.prefix);
    let start = Window::new("a", 0, 0, 0, 0).start();
    let beyond = (1_i64 << 53) + 1;
    for expected in [beyond, 2 * beyond, 3 * beyond] {
        owner.write(stage(&mut sink, [Window::new("a", 0, 3, 1, beyond)])).await;
        for key in ["a".to_owned(), format!("a:{start}")] {
            assert_eq!(namespace.hash(&key).await["cost"], expected.to_string());
        }
    }
    owner.write(stage(&mut sink, [Window::new("a", 0, 0, 0, i64::MAX - 3 * beyond)])).await;
    assert_eq!(namespace.hash("a").await["cost"], i64::MAX.to_string());
    assert_eq!(namespace.hash("a").await["ctr"], "0.333333");
    namespace.clean().await;
}

/// Commits an epoch in which the middle one of three merges is refused; returns why, and the dead letter.
async fn refused_in_the_middle(namespace: &Namespace, middle: Window) -> (String, String) {
    let mut owner = namespace.claim(1).await;
    let mut sink = performance(&namespace.redis, &namespace.prefix);
    let windows = [Window::new("first", 0, 1, 1, 1), middle, Window::new("last", 0, 1, 1, 1)];
    let staged: Vec<Staged> = stage(&mut sink, windows);
    let mut refused = owner.commit_the_rest(owner.epoch(staged)).await;
    for key in ["first", "last"] {
        assert_eq!(namespace.hash(key).await["impressions"], "1", "{key} was merged once");
    }
    assert_eq!(refused.len(), 1, "one is refused, once: {refused:?}");
    refused.remove(0)
}

#[tokio::test]
async fn a_sum_that_overflows_leaves_the_whole_hash_as_it_was() {
    let namespace = Namespace::new("overflow").await;
    let mut owner = namespace.claim(0).await;
    let mut sink = performance(&namespace.redis, &namespace.prefix);
    owner.write(stage(&mut sink, [Window::new("middle", 0, 7, 3, i64::MAX)])).await;
    let own = format!("middle:{}", Window::new("middle", 0, 0, 0, 0).start());
    let before = [namespace.hash(&own).await, namespace.hash("middle").await];
    assert_eq!(before[0]["impressions"], "7");
    let (reason, result) =
        refused_in_the_middle(&namespace, Window::new("middle", 0, 1, 1, 1)).await;
    assert_eq!([namespace.hash(&own).await, namespace.hash("middle").await], before);
    assert!(reason.contains("overflow"), "{reason}");
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!((&result["impressions"], &result["cost"]), (&1.into(), &1.into()), "{result}");
    namespace.clean().await;
}

#[test]
fn a_partial_that_is_itself_beyond_64_bits_is_refused_whole() {
    let redis = Redis::connect_to("redis://127.0.0.1:1").build().unwrap();
    let sink = redis
        .merge_hash(|(key, _): &(&'static str, i128)| (*key).to_owned())
        .add("cost", |(_, cost)| *cost)
        .add("clicks", |_| 2_u64)
        .set("a \"name\"", |(key, _)| *key);
    let of = |cost| rtbflow::Record::derived(("k", cost), Timestamp::default());
    assert_eq!(sink.check(&of(i64::MAX.into())), Ok(()));
    let beyond = of(i128::from(i64::MAX) + 1);
    let reason = sink.check(&beyond).unwrap_err();
    assert_eq!(reason.reason(), "it adds 9223372036854775808 to cost, which is beyond 64 bits");
    let refused = sink.result(&beyond);
    let expected = r#"{"cost":9223372036854775808,"clicks":2,"a \"name\"":"k"}"#;
    assert_eq!(refused.value.as_deref(), Some(expected.as_bytes()));
    assert_eq!(refused.key.as_deref(), Some(b"k".as_slice()));
}

#[tokio::test]
async fn of_two_merges_of_which_one_fits_the_first_is_taken() {
    let namespace = Namespace::new("overflow-second").await;
    let mut owner = namespace.claim(0).await;
    let mut sink = performance(&namespace.redis, &namespace.prefix);
    let most = i64::MAX - 3;
    let windows = [(1, 2), (2, 1), (3, 1), (4, 0)].map(|(n, cost)| Window::new("a", 0, n, 0, cost));
    owner.write(stage(&mut sink, [Window::new("a", 0, 0, 0, most)])).await;
    let staged = stage(&mut sink, windows);
    assert_eq!(staged[0].rows, 4);
    let refused = owner.commit_the_rest(owner.epoch(staged)).await;
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].1.contains("\"impressions\":3"), "{refused:?}");
    let held = namespace.hash("a").await;
    assert_eq!((&*held["impressions"], &*held["cost"]), ("7", &*i64::MAX.to_string()));
    namespace.clean().await;
}

#[tokio::test]
async fn a_first_merge_that_is_refused_leaves_no_key() {
    let namespace = Namespace::new("overflow-first").await;
    let mut owner = namespace.claim(0).await;
    let windows = [Window::new("a", 0, 5, 5, i64::MAX), Window::new("a", 0, 0, 0, 1)];
    let mut sink = performance(&namespace.redis, &namespace.prefix);
    let staged = stage(&mut sink, windows);
    let refused = owner.commit_the_rest(owner.epoch(staged)).await;
    assert_eq!(refused.len(), 1, "a sum that does not fit is left to the place: {refused:?}");
    assert_eq!(namespace.hash("a").await["cost"], i64::MAX.to_string());
    let start = Window::new("b", 0, 0, 0, 0).start();
    namespace
        .ask::<()>(&["HSET", &namespace.key(&format!("b:{start}")), "cost", "no number"])
        .await;
    let epoch = owner.epoch(stage(&mut sink, [Window::new("b", 0, 1, 1, 1)]));
    assert_eq!(owner.commit_the_rest(epoch).await.len(), 1);
    assert_eq!(
        namespace.hash(&format!("b:{start}")).await,
        BTreeMap::from([("cost".into(), "no number".into())])
    );
    assert!(namespace.hash("b").await.is_empty());
    namespace.clean().await;
}

#[tokio::test]
async fn a_key_of_another_type_does_not_stop_the_epoch() {
    let namespace = Namespace::new("type").await;
    let middle = Window::new("middle", 0, 1, 1, 1);
    namespace
        .ask::<()>(&["SET", &namespace.key(&format!("middle:{}", middle.start())), "text"])
        .await;
    let (reason, _) = refused_in_the_middle(&namespace, middle).await;
    assert!(reason.contains("WRONGTYPE"), "{reason}");
    // Nor does one at the key of the newest: then there is no merge either.
    let newest = Window::new("newest", 0, 1, 1, 1);
    namespace.ask::<()>(&["SET", &namespace.key("newest"), "text"]).await;
    namespace.ask::<()>(&["DEL", &namespace.key("first"), &namespace.key("last")]).await;
    for key in ["first", "last"] {
        let start = newest.start();
        namespace.ask::<()>(&["DEL", &namespace.key(&format!("{key}:{start}"))]).await;
    }
    let own = format!("newest:{}", newest.start());
    let (reason, _) = refused_in_the_middle(&namespace, newest).await;
    assert!(reason.contains("WRONGTYPE"), "{reason}");
    assert!(namespace.hash(&own).await.is_empty());
    assert_eq!(namespace.ask::<String>(&["GET", &namespace.key("newest")]).await, "text");
    namespace.clean().await;
}
