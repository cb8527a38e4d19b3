//! Deadlocks, locks that are held for too long, and places that take longer than they may.

use std::time::Duration;

use rtbflow::epoch::{Anchor, Epoch, Verdict};
use rtbflow::sink::Sink;
use rtbflow_sinks::postgres::{Postgres, Records};
use tokio_postgres::Client;

use super::schema::{Owner, Schema, connect, job, one, record};

const TABLES: &str = "create table balances (id text primary key, balance bigint not null);
    insert into balances values ('a', 0), ('b', 0)";

/// An upsert, and behind it a function that sends statements of its own.
fn upsert_and_function(postgres: &Postgres, id: &'static str) -> impl Sink<i64> + use<> {
    let balances = postgres
        .upsert("balances")
        .key_text("id", move |_: &i64| id)
        .add("balance", |amount| *amount);
    let function = postgres.transact("touch", |tx, amounts: Records<'_, i64>| {
        let sum: i64 = amounts.values().sum();
        Box::pin(async move {
            let sql = "update balances set balance = balance + $1 where id = 'b'";
            tx.execute(sql, &[sum.into()]).await.map(drop)
        })
    });
    (balances, function)
}

/// The statement of a sink waits behind this holder's lock, and nothing else does.
async fn until_somebody_waits(watcher: &Client, schema: &Schema) {
    let sql = format!(
        "select count(*) from pg_locks l join pg_stat_activity a using (pid)
         where not l.granted and a.query like '%balances%' and a.pid <> pg_backend_pid()
         and exists (select from pg_locks h where h.pid = a.pid
            and h.relation = to_regclass('{}.balances'))",
        schema.name
    );
    while one::<i64>(watcher, &sql).await == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_before_a_function_runs_is_waited_for_by_its_own_name() {
    let schema = Schema::new().await;
    schema.place().await.create_table(TABLES).await.unwrap();
    let postgres = schema.options().lock_timeout(Duration::from_millis(200)).build().unwrap();
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let epoch = owner.epoch(&mut upsert_and_function(&postgres, "a"), &[record(5, 0, 0)]);
    let holder = schema.reader().await;
    holder.batch_execute("begin; select from balances where id = 'a' for update").await.unwrap();
    let error = owner.commit(&epoch).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(error.report().contains("55P03"), "{error:?}");
    holder.batch_execute("rollback").await.unwrap();
    owner.commit(&epoch).await.unwrap();
    assert_eq!(one::<i64>(&holder, "select sum(balance)::bigint from balances").await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_before_a_function_runs_is_tried_again_by_its_own_name() {
    let schema = Schema::new().await;
    schema.place().await.create_table(TABLES).await.unwrap();
    // The one whose wait closes the circle finds it after that time, and ends itself.
    let options = |wait: &str| {
        let url = schema
            .url()
            .replace("search_path", &format!("deadlock_timeout%3D{wait}%20-c%20search_path"));
        Postgres::connect_to(&url)
    };
    let postgres = options("50ms").build().unwrap();
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    // Locks 'b' by an upsert first, then 'a' by another.
    let circle = |postgres: &Postgres| {
        let first = postgres
            .upsert("balances")
            .key_text("id", |_: &i64| "b")
            .add("balance", |amount| *amount);
        let second = postgres
            .statement("second", "update balances set balance = balance + u.n from unnest($1::bigint[]) u(n) where id = 'a'")
            .bigint("n", |n: &i64| *n);
        (first, (second, upsert_and_function(postgres, "b")))
    };
    let epoch = owner.epoch(&mut circle(&postgres), &[record(5, 0, 0)]);
    let (other, watcher) = (schema.reader().await, schema.reader().await);
    other
        .batch_execute(
            "set deadlock_timeout = '1h'; begin; select from balances where id = 'a' for update",
        )
        .await
        .unwrap();
    let close = async {
        until_somebody_waits(&watcher, &schema).await;
        other.batch_execute("select from balances where id = 'b' for update").await
    };
    let (committed, closed) = tokio::join!(owner.commit(&epoch), close);
    let error = committed.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(error.report().contains("40P01"), "{error:?}");
    closed.unwrap();
    other.batch_execute("rollback").await.unwrap();
    owner.commit(&epoch).await.unwrap();
    assert_eq!(one::<i64>(&watcher, "select sum(balance)::bigint from balances").await, 20);
}

/// A ledger that takes 20 ms per row.
const SLOW: &str = "create table slow (n bigint);
    create function delay() returns trigger language plpgsql as
        'begin perform pg_sleep(0.02); return new; end';
    create trigger delays before insert on slow for each row execute procedure delay()";

async fn slow_epoch(schema: &Schema, postgres: &Postgres) -> (Owner, Epoch) {
    schema.place().await.create_table(SLOW).await.unwrap();
    let owner = Owner::claim(postgres, 0, 1).await;
    let records: Vec<_> = (0..50).map(|n| record(n, 0, n)).collect();
    let epoch = owner.epoch(&mut postgres.insert("slow").bigint("n", |n: &i64| *n), &records);
    (owner, epoch)
}

/// Commits until it is done; returns what the attempts before said.
async fn insist(owner: &mut Owner, epoch: &Epoch) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        match owner.commit(epoch).await {
            Ok(verdict) => {
                assert_eq!(verdict, Verdict::COMMITTED);
                return said;
            }
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                said.push(error.report());
                assert!(said.len() < 10, "{said:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_takes_longer_than_a_statement_may_gets_more_time() {
    let schema = Schema::new().await;
    let statement = Duration::from_millis(300);
    let postgres = schema.options().statement_timeout(statement).build().unwrap();
    let (mut owner, epoch) = slow_epoch(&schema, &postgres).await;
    let said = insist(&mut owner, &epoch).await;
    // 300 and 600 ms are too little for a second's work.
    assert!(said.len() >= 2, "{said:?}");
    assert!(said.iter().all(|said| said.contains("57014")), "{said:?}");
    assert_eq!(one::<i64>(&schema.reader().await, "select count(*) from slow").await, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_takes_longer_than_a_call_may_gets_more_time() {
    let schema = Schema::new().await;
    let (call, lock) = (Duration::from_millis(400), Duration::from_millis(300));
    let postgres = schema.options().call_timeout(call).lock_timeout(lock).build().unwrap();
    let (mut owner, epoch) = slow_epoch(&schema, &postgres).await;
    let said = insist(&mut owner, &epoch).await;
    assert!(said.iter().any(|said| said.contains("no answer")), "{said:?}");
    // Whichever attempt it was that the server has brought to its end: once.
    assert_eq!(one::<i64>(&schema.reader().await, "select count(*) from slow").await, 50);
}

#[tokio::test]
async fn settings_of_the_url_win_over_those_of_the_options() {
    let schema = Schema::new().await;
    let url = schema.url().replace("search_path", "lock_timeout%3D77%20-c%20search_path");
    let postgres = Postgres::connect_to(&url).lock_timeout(Duration::from_secs(9)).build().unwrap();
    let shown = postgres
        .transaction("show settings", |tx| {
            let sql = "select current_setting('lock_timeout') as lock,
                current_setting('statement_timeout') as statement,
                current_setting('idle_in_transaction_session_timeout') as idle,
                current_setting('search_path') as path";
            Box::pin(async move { tx.query(sql, &[]).await })
        })
        .await
        .unwrap();
    let of = |name: &str| shown[0].get::<String>(name).unwrap();
    assert_eq!(["lock", "statement", "idle"].map(of), ["77ms", "10s", "5s"]);
    assert_eq!(of("path"), schema.name);
    // Nothing is left in the session for those who share it.
    let plain = connect(&url).await;
    assert_eq!(one::<String>(&plain, "show statement_timeout").await, "0");
    let wrong = schema.url().replace("search_path", "lock_timeout%3Dlong%20-c%20search_path");
    let error = Postgres::connect_to(&wrong).build().unwrap().prepare(&job()).await.unwrap_err();
    assert!(error.is_config() && error.report().contains("lock_timeout"), "{error:?}");
    assert!(
        Postgres::connect_to(&format!("{}?options=-d%205", url.split('?').next().unwrap()))
            .build()
            .is_err()
    );
}
