//! What Postgres refuses for what it is becomes a dead letter; everything else is there, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rtbflow::epoch::{Anchor, DeadLetter, DeadLetters, Verdict};
use rtbflow::job::Report;
use rtbflow::sink::Sink;
use rtbflow::source::MemorySource;
use rtbflow::{Job, Record, Timestamp};
use rtbflow_sinks::postgres::{Postgres, Records, Value};
use tokio_postgres::Client;

use super::needs::in_encoding;
use super::schema::{Owner, Schema, job, one, record};

#[derive(Debug, Clone)]
struct Charge {
    advertiser: String,
    price: i64,
}

fn charge(advertiser: &str, price: i64) -> Charge {
    Charge { advertiser: advertiser.into(), price }
}

/// An id of this many letters that do not compress.
fn long(letters: usize) -> String {
    let mut seed = 7_u64;
    let letter = |_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + u8::try_from((seed >> 33) % 26).unwrap())
    };
    (0..letters).map(letter).collect()
}

const TABLES: &str = "
    create table ledger (advertiser text, amount bigint check (amount <> -13),
        topic text, partition int, \"offset\" bigint, unique (topic, partition, \"offset\"));
    create table balances (advertiser text primary key, balance bigint not null);
    create table counts (advertiser varchar(3000) primary key, n bigint not null);
    create table noted (advertiser text, price int);
    create function no_nines() returns trigger language plpgsql as
        'begin if new.price = 99 then raise exception ''no nines''; end if; return new; end';
    create trigger nines before insert on noted for each row execute procedure no_nines()";

/// All four sinks, each of which takes every charge.
fn sinks(postgres: &Postgres) -> impl Sink<Charge> + use<> {
    let ledger = postgres
        .insert("ledger")
        .text("advertiser", |charge: &Charge| &charge.advertiser)
        .bigint("amount", |charge| -charge.price)
        .origin("topic", "partition", "offset");
    let counts = postgres.transact("count", |tx, charges: Records<'_, Charge>| {
        let ids = Value::array(charges.values().map(|charge| &charge.advertiser));
        Box::pin(async move {
            let sql =
                "insert into counts as c select a, count(*) from unnest($1::text[]) u(a) group by a
                on conflict (advertiser) do update set n = c.n + excluded.n";
            tx.execute(sql, &[ids]).await.map(drop)
        })
    });
    let noted = postgres
        .statement("note", "insert into noted select * from unnest($1::text[], $2::bigint[])")
        .text("advertiser", |charge: &Charge| &charge.advertiser)
        .bigint("price", |charge| charge.price);
    let balances = postgres
        .upsert("balances")
        .key_text("advertiser", |charge: &Charge| &charge.advertiser)
        .add("balance", |charge| -charge.price);
    (ledger, counts, noted, balances)
}

/// Keeps dead letters.
#[derive(Clone, Default)]
struct Letters(Arc<Mutex<Vec<DeadLetter>>>);

impl DeadLetters for Letters {
    fn deliver<'a>(
        &'a self,
        _: &'a str,
        letters: &'a [DeadLetter],
    ) -> BoxFuture<'a, rtbflow::Result<()>> {
        self.0.lock().unwrap().extend(letters.iter().cloned());
        std::future::ready(Ok(())).boxed()
    }
}

impl Letters {
    /// Partition and offset of each, with the reason.
    fn seen(&self) -> BTreeMap<(i32, i64), String> {
        let letters = self.0.lock().unwrap();
        let seen: BTreeMap<_, _> = letters
            .iter()
            .map(|letter| {
                let at = letter.origin;
                ((at.partition().number, at.offset()), letter.reason.reason().to_owned())
            })
            .collect();
        assert_eq!(seen.len(), letters.len(), "each once: {letters:?}");
        seen
    }
}

/// Runs a job over these charges, one list per partition, to their end.
async fn run<K: Sink<Charge>>(
    postgres: &Postgres,
    charges: &[Vec<Charge>],
    sink: impl Fn(&Postgres) -> K + Send + Sync + 'static,
) -> (Report, Letters) {
    let (letters, place) = (Letters::default(), postgres.clone());
    let report = Job::new("worker")
        .source(MemorySource::new("ads", charges.to_vec()))
        .anchor(postgres.clone())
        .dead_letters(letters.clone())
        .pipeline(move |charges| charges.to(sink(&place)))
        .until_end(true)
        .run_until(std::future::pending())
        .await
        .unwrap();
    (report, letters)
}

/// What all four sinks must have written of these charges.
async fn assert_holds(reader: &Client, charges: &[Vec<Charge>], refused: &BTreeSet<(i32, i64)>) {
    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (partition, charges) in (0_i32..).zip(charges) {
        for (_, charge) in
            (0_i64..).zip(charges).filter(|(at, _)| !refused.contains(&(partition, *at)))
        {
            let (count, sum) = expected.entry(charge.advertiser.clone()).or_default();
            (*count, *sum) = (*count + 1, *sum + charge.price);
        }
    }
    let tables = [
        "select advertiser, count(*), (-sum(amount))::bigint from ledger group by 1",
        "select advertiser, count(*), sum(price)::bigint from noted group by 1",
        "select advertiser, n, -balance from counts join balances using (advertiser)",
    ];
    for sql in tables {
        let rows = reader.query(sql, &[]).await.unwrap();
        let found: BTreeMap<String, (i64, i64)> =
            rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        assert_eq!(found, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_any_sink_refuses_is_a_dead_letter_and_all_else_is_there_once() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    postgres.create_table(TABLES).await.unwrap();
    let mut charges: Vec<Vec<Charge>> = (0_i64..3)
        .map(|p| (0..2_000).map(|n| charge(&format!("a{}", (n * 7 + p) % 50), n % 11)).collect())
        .collect();
    // An index row that is too long; two sums of which only the first fits into int and bigint.
    charges[0][0] = charge("a1", 13);
    charges[0][700] = charge(&long(2_990), 5);
    charges[1][1_999] = charge(&long(3_001), 5);
    charges[1][999] = charge("a2", 99);
    charges[2][500] = charge("a3", 5_000_000_000);
    charges[2][501] = charge("a4", 99);
    let (report, letters) = run(&postgres, &charges, sinks).await;
    let seen = letters.seen();
    let expected = [
        ((0, 0), "violates check constraint"),
        ((0, 700), "index row size"),
        ((1, 999), "no nines"),
        ((1, 1_999), "value too long"),
        ((2, 500), "out of range"),
        ((2, 501), "no nines"),
    ];
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), expected.map(|(at, _)| at), "{seen:?}");
    for (at, reason) in expected {
        assert!(seen[&at].contains(reason), "{at:?}: {}", seen[&at]);
    }
    assert_eq!((report.decoded, report.dead_lettered), (5_994, 6));
    let refused = seen.into_keys().collect();
    assert_holds(&schema.reader().await, &charges, &refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_sums_of_which_one_fits_the_first_is_taken() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let table = "create table balances (advertiser text primary key, balance bigint not null);
        insert into balances values ('full', 9223372036854775800)";
    postgres.create_table(table).await.unwrap();
    let most = i64::MAX;
    let charges = vec![vec![
        charge("new", most),
        charge("new", most),
        charge("full", 7),
        charge("full", 1),
        charge("new", 0),
        charge("full", -1),
        charge("full", 1),
    ]];
    let balances = |postgres: &Postgres| {
        postgres
            .upsert("balances")
            .key_text("advertiser", |charge: &Charge| &charge.advertiser)
            .add("balance", |charge| charge.price)
    };
    let (report, letters) = run(&postgres, &charges, balances).await;
    assert_eq!(letters.seen().into_keys().collect::<Vec<_>>(), [(0, 1), (0, 3)]);
    assert!(
        letters.seen().values().all(|reason| reason.contains("out of range")),
        "{:?}",
        letters.seen()
    );
    assert_eq!((report.decoded, report.dead_lettered), (5, 2));
    let reader = schema.reader().await;
    let full: i64 = one(&reader, "select balance from balances where advertiser = 'full'").await;
    let new: i64 = one(&reader, "select balance from balances where advertiser = 'new'").await;
    assert_eq!((full, new), (most, most));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_are_refused_are_found_and_so_are_all() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let table = "create table ledger (n bigint check (n % 10 <> 0));
        create table twice (n bigint primary key);
        insert into twice select n from generate_series(0, 999) n";
    postgres.create_table(table).await.unwrap();
    let charges = vec![(0..1_000).map(|n| charge("a", n)).collect::<Vec<_>>()];
    let every_tenth =
        |postgres: &Postgres| postgres.insert("ledger").bigint("n", |charge: &Charge| charge.price);
    let (report, letters) = run(&postgres, &charges, every_tenth).await;
    assert_eq!((report.decoded, report.dead_lettered, letters.seen().len()), (900, 100, 100));
    assert_eq!(one::<i64>(&schema.reader().await, "select count(*) from ledger").await, 900);
    // All of them, as when positions are lost and everything is read again.
    let again = schema.options().build().unwrap();
    let drop = "delete from rtbflow_positions";
    schema.reader().await.batch_execute(drop).await.unwrap();
    let all =
        |postgres: &Postgres| postgres.insert("twice").bigint("n", |charge: &Charge| charge.price);
    let (report, letters) = run(&again, &charges, all).await;
    assert_eq!((report.decoded, report.dead_lettered, letters.seen().len()), (0, 1_000, 1_000));
}

#[tokio::test]
async fn no_transaction_has_more_savepoints_than_a_snapshot_holds() {
    let schema = Schema::new().await;
    // Long enough to find all of them, however busy the machine: what is not found in a part of it is left to the next.
    let options = schema.options().call_timeout(Duration::from_secs(120));
    let postgres = options.build().unwrap();
    postgres.prepare(&job()).await.unwrap();
    // How many statements the busiest transaction ran: sequences keep what is rolled back.
    let table = "create table t (n bigint check (n % 3 <> 0));
        create sequence transaction; create sequence statements; create sequence most;
        create function count_them() returns trigger language plpgsql as 'begin
            if txid_current() <> (select last_value from transaction) then
                perform setval(''transaction'', txid_current()), setval(''statements'', 1);
            elsif nextval(''statements'') > (select last_value from most) then
                perform setval(''most'', (select last_value from statements));
            end if;
            return null; end';
        create trigger counts before insert on t for each statement execute procedure count_them()";
    postgres.create_table(table).await.unwrap();
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let records: Vec<_> = (0..500).map(|n| record(n, 0, n)).collect();
    let epoch = owner.epoch(&mut postgres.insert("t").bigint("n", |n: &i64| *n), &records);
    let error = owner.commit(&epoch).await.unwrap_err();
    let found: Vec<usize> = error.refusals().iter().map(|refusal| refusal.row).collect();
    assert_eq!(found, (0..500).step_by(3).collect::<Vec<_>>());
    assert!(error.refusals().iter().all(|refusal| (refusal.epoch, refusal.staged) == (0, 0)));
    let reader = schema.reader().await;
    assert_eq!(one::<i64>(&reader, "select count(*) from t").await, 0);
    // One for what was accepted before, and one behind each savepoint.
    let most: i64 = one(&reader, "select last_value from most").await;
    assert!((50..=61).contains(&most), "{most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_was_read_nowhere_is_a_dead_letter_with_its_row() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let table = "create table totals (id varchar(3) primary key, n bigint, at timestamptz)";
    postgres.create_table(table).await.unwrap();
    let owner = Owner::claim(&postgres, 0, 1).await;
    let result =
        |id: &str, n| Record::derived(charge(id, n), Timestamp::from_millis(1_705_314_600_042));
    let mut sinks = (
        postgres
            .insert("totals")
            .text("id", |charge: &Charge| &charge.advertiser)
            .bigint("n", |charge| charge.price)
            .event_time("at"),
        postgres
            .upsert("totals")
            .key_text("id", |charge: &Charge| &charge.advertiser)
            .set_bigint("n", |charge| charge.price),
    );
    let epoch = owner.epoch(&mut sinks, &[result("abc", 1), result("abcd", 2)]);
    let error = postgres.commit(&job(), std::slice::from_ref(&epoch)).await.unwrap_err();
    let refused: Vec<_> = error.refusals().iter().map(|r| (r.epoch, r.staged, r.row)).collect();
    assert_eq!(refused, [(0, 0, 1), (0, 1, 1)]);
    let value =
        |staged: usize| String::from_utf8(epoch.staged[staged].result(1).value.unwrap()).unwrap();
    assert_eq!(value(0), r#"{"at":"2024-01-15T10:30:00.042Z","id":"abcd","n":2}"#);
    assert_eq!(value(1), r#"{"id":"abcd","n":2}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deferred_to_the_commit_is_found_as_well_and_sees_all_sinks() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    // At the commit, each balance has to be what its ledger says: no sink alone would meet that.
    let table = "create table ledger (advertiser text, amount bigint, n bigint unique deferrable initially deferred);
        create table balances (advertiser text primary key, balance bigint);
        create function adds_up() returns trigger language plpgsql as 'begin
            if (select sum(amount) from ledger l where l.advertiser = new.advertiser)
                <> (select balance from balances b where b.advertiser = new.advertiser)
            then raise exception ''does not add up''; end if; return null; end';
        create constraint trigger adds_up after insert on ledger deferrable initially deferred
            for each row execute procedure adds_up()";
    postgres.create_table(table).await.unwrap();
    let books = |postgres: &Postgres| {
        let ledger = postgres
            .insert("ledger")
            .text("advertiser", |charge: &Charge| &charge.advertiser)
            .bigint("amount", |charge| charge.price)
            .bigint("n", |charge| charge.price);
        let balances = postgres
            .upsert("balances")
            .key_text("advertiser", |charge: &Charge| &charge.advertiser)
            .add("balance", |charge| if charge.price == 77 { 0 } else { charge.price });
        (ledger, balances)
    };
    let mut charges: Vec<Charge> = (0..300).map(|n| charge(&format!("a{}", n % 7), n)).collect();
    charges[200].price = 100;
    let (report, letters) = run(&postgres, &[charges], books).await;
    let seen = letters.seen();
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [(0, 77), (0, 200)], "{seen:?}");
    assert!(seen[&(0, 77)].contains("does not add up"), "{seen:?}");
    assert!(seen[&(0, 200)].contains("duplicate key"), "{seen:?}");
    assert_eq!(report.decoded, 298);
}

#[tokio::test]
async fn a_row_waits_for_the_one_that_its_foreign_key_names() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let tables = "create table parents (id bigint primary key);
        create table children (id bigint references parents)";
    postgres.create_table(tables).await.unwrap();
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let mut sink = postgres.insert("children").bigint("id", |n: &i64| *n);
    let epoch = owner.epoch(&mut sink, &[record(41, 0, 0), record(42, 0, 1)]);
    let reader = schema.reader().await;
    reader.batch_execute("insert into parents values (41)").await.unwrap();
    let error = owner.commit(&epoch).await.unwrap_err();
    assert!(error.is_transient() && error.refusals().is_empty(), "{error:?}");
    for part in ["children_id_fkey", "(id)=(42)", "waiting for the row that the key names"] {
        assert!(error.report().contains(part), "{}", error.report());
    }
    reader.batch_execute("insert into parents values (42)").await.unwrap();
    assert_eq!(owner.commit(&epoch).await.unwrap(), Verdict::COMMITTED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_waits_for_its_foreign_key_holds_up_no_other_partition() {
    const ROWS: i64 = 5_000;
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let tables = "create table parents (id bigint primary key);
        create table children (parent bigint references parents, topic text, partition int,
            \"offset\" bigint, unique (topic, partition, \"offset\"));
        insert into parents values (1)";
    postgres.create_table(tables).await.unwrap();
    let clicks = |missing: i64| (0..ROWS).map(|n| if n == missing { 2 } else { 1 }).collect();
    let (clicks, place): (Vec<Vec<i64>>, _) = (vec![clicks(3_000), clicks(ROWS)], postgres.clone());
    let job = Job::new("worker")
        .source(MemorySource::new("ads", clicks))
        .anchor(postgres)
        .pipeline(move |parents| {
            let children = place.insert("children").bigint("parent", |parent: &i64| *parent);
            parents.to(children.origin("topic", "partition", "offset"))
        })
        .until_end(true)
        .run_until(std::future::pending());
    let reader = schema.reader().await;
    let watch = async {
        let others = "select count(*) from children where partition = 1";
        while one::<i64>(&reader, others).await < ROWS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let behind = "select count(*) from children where partition = 0 and \"offset\" >= 3000";
        assert_eq!(one::<i64>(&reader, behind).await, 0, "nothing passes the one that waits");
        reader.batch_execute("insert into parents values (2)").await.unwrap();
    };
    let watch = tokio::time::timeout(Duration::from_secs(30), watch);
    let watch = async { watch.await.map_err(|_| "the other partition waits as well") };
    let (report, ()) = tokio::try_join!(async { Ok(job.await.unwrap()) }, watch).unwrap();
    assert_eq!(report.decoded, 2 * ROWS.unsigned_abs());
    assert_eq!(one::<i64>(&reader, "select count(*) from children").await, 2 * ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_the_databases_encoding_does_not_have_is_a_dead_letter() {
    in_encoding("LATIN1", async |postgres| {
        let table = "create table balances (advertiser text primary key, balance bigint not null)";
        postgres.create_table(table).await.unwrap();
        let charges = vec![vec![charge("café", 1), charge("한국", 2), charge("café", 3)]];
        let balances = |postgres: &Postgres| {
            postgres
                .upsert("balances")
                .key_text("advertiser", |charge: &Charge| &charge.advertiser)
                .add("balance", |charge| charge.price)
        };
        let (report, letters) = run(&postgres, &charges, balances).await;
        assert_eq!((report.decoded, report.dead_lettered), (2, 1));
        assert!(letters.seen()[&(0, 1)].contains("22P05"), "{:?}", letters.seen());
        let sum = postgres.transaction("sum up", |tx| {
            let sql = "select balance from balances where advertiser = $1";
            Box::pin(async move { tx.query(sql, &["café".into()]).await })
        });
        assert_eq!(sum.await.unwrap()[0].get::<i64>("balance").unwrap(), 4);
    })
    .await;
}
