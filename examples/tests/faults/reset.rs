//! `reset`: read again from the first record, the contents are those of one run, for each pipeline.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use rdkafka::producer::FutureRecord;
use redis::AsyncCommands;
use rtbflow::Timestamp;
use rtbflow_examples::generator::{Generator, Plan};
use tokio::task::spawn_blocking;

use crate::refunds::committed;
use crate::stage::{ADS, SOON, Stage, connect, until};
use crate::traffic::{Traffic, producer};
use crate::worker::{Ended, Kind, Start};

const CONFIG: i32 = 2;

/// The campaigns as the API server has them, each with a budget that two clicks use up.
const CAMPAIGNS: &str = "create table campaigns (campaign_id text primary key, advertiser_id text,
    daily_budget bigint, status text, paused_reason text, updated_at timestamptz)";

/// What each pipeline writes to Postgres, without what a run decides by its clock and its epochs.
fn rows_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Balance | Kind::Compensation => &[
            "select row(advertiser_id, campaign_id, ad_id, device_id, kind, amount, event_time, topic, partition,
                \"offset\")::text from balance_ledger where kind = $1 order by 1",
            "select row(advertiser_id, balance)::text from advertiser_balances where $1 <> '' order by 1",
        ],
        Kind::Matching => &["select to_jsonb(r)::text from conversion_results r where $1 = '' order by 1"],
        Kind::Budget => &[
            "select row(campaign_id, day, threshold, daily_budget)::text from budget_alerts
                where $1 = '' order by 1",
            "select row(campaign_id, status, paused_reason)::text from campaigns where $1 = '' order by 1",
            "select row(campaign_id, day, spent)::text from rtbflow_budget_days where $1 = '' order by 1",
        ],
        Kind::Performance | Kind::Duplicates | Kind::Ranking => &[],
    }
}

fn keys_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Performance => "perf:*",
        Kind::Budget => "budget:*",
        Kind::Ranking => "rtb:*",
        Kind::Balance | Kind::Compensation | Kind::Matching | Kind::Duplicates => "none",
    }
}

/// The contents that a pipeline is for, as their readers see them.
async fn contents(stage: &Stage, kind: Kind) -> Vec<String> {
    let booked = match kind {
        Kind::Balance => "CLICK_CHARGE",
        Kind::Compensation => "DUPLICATE_REFUND",
        Kind::Matching | Kind::Budget | Kind::Performance | Kind::Duplicates | Kind::Ranking => "",
    };
    let mut found = Vec::new();
    let reader = connect(&stage.ledger.url()).await;
    for sql in rows_of(kind) {
        let rows = reader.query(*sql, &[&booked]).await.unwrap();
        found.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    let client = redis::Client::open(stage.cache.url()).unwrap();
    let mut cache = client.get_multiplexed_async_connection().await.unwrap();
    let mut keys: Vec<String> = cache.keys(keys_of(kind)).await.unwrap();
    keys.sort();
    for key in keys {
        let is_set: String = redis::cmd("TYPE").arg(&key).query_async(&mut cache).await.unwrap();
        let held = if is_set == "zset" {
            let members: Vec<(String, f64)> = cache.zrange_withscores(&key, 0, -1).await.unwrap();
            format!("{members:?}")
        } else {
            let fields: BTreeMap<String, String> = cache.hgetall(&key).await.unwrap();
            format!("{fields:?}")
        };
        found.push(format!("{key} {held}"));
    }
    found
}

/// A pipeline of a group of its own.
fn start(stage: &Stage, kind: Kind) -> Start {
    stage.start(kind).with("--group", format!("{}-{}", stage.ledger.group, kind.name()))
}

async fn read_all(stage: &Stage, kind: Kind) -> Ended {
    let ended = start(stage, kind).flag("--create-topics").flag("--until-end").run().end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    // A campaign's version that came behind a newer one counts as late, and is no loss.
    let late = if kind == Kind::Ranking { 0 } else { ended.count("late") };
    assert_eq!((late, ended.count("dead_lettered")), (0, 0), "{}", ended.log);
    ended
}

async fn reset(stage: &Stage, kind: Kind, flags: &[&str]) -> Ended {
    let start = flags.iter().fold(start(stage, kind).flag("reset"), |start, flag| start.flag(flag));
    start.run().end().await
}

/// Some traffic for all pipelines.
async fn send(stage: &Stage) {
    let start: Timestamp = "2024-01-15T10:31:00Z".parse().unwrap();
    let plan =
        Plan { campaigns: 20, devices: 200, ..Plan::new(17, start, Duration::from_millis(200)) };
    let producer = producer();
    let records: Vec<_> = Generator::new(plan).take(4_000).collect();
    let sent = records.iter().map(|record| {
        let value = record.value.as_deref().unwrap();
        producer.send(FutureRecord::to(record.topic.name()).key(&record.key).payload(value), SOON)
    });
    try_join_all(sent).await.map_err(|(error, _)| error).unwrap();
    let reader = connect(&stage.ledger.url()).await;
    reader.batch_execute(CAMPAIGNS).await.unwrap();
    for charge in records.iter().filter_map(|record| record.charge.as_ref()) {
        let sql = "insert into campaigns values ($1, $2, 1500, 'ACTIVE', null, now()) on conflict do nothing";
        reader.execute(sql, &[&charge.campaign_id, &charge.advertiser_id]).await.unwrap();
    }
}

/// Opening balances, so that correcting balances is more than removing them.
async fn open_balances(stage: &Stage) {
    let reader = connect(&stage.ledger.url()).await;
    let sql = "update advertiser_balances set balance = balance + 1000000";
    assert!(reader.execute(sql, &[]).await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_again_from_the_first_record_the_contents_are_those_of_one_run() {
    let stage = Stage::without_topics("reset").await;
    for kind in Kind::ALL {
        stage.make_topics_of(kind).await;
    }
    send(&stage).await;
    // Refunds come first: the workers that book share a ledger.
    for kind in Kind::ALL {
        let first = read_all(&stage, kind).await;
        assert!(first.count("records_in") > 0 && first.count("records_out") > 0, "{}", first.log);
        if kind == Kind::Balance {
            open_balances(&stage).await;
        }
        if kind == Kind::Duplicates {
            continue;
        }
        let once = contents(&stage, kind).await;
        assert!(once.len() > 10, "{kind:?}: {once:?}");
        let asked = reset(&stage, kind, &[]).await;
        assert_eq!(asked.code, Some(CONFIG), "{}", asked.log);
        assert!(asked.said.contains("nothing was removed") && asked.said.contains("--confirm"));
        assert_eq!(contents(&stage, kind).await, once, "{kind:?}: asking changes nothing");
        let done = reset(&stage, kind, &["--confirm"]).await;
        assert_eq!(done.code, Some(0), "{}", done.log);
        let left = contents(&stage, kind).await;
        assert!(left != once, "{kind:?}: {}", done.said);
        let shown = keys_of(kind).trim_end_matches('*');
        assert!(!left.iter().any(|line| line.starts_with(shown)), "{kind:?}: {left:?}");
        let again = read_all(&stage, kind).await;
        assert_eq!(again.count("records_in"), first.count("records_in"), "{}", again.log);
        assert_eq!(contents(&stage, kind).await, once, "{kind:?}: as after one run");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_stays_and_who_resets_has_to_say_so() {
    let stage = Stage::without_topics("reset_sent").await;
    stage.make_topics_of(Kind::Duplicates).await;
    let mut traffic = Traffic::new(19);
    traffic.send(6_000, 0).await;
    let first = read_all(&stage, Kind::Duplicates).await;
    let refused = reset(&stage, Kind::Duplicates, &["--confirm"]).await;
    assert_eq!(refused.code, Some(CONFIG), "{}", refused.log);
    assert!(refused.log.contains("--keep-results") && refused.log.contains("cannot be taken back"));
    assert_eq!(
        read_all(&stage, Kind::Duplicates).await.count("records_in"),
        0,
        "nothing was removed"
    );
    let done = reset(&stage, Kind::Duplicates, &["--keep-results", "--confirm"]).await;
    assert_eq!(done.code, Some(0), "{}", done.log);
    let again = read_all(&stage, Kind::Duplicates).await;
    for class in ["records_in", "decoded", "records_out"] {
        assert_eq!(again.count(class), first.count(class), "{class}");
    }
    let refunds = spawn_blocking(committed).await.unwrap();
    assert!(
        refunds.values().all(|sent| sent.len() == 2 && sent[0] == sent[1]),
        "each twice, alike"
    );
    // Who reads them pays none twice, as the message says.
    let paid = read_all(&stage, Kind::Compensation).await;
    let owed = i64::try_from(refunds.len()).unwrap();
    assert_eq!((paid.count("decoded"), paid.count("duplicates")), (owed, owed));
    let kept = reset(&stage, Kind::Compensation, &["--keep-results", "--confirm"]).await;
    assert_eq!(kept.code, Some(CONFIG), "{}", kept.log);
    assert!(kept.log.contains("leave --keep-results out"), "{}", kept.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_reset_who_is_alive_and_a_straggler_changes_nothing() {
    let stage = Stage::new("reset_alive", 8).await;
    let mut traffic = Traffic::new(23);
    traffic.send(3_000, 0).await;
    let start = || stage.start(Kind::Balance);
    let alive = start().run();
    stage.ledger.until_read(&traffic.sent().ends).await;
    let refused = start().flag("reset").flag("--confirm").run().end().await;
    assert_eq!(refused.code, Some(CONFIG), "{}", refused.log);
    for part in ["are alive", "Stop all of them", &stage.ledger.group] {
        assert!(refused.log.contains(part), "{}", refused.log);
    }
    stage.ledger.is_exact(&traffic.sent()).await;
    // One that is frozen is no member any more, and goes on when all is as it was before its first record.
    alive.signal("STOP");
    until("its session has run out, and the reset", async || {
        let done = start().flag("reset").flag("--confirm").run().end().await;
        if done.code == Some(0) { Ok(()) } else { Err(done.log) }
    })
    .await;
    assert_eq!(stage.ledger.rows().await, 0);
    let next = start().run();
    stage.ledger.until_read(&traffic.sent().ends).await;
    alive.signal("CONT");
    traffic.send(3_000, 0).await;
    stage.ledger.until_read(&traffic.sent().ends).await;
    stage.ledger.is_exact(&traffic.sent()).await;
    for worker in [alive, next] {
        drop(worker);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_again_is_not_removed_unasked() {
    let stage = Stage::new("reset_lost", 2).await;
    let mut traffic = Traffic::new(29);
    traffic.send(1_000, 0).await;
    let run = || stage.start(Kind::Balance).flag("--until-end").run().end();
    assert_eq!(run().await.code, Some(0));
    stage.delete_records(ADS, 0, 5).await;
    let reset = || stage.start(Kind::Balance).flag("reset").flag("--confirm");
    let refused = reset().run().end().await;
    assert_eq!(refused.code, Some(CONFIG), "{}", refused.log);
    assert!(refused.log.contains("5 offsets of ad-events are gone"), "{}", refused.log);
    stage.ledger.is_exact(&traffic.sent()).await;
    // The way out that the message names.
    let done = reset().flag("--accept-loss").run().end().await;
    assert_eq!((done.code, stage.ledger.rows().await), (Some(0), 0), "{}", done.log);
    assert_eq!(run().await.count("records_in"), 995);
}

/// Both ways out that the message names, as they are called on the command line.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_an_error_until_somebody_decides() {
    let stage = Stage::new("made_anew", 2).await;
    let mut traffic = Traffic::new(37);
    traffic.send(300, 0).await;
    let run = |flags: &[&str]| {
        let start = stage.start(Kind::Balance).flag("--until-end");
        flags.iter().fold(start, |start, flag| start.flag(flag)).run().end()
    };
    assert_eq!(run(&[]).await.code, Some(0));
    let before = stage.ledger.balances().await;
    stage.make_anew(ADS, 2).await;
    let mut anew = Traffic::new(41);
    anew.send(900, 0).await;
    let refused = run(&[]).await;
    assert_eq!(refused.code, Some(CONFIG), "{}", refused.log);
    let ways = "here: --begin-anew, the command reset";
    for part in ["made anew", "its id was", "each becomes a dead letter", ways] {
        assert!(refused.log.contains(part), "{part}: {}", refused.log);
    }
    assert_eq!(stage.ledger.balances().await, before, "nothing was charged");
    // The two ways out: what was made of the old topic is kept, or is gone. Where it is kept, the ledger takes no
    // second charge of one offset: that click is a dead letter.
    let begun = run(&["--begin-anew"]).await;
    assert_eq!((begun.code, begun.count("records_in")), (Some(0), 900), "{}", begun.log);
    let booked = stage.ledger.rows().await + begun.count("dead_lettered");
    assert_eq!(booked, traffic.sent().clicks + anew.sent().clicks, "{}", begun.log);
    let reset = stage.start(Kind::Balance).flag("reset").flag("--confirm").run().end().await;
    assert_eq!(reset.code, Some(0), "{}", reset.log);
    assert_eq!(run(&[]).await.count("records_in"), 900);
    stage.ledger.is_exact(&anew.sent()).await;
}

/// Restarted while its session lasts, a named instance takes nothing from the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_instance_comes_back_and_disturbs_nobody() {
    let stage = Stage::new("instance", 8).await;
    let mut traffic = Traffic::new(31);
    let start = |name: &str| {
        stage
            .start(Kind::Balance)
            .with("--instance", name)
            .with("--kafka-option", "session.timeout.ms=20000")
            .run()
    };
    let (staying, leaving) = (start("a"), start("b"));
    let half = |tasks: &[u32]| if tasks.len() == 4 { Ok(()) } else { Err(tasks.to_vec()) };
    until("a half each", async || {
        half(&staying.tasks())?;
        half(&leaving.tasks())
    })
    .await;
    let (tasks, assigned) = (leaving.tasks(), staying.said("assigned job="));
    assert_eq!(leaving.stop().await.code, Some(0));
    let back = start("b");
    back.until_assigned().await;
    assert_eq!(back.tasks(), tasks, "it has its partitions back");
    traffic.send(500, 0).await;
    stage.ledger.until_read(&traffic.sent().ends).await;
    assert_eq!(staying.said("assigned job="), assigned, "the other was not disturbed");
    stage.ledger.is_exact(&traffic.sent()).await;
    // The option of the client that says the same is refused with the flag that does it.
    let refused =
        stage.start(Kind::Balance).with("--kafka-option", "group.instance.id=a").run().end().await;
    assert_eq!(refused.code, Some(CONFIG));
    assert!(refused.log.contains("give --instance instead"), "{}", refused.log);
    drop((staying, back));
}
