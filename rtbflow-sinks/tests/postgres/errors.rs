//! What errors say, and what they do not.

use rtbflow::Error;
use rtbflow::epoch::Anchor;
use rtbflow::sink::Sink;
use rtbflow_sinks::postgres::Postgres;

use super::schema::{Owner, Schema, job, record, server, url};

async fn prepared(url: &str) -> Error {
    let postgres = Postgres::connect_to(url).build().unwrap();
    postgres.prepare(&job()).await.unwrap_err()
}

#[tokio::test]
async fn an_unreachable_server_is_transient_and_a_wrong_database_is_not() {
    let error = prepared("postgres://me:geheim@127.0.0.1:1/shop").await;
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:1/shop"), "{error:?}");
    assert!(!error.report().contains("geheim"));
    let missing = format!("postgres://rtbflow:geheim@{}/no_such_database", server());
    let error = prepared(&missing).await;
    assert!(error.is_config(), "{error:?}");
    assert!(error.to_string().contains("create the database"), "{error:?}");
    assert!(!error.report().contains("geheim"));
}

#[tokio::test]
async fn an_unknown_host_and_a_closed_port_are_distinguished() {
    let soon = std::time::Duration::from_secs(6);
    let unknown = prepared("postgres://me:geheim@no-such-host.invalid/shop");
    let unknown = tokio::time::timeout(soon, unknown).await.unwrap();
    assert!(unknown.is_transient(), "{unknown:?}");
    let said = unknown.report();
    assert!(said.contains("\"no-such-host.invalid\"") && said.contains("is not known"), "{said}");
    assert!(!said.contains("is the server running"), "{said}");
    let closed = prepared("postgres://me:geheim@127.0.0.1:1/shop");
    let closed = tokio::time::timeout(soon, closed).await.unwrap().report();
    assert!(closed.contains("is the server running") && closed.contains("127.0.0.1:1"), "{closed}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let behind = if url().contains('?') { '&' } else { '?' };
    let error = prepared(&format!("{}{behind}sslmode=verify-full", url())).await;
    assert!(error.is_config(), "{error:?}");
}

#[tokio::test]
async fn no_debug_shows_the_password() {
    let secret = "postgres://me:geheim@db.example:6432/shop?password=geheim";
    let options = Postgres::connect_to(secret);
    assert!(!format!("{options:?}").contains("geheim"), "{options:?}");
    let postgres = options.build().unwrap();
    assert_eq!(format!("{postgres:?}"), "Postgres(postgres://me@db.example:6432/shop)");
}

#[tokio::test]
async fn a_table_or_column_that_is_not_there_is_named() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let mut sink = postgres.insert("nowhere").bigint("n", |n: &i64| *n);
    let error = owner.write(&mut sink, &[record(1, 0, 0)]).await.unwrap_err();
    assert!(error.is_config(), "{error:?}");
    assert!(error.to_string().contains("create the table"), "{error:?}");
    assert!(error.report().contains("nowhere"), "{error:?}");
    postgres.create_table("create table t (n bigint)").await.unwrap();
    let mut sink = postgres.insert("t").bigint("m", |n: &i64| *n);
    let error = owner.write(&mut sink, &[record(1, 0, 0)]).await.unwrap_err();
    assert!(error.is_config() && error.report().contains("\"m\""), "{error:?}");
}

#[tokio::test]
async fn a_sink_that_is_put_together_wrongly_says_so_and_commits_nothing() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    postgres.create_table("create table t (n bigint)").await.unwrap();
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let says = |error: Error, what: &str| {
        assert!(error.is_config() && error.to_string().contains(what), "{error:?}");
    };
    // A job asks before it reads; what is written all the same is an error as well.
    let mut no_name = postgres.insert("").bigint("n", |n: &i64| *n);
    says(no_name.validate().unwrap_err(), "table");
    owner.write(&mut no_name, &[record(1, 0, 0)]).await.unwrap_err();
    let twice = postgres.insert("t").bigint("n", |n: &i64| *n).bigint("n", |n| *n);
    says(twice.validate().unwrap_err(), "twice");
    let mut no_key = postgres.upsert("t").add("n", |n: &i64| *n);
    says(no_key.validate().unwrap_err(), "key");
    owner.write(&mut no_key, &[record(1, 0, 0)]).await.unwrap_err();
}

#[tokio::test]
async fn a_session_that_the_server_ends_is_transient() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    postgres.create_table("create table t (n bigint)").await.unwrap();
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let mut killed = postgres
        .statement(
            "end the session",
            "select pg_terminate_backend(pg_backend_pid()) from unnest($1::bigint[])",
        )
        .bigint("n", |n: &i64| *n);
    let error = owner.write(&mut killed, &[record(1, 0, 0)]).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let mut sink = postgres.insert("t").bigint("n", |n: &i64| *n);
    owner.write(&mut sink, &[record(1, 0, 0)]).await.unwrap();
}
