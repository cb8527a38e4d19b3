//! A job is forgotten together with its results: all of it or nothing, whoever is at work meanwhile.

use rtbflow::Error;
use rtbflow::epoch::{Anchor, Verdict};
use rtbflow_sinks::postgres::Postgres;
use tokio_postgres::Client;

use super::schema::{Owner, Schema, job, one, record};

const NUMBERS: &str = "create table if not exists numbers (value bigint)";

async fn sum(reader: &Client) -> i64 {
    one(reader, "select coalesce(sum(value), 0)::bigint from numbers").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_go_together_with_positions_or_not_at_all() {
    let schema = Schema::new().await;
    let (postgres, reader) = (schema.place().await, schema.reader().await);
    postgres.create_table(NUMBERS).await.unwrap();
    let mut sink = postgres.insert("numbers").bigint("value", |value: &i64| *value);
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    owner.write(&mut sink, &[record(5, 0, 0), record(7, 0, 1)]).await.unwrap();
    let name = job();
    let refused = postgres.forget_with(&name, |tx| {
        Box::pin(async move {
            tx.execute("delete from numbers", &[]).await?;
            Err::<(), _>(Error::config("changed its mind"))
        })
    });
    assert!(refused.await.unwrap_err().is_config());
    assert_eq!((sum(&reader).await, postgres.kept(&job()).await.unwrap().positions.len()), (12, 1));
    owner.write(&mut sink, &[record(1, 0, 2)]).await.unwrap();
    let removed = postgres
        .forget_with(&job(), |tx| Box::pin(tx.execute("delete from numbers", &[])))
        .await
        .unwrap();
    assert_eq!((removed, sum(&reader).await), (3, 0));
    let straggler = owner.epoch(&mut sink, &[record(100, 0, 3)]);
    assert_eq!(owner.commit(&straggler).await.unwrap(), Verdict::Fenced);
    // Read again from the first record, the contents are those of one run.
    let mut owner = Owner::claim(&postgres, 0, 2).await;
    assert_eq!(owner.at.offset, None);
    owner.write(&mut sink, &[record(5, 0, 0), record(7, 0, 1), record(1, 0, 2)]).await.unwrap();
    assert_eq!(sum(&reader).await, 13);
}

/// A partition that nobody has claimed yet has no row for which a claim would have to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_claims_while_results_are_removed() {
    let schema = Schema::new().await;
    let (postgres, reader) = (schema.place().await, schema.reader().await);
    postgres.create_table(NUMBERS).await.unwrap();
    let other = postgres.with_own_connections();
    let mut sink = postgres.insert("numbers").bigint("value", |value: &i64| *value);
    let (begun, begins) = tokio::sync::oneshot::channel();
    let (go_on, goes_on) = tokio::sync::oneshot::channel::<()>();
    let forgetting = tokio::spawn(async move {
        let name = job();
        let forgotten = other.forget_with(&name, |tx| {
            Box::pin(async move {
                begun.send(()).unwrap();
                goes_on.await.unwrap();
                tx.execute("delete from numbers", &[]).await
            })
        });
        forgotten.await
    });
    begins.await.unwrap();
    let claiming = Owner::claim(&postgres, 3, 1);
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted
        and database = (select oid from pg_database where datname = current_database())
        and classid = x'72746266'::int::oid";
    let waiting = async {
        while one::<i64>(&reader, waits).await == 0 {
            tokio::task::yield_now().await;
        }
        go_on.send(()).unwrap();
    };
    let (mut owner, ()) = tokio::join!(claiming, waiting);
    forgetting.await.unwrap().unwrap();
    owner.write(&mut sink, &[record(5, 3, 0)]).await.unwrap();
    assert_eq!(sum(&reader).await, 5, "what came after the claim stays");
}

#[tokio::test]
async fn a_place_without_tables_keeps_nothing() {
    let schema = Schema::new().await;
    let postgres = schema.options().build().unwrap();
    assert!(postgres.kept(&job()).await.unwrap().is_empty());
    postgres.forget(&job()).await.unwrap();
}

/// However short a statement and, from Postgres 17 on, a transaction may be otherwise: at the first attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgetting_may_take_longer_than_a_transaction_may() {
    let schema = Schema::new().await;
    schema.place().await;
    let reader = schema.reader().await;
    let version: i32 = one(&reader, "select current_setting('server_version_num')::int").await;
    let clock = if version >= 170_000 { "-c%20transaction_timeout%3D500%20" } else { "" };
    let limits = format!("{clock}-c%20statement_timeout%3D500%20-c%20search_path");
    let url = schema.url().replace("-c%20search_path", &limits);
    let postgres = Postgres::connect_to(&url).build().unwrap();
    let name = job();
    let slowly = postgres.forget_with(&name, |tx| {
        Box::pin(async move { tx.execute("select pg_sleep(1)", &[]).await })
    });
    assert_eq!(slowly.await.unwrap(), 1);
}
