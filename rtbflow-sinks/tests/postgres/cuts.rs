//! Connections that break at every point of a commit, and servers that fall silent.

use std::time::Duration;

use bytes::Bytes;
use rtbflow::epoch::{Anchor, Claim, Epoch, Verdict};
use rtbflow::sink::Sink;
use rtbflow::state::{BucketChange, Chunk};
use rtbflow::testing::Proxy;
use rtbflow_sinks::postgres::Postgres;
use tokio_postgres::Client;

use super::schema::{Owner, Schema, job, one, record, server};

const TABLES: &str = "create table ledger (topic text, partition int, \"offset\" bigint,
        amount bigint not null, unique (topic, partition, \"offset\"));
    create table balances (id text primary key, balance bigint not null)";

fn sinks(postgres: &Postgres) -> impl Sink<i64> + use<> {
    let ledger = postgres
        .insert("ledger")
        .origin("topic", "partition", "offset")
        .bigint("amount", |amount: &i64| *amount);
    let balances =
        postgres.upsert("balances").key_text("id", |_: &i64| "a").add("balance", |amount| *amount);
    (ledger, balances)
}

/// Ledger rows, balance, offset and chunks as a reader sees them: all must tell of the same commits.
async fn seen(reader: &Client) -> (i64, i64, i64, i64) {
    let sql = "select (select count(*) from ledger),
        (select coalesce(sum(balance), 0)::bigint from balances),
        (select coalesce(sum(next_offset), 0)::bigint from rtbflow_positions),
        (select count(*) from rtbflow_state)";
    let row = reader.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

/// A place behind a proxy, with both connections made.
async fn behind_a_proxy(schema: &Schema) -> (Proxy, Postgres, Owner) {
    schema.reader().await.batch_execute(TABLES).await.unwrap();
    let proxy = Proxy::to(server()).await.unwrap();
    let postgres = schema.options_by(&proxy.address().to_string()).build().unwrap();
    postgres.prepare(&job()).await.unwrap();
    let mut owner = Owner::claim(&postgres, 0, 7).await;
    let epoch = epoch(&owner);
    owner.commit(&epoch).await.unwrap();
    (proxy, postgres, owner)
}

/// An epoch of one row, one increment and one chunk.
fn epoch(owner: &Owner) -> Epoch {
    let offset = owner.at.offset.unwrap_or(0);
    let mut epoch = owner.epoch(&mut sinks(&owner.postgres), &[record(1, 0, offset)]);
    let change = BucketChange::Append(Bytes::from_static(b"chunk"));
    epoch.chunks.push(Chunk { operator: "windows".into(), bucket: 1, change });
    epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_cut_anywhere_is_resolved_by_committing_again() {
    const STEP_BYTES: usize = 61;
    let schema = Schema::new().await;
    let (proxy, _postgres, mut owner) = behind_a_proxy(&schema).await;
    let reader = schema.reader().await;
    let (mut commits, mut before_commit) = (1, 0);
    for cuts in 1.. {
        let epoch = epoch(&owner);
        proxy.cut_after_bytes(usize::try_from(cuts).unwrap() * STEP_BYTES);
        let first = owner.commit(&epoch).await;
        let all = seen(&reader).await;
        assert!([commits, commits + 1].map(|n| (n, n, n, n)).contains(&all), "torn: {all:?}");
        before_commit += i64::from(all.0 == commits);
        commits += 1;
        if first.is_ok() {
            assert!(before_commit > 20, "cuts before the commit: {before_commit}");
            break;
        }
        assert!(first.unwrap_err().is_transient());
        proxy.until_planned_cuts(u64::try_from(cuts).unwrap()).await;
        assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
        assert_eq!(seen(&reader).await, (commits, commits, commits, commits));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_commit_is_lost() {
    let schema = Schema::new().await;
    let (proxy, _postgres, mut owner) = behind_a_proxy(&schema).await;
    let reader = schema.reader().await;
    let sent = epoch(&owner);
    proxy.cut_after("commit\0");
    assert!(owner.commit(&sent).await.unwrap_err().is_transient());
    proxy.until_planned_cuts(1).await;
    assert_eq!(seen(&reader).await, (2, 2, 2, 2), "it was committed, only nobody heard of it");
    assert_eq!(owner.commit(&sent).await.unwrap(), Verdict::COMMITTED);
    assert_eq!(owner.commit(&sent).await.unwrap(), Verdict::COMMITTED);
    assert_eq!(seen(&reader).await, (2, 2, 2, 2));

    let kept = epoch(&owner);
    proxy.cut_before("commit\0");
    assert!(owner.commit(&kept).await.unwrap_err().is_transient());
    proxy.until_planned_cuts(2).await;
    assert_eq!(owner.commit(&kept).await.unwrap(), Verdict::COMMITTED);
    assert_eq!(seen(&reader).await, (3, 3, 3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rival_that_claims_after_a_lost_answer_finds_the_commit_and_fences_what_follows() {
    let schema = Schema::new().await;
    let (proxy, _postgres, mut owner) = behind_a_proxy(&schema).await;
    let sent = epoch(&owner);
    proxy.cut_after("commit\0");
    assert!(owner.commit(&sent).await.unwrap_err().is_transient());
    proxy.until_planned_cuts(1).await;
    let rival = Owner::claim(&schema.place().await, 0, 8).await;
    assert_eq!(rival.at.offset, Some(2));
    // The former owner learns what became of its epoch, so that its records are accounted for; it commits no more.
    assert_eq!(owner.commit(&sent).await.unwrap(), Verdict::COMMITTED);
    assert_eq!(owner.commit(&epoch(&owner)).await.unwrap(), Verdict::Fenced);
    assert_eq!(seen(&schema.reader().await).await, (2, 2, 2, 2));
}

#[tokio::test]
async fn a_server_that_is_away_is_a_transient_error_and_comes_back() {
    let schema = Schema::new().await;
    let (proxy, postgres, mut owner) = behind_a_proxy(&schema).await;
    let epoch = epoch(&owner);
    proxy.cut();
    for _ in 0..3 {
        let error = owner.commit(&epoch).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(error.to_string().contains(&proxy.address().to_string()), "{error:?}");
        assert!(postgres.prepare(&job()).await.unwrap_err().is_transient());
    }
    proxy.mend();
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
    postgres.prepare(&job()).await.unwrap();
    assert_eq!(seen(&schema.reader().await).await, (2, 2, 2, 2));
}

#[tokio::test]
async fn a_server_that_falls_silent_is_a_transient_error_within_the_deadline() {
    let schema = Schema::new().await;
    let (proxy, _warm, _) = behind_a_proxy(&schema).await;
    let deadline = Duration::from_millis(300);
    let address = proxy.address().to_string();
    let postgres = schema.options_by(&address).call_timeout(deadline).build().unwrap();
    let mut owner = Owner::claim(&postgres, 0, 9).await;
    let epoch = epoch(&owner);
    proxy.freeze();
    let patience = deadline * 20;
    let answer = tokio::time::timeout(patience, owner.commit(&epoch)).await.expect("in time");
    assert!(answer.unwrap_err().is_transient());
    let claim = Claim::new(owner.task, vec![owner.partition], 1);
    let answer =
        tokio::time::timeout(patience, postgres.claim(&job(), &claim)).await.expect("in time");
    assert!(answer.unwrap_err().is_transient());
    let job = job();
    let restored = postgres.restore(&job, owner.task, None);
    let answer = tokio::time::timeout(patience, restored).await.expect("in time");
    assert!(answer.unwrap_err().is_transient());
}

#[tokio::test]
async fn a_frozen_owner_does_not_hold_the_others_up() {
    let schema = Schema::new().await;
    schema.reader().await.batch_execute(TABLES).await.unwrap();
    let idle = Duration::from_millis(200);
    let postgres = schema.options().idle_in_transaction_timeout(idle).build().unwrap();
    postgres.prepare(&job()).await.unwrap();
    let owner = Owner::claim(&postgres, 0, 1).await;
    let sleeper =
        postgres.transact("freeze", |tx, _: rtbflow_sinks::postgres::Records<'_, i64>| {
            Box::pin(async move {
                tx.execute("update rtbflow_positions set owner = owner", &[]).await?;
                std::future::pending().await
            })
        });
    let frozen = owner.epoch(&mut { sleeper }, &[record(1, 0, 0)]);
    let job = job();
    let held = postgres.commit(&job, std::slice::from_ref(&frozen));
    let rival = async {
        let reader = schema.reader().await;
        let held = "select exists (select from pg_locks l join pg_stat_activity a using (pid)
            where a.state = 'idle in transaction' and l.mode = 'RowExclusiveLock'
            and l.relation = 'rtbflow_positions'::regclass)";
        while !one::<bool>(&reader, held).await {}
        Owner::claim(&schema.place().await, 0, 2).await
    };
    tokio::select! {
        _ = held => panic!("the frozen commit went on"),
        rival = rival => assert_eq!(rival.at.commit, 2),
    }
}
