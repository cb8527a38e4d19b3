//! Lookups in jobs: how many statements, what is not there, a server that is away, and what is refused.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rtbflow::epoch::Memory;
use rtbflow::job::Report;
use rtbflow::operators::{Calls, Failed, Lookup};
use rtbflow::source::IteratorSource;
use rtbflow::testing::Proxy;
use rtbflow::{Job, Result};
use rtbflow_sinks::postgres::{Postgres, Row};

use super::schema::{Schema, server};

const MINUTE: Duration = Duration::from_mins(1);

fn lookup() -> Lookup {
    let calls = Calls::at_most(100).deadline(Duration::from_millis(500)).attempts(100);
    Lookup::new(calls, MINUTE, 1_000)
}

/// What a job over these keys finds by `fetch`.
async fn found<K, V, G, R>(keys: Vec<K>, fetch: G) -> (Vec<(K, V)>, Result<Report>)
where
    K: Clone + std::hash::Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    G: Fn(K) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<V, Failed>> + Send + 'static,
{
    let place = Memory::new();
    let out = place.collected();
    let into = out.clone();
    let job = Job::new("lookups")
        .source(IteratorSource::new("keys", move || keys.clone().into_iter()))
        .anchor(place.clone())
        .pipeline(move |keys| {
            let found = keys.key_by(|key: &K| key.clone()).lookup(lookup(), fetch.clone());
            found.to(into.sink())
        });
    let report = job.run_until(pending()).await;
    (out.values(), report)
}

/// Even numbers up to 200 with a budget each, and a note here and there; each read of the table is counted.
const TABLES: &str = "create sequence reads;
    create table \"Campaigns; --\" (id bigint primary key, budget bigint not null, \"a \"\"note\" text);
    insert into \"Campaigns; --\"
        select n, n * 10, case when n % 4 = 0 then 'note' end from generate_series(0, 198, 2) n;
    create view counted as
        select c.id, c.budget, c.\"a \"\"note\", r.n from \"Campaigns; --\" c, (select nextval('reads') n offset 0) r";

type Campaign = (i64, Option<String>);

fn campaign(row: &Row) -> Result<Campaign> {
    Ok((row.get("budget")?, row.get("a \"note")?))
}

#[tokio::test]
async fn keys_that_are_asked_for_together_are_one_statement() {
    let schema = Schema::new().await;
    let reader = schema.reader().await;
    reader.batch_execute(TABLES).await.unwrap();
    let postgres = schema.options().build().unwrap();
    let fetch = postgres.select("counted", "id", ["budget", "a \"note"], campaign).unwrap();
    let keys: Vec<i64> = (0..200).chain(0..200).collect();
    let (values, report) = found(keys.clone(), fetch).await;
    let note = |n: i64| (n % 4 == 0).then(|| "note".to_owned());
    let value = |n: i64| (n, (n % 2 == 0).then(|| (n * 10, note(n))));
    assert_eq!(values, keys.into_iter().map(value).collect::<Vec<_>>());
    assert_eq!(report.unwrap().decoded, 400);
    let reads: i64 = super::schema::one(&reader, "select last_value from reads").await;
    assert!((2..=4).contains(&reads), "{reads} statements for 200 keys, a hundred at a time");
}

#[tokio::test]
async fn names_are_quoted_and_text_that_cannot_be_a_key_is_a_dead_letter() {
    let schema = Schema::new().await;
    let reader = schema.reader().await;
    let table = "create table \"o'; drop\" (\"key \"\" one\" text primary key, n int);
        insert into \"o'; drop\" values ('a', 1), ('O''Brien\"; --', 2)";
    reader.batch_execute(table).await.unwrap();
    let postgres = schema.options().build().unwrap();
    let n = |row: &Row| row.get::<i32>("n");
    let fetch = postgres.select("o'; drop", "key \" one", ["n"], n).unwrap();
    let keys = ["a", "O'Brien\"; --", "x\0y", "b"].map(str::to_owned).to_vec();
    let (values, report) = found(keys, fetch).await;
    let expected = [("a", Some(1)), ("O'Brien\"; --", Some(2)), ("b", None)];
    assert_eq!(values, expected.map(|(key, n)| (key.to_owned(), n)));
    assert_eq!(report.unwrap().dead_lettered, 1);
    let refused = postgres.select::<String, i32, _, 1>("a.", "b", ["c"], n);
    assert!(refused.err().unwrap().is_config());
}

#[tokio::test]
async fn what_postgres_refuses_ends_the_job() {
    let schema = Schema::new().await;
    schema.reader().await.batch_execute("create table things (id text, n bigint)").await.unwrap();
    let postgres = schema.options().build().unwrap();
    let n = |row: &Row| row.get::<i64>("n");
    let fetch = postgres.select("things", "missing", ["n"], n).unwrap();
    let (values, report) = found(vec!["a".to_owned()], fetch).await;
    let error = report.unwrap_err();
    assert!(values.is_empty() && !error.is_transient(), "{error:?}");
    assert!(error.report().contains("missing") && error.report().contains("things"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_silent_or_away_is_asked_again_until_it_answers() {
    let schema = Schema::new().await;
    schema.reader().await.batch_execute(TABLES).await.unwrap();
    let proxy = Proxy::to(server()).await.unwrap();
    let postgres: Postgres = schema.options_by(&proxy.address().to_string()).build().unwrap();
    let fetch = postgres.select("counted", "id", ["budget", "a \"note"], campaign).unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let (made, reached) = (Arc::clone(&attempts), Arc::new(tokio::sync::Notify::new()));
    let tell = Arc::clone(&reached);
    let counted = move |n| {
        made.fetch_add(1, Ordering::Relaxed);
        tell.notify_one();
        fetch(n)
    };
    let attempts_are = async |count: usize| {
        while attempts.load(Ordering::Relaxed) < count {
            tokio::time::timeout(MINUTE, reached.notified()).await.unwrap();
        }
    };
    proxy.freeze();
    let job = found(vec![2, 6, 7], counted);
    let outage = async {
        // Each attempt ends by its deadline: the third can only come after two of them.
        attempts_are(9).await;
        proxy.cut();
        let made = attempts.load(Ordering::Relaxed);
        attempts_are(made + 6).await;
        proxy.thaw();
        proxy.mend();
    };
    let ((values, report), ()) = futures::join!(job, outage);
    assert_eq!(values, [(2, Some((20, None))), (6, Some((60, None))), (7, None)]);
    assert_eq!(report.unwrap().decoded, 3);
}
