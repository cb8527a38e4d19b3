//! Budgets: totals of all instances, each threshold once, and what Redis is given.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use rtbflow::source::MemorySource;
use rtbflow::{Job, Timestamp};
use rtbflow_examples::budget::{self, Watch};
use rtbflow_examples::events::{AdClick, Click};
use rtbflow_sinks::postgres::Postgres;

use crate::cache::{self, Reader, unique};
use crate::schema::Schema;

const CAMPAIGNS: &str = "create table campaigns (campaign_id text primary key, advertiser_id text,
    daily_budget bigint, status text, paused_reason text, updated_at timestamptz)";
const ALERTS: &str = "select campaign_id, day, threshold from budget_alerts order by 1, 2, 3";
const TOTALS: &str =
    "select campaign_id, day, spent, newest_click from rtbflow_budget_days order by 1, 2";
const STATUS: &str = "select campaign_id, status, paused_reason from campaigns order by 1";

/// A click this many minutes after 2024-01-15T14:00:00Z, an hour before midnight in Seoul.
fn click(campaign: &str, minute: i64, price: i64) -> AdClick {
    let click = Click {
        device_id: "device_1".into(),
        ad_id: "ad_1".into(),
        campaign_id: campaign.into(),
        advertiser_id: "advertiser_1".into(),
        product_id: "product_1".into(),
        actual_price: price,
    };
    let timestamp = Timestamp::from_millis(1_705_327_200_000 + minute * 60_000);
    AdClick { timestamp, click: Some(click) }
}

async fn prepare(postgres: &Postgres, campaigns: &str) {
    let values = format!("insert into campaigns values {campaigns}");
    postgres.create_table(&[CAMPAIGNS, ";", budget::TABLES, &values].concat()).await.unwrap();
}

/// Spends what these partitions hold, by an instance of its own.
async fn spend(postgres: Postgres, name: String, partitions: Vec<Vec<AdClick>>) {
    let zone: budget::Zone = "Asia/Seoul".parse().unwrap();
    let job = Job::new(&name)
        .source(MemorySource::new(&name, partitions))
        .anchor(postgres.clone())
        .pipeline(move |ads| budget::spends(ads, zone.clone()).to(budget::days(&postgres)))
        .commit_interval(Duration::from_millis(5))
        .until_end(true);
    assert_eq!(job.run_until(std::future::pending()).await.unwrap().pending, 0);
}

/// Does all that there is to do beside the commits.
async fn watch(schema: &Schema) {
    let ended = std::future::ready(()).boxed().shared();
    ended.clone().await;
    Watch::new(&schema.place(), &cache::place()).run(ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_threshold_is_crossed_once_whoever_crosses_it() {
    let clicks = |partition: i64| -> Vec<AdClick> {
        (0..120)
            .flat_map(|minute| {
                ["a", "b", "c", "d"].map(|name| click(name, (minute * 7 + partition) % 120, 10))
            })
            .collect()
    };
    // 2,400 won a campaign and day, 600 of them by each partition.
    let campaigns =
        "('a', 'x', 2400, 'ACTIVE'), ('b', 'x', 2401, 'ACTIVE'), ('c', 'x', 100, 'PENDING')";
    let (one, four) = (Schema::new("budget_one").await, Schema::new("budget_four").await);
    prepare(&one.place(), campaigns).await;
    prepare(&four.place(), campaigns).await;
    spend(one.place(), "one".into(), (0..4).map(clicks).collect()).await;
    let instances = (0..4).map(|n| spend(four.place(), format!("instance-{n}"), vec![clicks(n)]));
    join_all(instances).await;
    for sql in [ALERTS, TOTALS, STATUS] {
        assert_eq!(one.rows(sql).await, four.rows(sql).await, "{sql}");
    }
    let both = |name: &str, threshold: i32| {
        ["2024-01-15", "2024-01-16"].map(|day| format!("({name},{day},{threshold})"))
    };
    let mut alerts =
        [both("a", 80), both("a", 100), both("b", 80), both("c", 80), both("c", 100)].concat();
    alerts.sort();
    let mut found = four.rows(ALERTS).await;
    found.sort();
    assert_eq!(found, alerts);
    let status = ["(a,PAUSED,DAILY_BUDGET)", "(b,ACTIVE,)", "(c,PENDING,)"];
    assert_eq!(four.rows(STATUS).await, status);
    let least = "select campaign_id from budget_alerts where spent * 100 < daily_budget * threshold
        or daily_budget is null or event_time is null";
    assert_eq!(four.rows(least).await, Vec::<String>::new());
    one.clean().await;
    four.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_follows_what_is_committed_and_budgets_that_change() {
    let schema = Schema::new("budget_redis").await;
    let mut redis = Reader::new().await;
    let name = unique("campaign");
    let key = format!("budget:{name}:2024-01-15");
    prepare(&schema.place(), "('someone else', 'x', 1, 'ACTIVE')").await;
    spend(schema.place(), "before".into(), vec![vec![click(&name, 0, 300), click(&name, 1, 50)]])
        .await;
    assert_eq!(
        redis.hash(&key).await,
        BTreeMap::new(),
        "nothing is published before it is watched"
    );
    let hash = |fields: &[(&str, &str)]| -> BTreeMap<String, String> {
        fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect()
    };
    watch(&schema).await;
    assert_eq!(redis.hash(&key).await, hash(&[("spent", "350")]), "without a budget");
    let left_ms: i64 = redis.ask(&["PTTL", &key]).await;
    assert!((172_700_000..=172_800_000).contains(&left_ms), "{left_ms}");

    // The campaign appears with a budget below what is spent: alerts without another click.
    let enters = format!("insert into campaigns values ('{name}', 'x', 300, 'ACTIVE')");
    schema.reader.batch_execute(&enters).await.unwrap();
    watch(&schema).await;
    watch(&schema).await;
    let published = hash(&[("spent", "350"), ("daily_budget", "300"), ("ratio", "1.1667")]);
    assert_eq!(redis.hash(&key).await, published);
    let alerts = "select threshold, spent, daily_budget from budget_alerts order by 1";
    assert_eq!(schema.rows(alerts).await, ["(80,350,300)", "(100,350,300)"]);

    // Somebody lets it run again: a threshold that was crossed is not crossed again.
    let again = "update campaigns set status = 'ACTIVE', daily_budget = 200";
    schema.reader.batch_execute(again).await.unwrap();
    spend(schema.place(), "after".into(), vec![vec![click(&name, 2, 10)]]).await;
    watch(&schema).await;
    let published = hash(&[("spent", "360"), ("daily_budget", "200"), ("ratio", "1.8000")]);
    assert_eq!(redis.hash(&key).await, published);
    assert_eq!(schema.rows("select count(*) from budget_alerts").await, ["(2)"]);
    let status = "select status from campaigns where advertiser_id = 'x' and daily_budget = 200
        and campaign_id <> 'someone else'";
    assert_eq!(schema.rows(status).await, ["(ACTIVE)"]);

    // Redis has lost its memory; the next instance tells it again.
    redis.clean(&name).await;
    watch(&schema).await;
    assert_eq!(redis.hash(&key).await, published);
    // An older total, from who was frozen, does not replace a newer one.
    let older = "update rtbflow_budget_days set spent = 1, version = version - 1, published = 0";
    schema.reader.batch_execute(older).await.unwrap();
    watch(&schema).await;
    assert_eq!(redis.hash(&key).await, published);
    redis.clean(&name).await;
    schema.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_forgets_is_published_again_without_another_click() {
    let schema = Schema::new("budget_forgotten").await;
    let mut redis = Reader::new().await;
    let name = unique("forgotten");
    let key = format!("budget:{name}:2024-01-15");
    prepare(&schema.place(), &format!("('{name}', 'x', 1000, 'ACTIVE')")).await;
    spend(schema.place(), "before".into(), vec![vec![click(&name, 0, 300)]]).await;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let ended = ended.map(drop).boxed().shared();
    let watch = Watch::new(&schema.place(), &cache::place());
    let watching = tokio::spawn(async move { watch.run(ended).await });
    // Looks at once, and what was seen is there again within ten seconds of being lost.
    for round in 0..3 {
        let there = async {
            while redis.hash(&key).await.get("spent").is_none_or(|spent| spent != "300") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), there).await.unwrap_or_else(|_| {
            panic!("not published again, round {round}");
        });
        // An empty server, or one that has lost only the newest; the marks of this test's watch among others'.
        let marks: Vec<String> = redis.ask(&["KEYS", "rtbflow:budget-watch:*"]).await;
        for mark in &marks {
            let now: u64 = redis.ask(&["GET", mark]).await;
            match round {
                0 => redis.ask::<()>(&["DEL", mark]).await,
                _ => redis.ask::<()>(&["SET", mark, &now.saturating_sub(1).to_string()]).await,
            }
        }
        redis.clean(&name).await;
    }
    drop(end);
    watching.await.unwrap().unwrap();
    redis.clean(&name).await;
    schema.clean().await;
}

#[tokio::test]
async fn without_the_table_of_campaigns_it_says_what_to_do() {
    let schema = Schema::new("budget_missing").await;
    let error = Watch::new(&schema.place(), &cache::place()).finds_campaigns().await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("API server"), "{error:?}");
    schema.clean().await;
}
