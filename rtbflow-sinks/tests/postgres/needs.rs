//! What a pipeline will need of Postgres is looked for before anything is read.

use rtbflow::epoch::Anchor;
use rtbflow::sink::Sink;
use rtbflow::source::MemorySource;
use rtbflow::{Error, Job};
use rtbflow_sinks::postgres::{Postgres, Records, Value};

use super::schema::{Schema, connect, job, one, url};

/// Runs a job over three numbers into a sink of this place, and returns why it ended, if not well.
async fn run<K: Sink<i64>>(
    postgres: &Postgres,
    sink: impl Fn(&Postgres) -> K + Send + Sync + 'static,
) -> Option<Error> {
    let place = postgres.clone();
    Job::new("worker")
        .source(MemorySource::new("numbers", vec![vec![1_i64, 2, 3]]))
        .anchor(postgres.clone())
        .pipeline(move |numbers| numbers.to(sink(&place)))
        .until_end(true)
        .run_until(std::future::pending())
        .await
        .err()
}

fn assert_lists(error: Option<Error>, listed: &[&str]) {
    let error = error.expect("nothing was missing");
    assert!(error.is_config(), "{error:?}");
    for expected in listed {
        assert!(error.report().contains(expected), "{expected}: {}", error.report());
    }
}

async fn claimed(schema: &Schema) -> i64 {
    one(&schema.reader().await, "select count(*) from rtbflow_positions").await
}

#[tokio::test]
async fn all_that_is_missing_is_one_list_and_nothing_is_read() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let tables =
        "create table t (n text, filled int not null, \"when\" timestamptz, flag bool, id serial);
        create table u (k bigint, v bigint)";
    postgres.create_table(tables).await.unwrap();
    let error = run(&postgres, |postgres| {
        let insert = postgres.insert("t").bigint("n", |n: &i64| *n).bigint("when", |n| *n);
        let nowhere = postgres.insert("nowhere").bigint("n", |n: &i64| *n);
        let columns =
            postgres.insert("u").bigint("k", |n: &i64| *n).bigint("one", |n| *n).now("other");
        let upsert = postgres.upsert("u").key_bigint("k", |n: &i64| *n).add("v", |n| *n);
        (insert, nowhere, (columns, upsert))
    });
    assert_lists(
        error.await,
        &[
            "(1) insert into \"t\": column \"filled\" takes no null",
            "there is no table \"nowhere\": create it",
            "the table has no column \"one\": add it",
            "the table has no column \"other\": add it",
            "upsert into \"u\": make the table fit the pipeline: ERROR 42P10",
        ],
    );
    postgres.create_table("alter table t alter filled set default 0").await.unwrap();
    let another = schema.place().await;
    let error = run(&another, |postgres| {
        let types = postgres.insert("t").bigint("n", |n: &i64| *n);
        let types = types.bigint("when", |n| *n).bigint("flag", |n| *n);
        let function = postgres
            .transact("count", |_, _: Records<'_, i64>| Box::pin(async { Ok(()) }))
            .runs("select cnt from u where k = any($1)", &[Value::array::<i64>([])])
            .runs("select n from t where n = $1", &["".into()])
            .runs("set local work_mem = '1MB'", &[]);
        let statement =
            postgres.statement("note", "insert into notes select $1").bigint("n", |n: &i64| *n);
        (types, function, statement)
    });
    assert_lists(
        error.await,
        &[
            "4 things do not fit the pipeline",
            "column \"when\" is of type timestamp with time zone but expression is of type bigint",
            "column \"flag\" is of type boolean but expression is of type bigint",
            "(3) run \"count\": make the table fit the pipeline: ERROR 42703",
            "(4) note: create the table, or correct the search_path: ERROR 42P01",
        ],
    );
    assert_eq!(claimed(&schema).await, 0);
}

#[tokio::test]
async fn what_a_trigger_or_a_default_fills_is_not_missing() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let tables =
        "create table t (id bigserial primary key, n bigint not null, at timestamptz not null);
        create function fill() returns trigger language plpgsql as
            'begin new.at = now(); return new; end';
        create trigger fills before insert on t for each row execute procedure fill()";
    postgres.create_table(tables).await.unwrap();
    let identity = "do $$ begin if current_setting('server_version_num')::int >= 100000 then
        execute 'alter table t add made bigint generated always as identity'; end if; end $$";
    postgres.create_table(identity).await.unwrap();
    let error = run(&postgres, |postgres| postgres.insert("t").bigint("n", |n: &i64| *n)).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(one::<i64>(&schema.reader().await, "select count(*) from t").await, 3);
}

#[tokio::test]
async fn a_sink_that_is_put_together_wrongly_is_refused_before_anything_is_read() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let error = run(&postgres, |postgres| postgres.upsert("t").add("n", |n: &i64| *n)).await;
    assert_lists(error, &["the sink has no column of its key"]);
    let twice =
        |postgres: &Postgres| postgres.insert("t").bigint("n", |n: &i64| *n).bigint("n", |n| *n);
    assert_lists(run(&postgres, twice).await, &["is named twice"]);
    assert_eq!(claimed(&schema).await, 0);
}

#[tokio::test]
async fn rights_that_are_missing_are_listed() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let role = format!("{}_role", schema.name);
    let tables = format!(
        "create table t (id serial, n bigint); create role {role} login;
        grant usage on schema {0} to {role}; grant select, insert on t to {role};
        grant select, insert, update on rtbflow_positions to {role}",
        schema.name
    );
    postgres.create_table(&tables).await.unwrap();
    let user = schema.url().replace("//rtbflow@", &format!("//{role}@"));
    assert!(user.contains(&role), "{user}");
    let without = Postgres::connect_to(&user).build().unwrap();
    let insert = |postgres: &Postgres| postgres.insert("t").bigint("n", |n: &i64| *n);
    let denied = run(&without, insert).await;
    let grant = format!(
        "grant usage on sequence t_id_seq to {role};
        grant select, insert, delete on rtbflow_state to {role}"
    );
    postgres.create_table(&grant).await.unwrap();
    let granted = run(&without, insert).await;
    drop(without);
    let drop = format!("drop owned by {role}; drop role {role}");
    postgres.create_table(&drop).await.unwrap();
    assert_lists(
        denied,
        // Servers before 11 call a table a relation here.
        &["2 things", "42501: permission denied for ", " rtbflow_state", "sequence t_id_seq"],
    );
    assert!(granted.is_none(), "{granted:?}");
}

/// A database of its own in this encoding.
pub(crate) async fn in_encoding(encoding: &str, test: impl AsyncFnOnce(Postgres)) {
    let schema = Schema::new().await;
    let (name, client) = (format!("{}_db", schema.name), connect(&url()).await);
    let create = format!(
        "create database {name} encoding '{encoding}' lc_collate 'C' lc_ctype 'C' template template0"
    );
    client.batch_execute(&create).await.unwrap();
    let (base, _) =
        url().rsplit_once('/').map(|(base, db)| (base.to_owned(), db.to_owned())).unwrap();
    let postgres = Postgres::connect_to(&format!("{base}/{name}")).build().unwrap();
    test(postgres).await;
    let end =
        format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
    let gone = format!("drop database {name}");
    client.batch_execute(&end).await.unwrap();
    // A session that is ended takes its time; the server waits for it by itself.
    client.batch_execute(&gone).await.unwrap();
}

#[tokio::test]
async fn a_database_without_an_encoding_is_refused_and_one_of_another_is_not() {
    in_encoding("SQL_ASCII", async |postgres| {
        let error = postgres.prepare(&job()).await.unwrap_err();
        assert!(error.is_config() && error.report().contains("encoding 'UTF8'"), "{error:?}");
    })
    .await;
    in_encoding("LATIN1", async |postgres| postgres.prepare(&job()).await.unwrap()).await;
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let error = run(&postgres, |postgres| {
        postgres
            .transact("of tomorrow", |_, _: Records<'_, i64>| Box::pin(async { Ok(()) }))
            .oldest_server(999)
            .runs("select of_tomorrow()", &[])
    });
    let error = error.await.unwrap();
    let reported = error.report();
    // One thing, whatever its statements would be refused for.
    assert!(error.is_config() && !reported.contains("of_tomorrow"), "{reported}");
    let expected = "run \"of tomorrow\": it takes Postgres 999 or newer, this is ";
    assert!(reported.contains(expected), "{reported}");
}
