//! What each sink writes.

use rtbflow::epoch::Anchor;
use rtbflow::sink::Sink;
use rtbflow::{Record, Timestamp};
use rtbflow_sinks::postgres::{Date, Records};

use super::schema::{Owner, Schema, one, record};

const UGLY: &str = "O'Brien\"; drop table t; --한";

#[derive(Clone, Default)]
struct Row {
    name: String,
    note: Option<String>,
    number: i64,
    small: Option<i32>,
    truth: bool,
    ratio: f64,
    at: Option<Timestamp>,
    day: Option<Date>,
}

#[tokio::test]
async fn every_type_arrives_as_it_was_and_names_are_quoted() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let table = "create table \"O'Brien\"\"; --한\" (\"na\"\"me\" text, note text, number bigint, small int,
        truth boolean, ratio double precision, at timestamptz, day date, made text, seen timestamptz,
        topic text, part int, pos bigint, written timestamptz default null)";
    postgres.create_table(table).await.unwrap();
    let mut sink = postgres
        .insert(&format!("{}.O'Brien\"; --한", schema.name))
        .text("na\"me", |row: &Row| &row.name)
        .opt_text("note", |row| row.note.as_deref())
        .bigint("number", |row| row.number)
        .int("small", |row| row.small)
        .bool("truth", |row| row.truth)
        .double("ratio", |row| row.ratio)
        .timestamp("at", |row| row.at)
        .date("day", |row| row.day)
        .made_text("made", |row| format!("{}/{}", row.name, row.number))
        .event_time("seen")
        .origin("topic", "part", "pos")
        .now("written");
    let full = Row {
        name: UGLY.into(),
        note: Some(String::new()),
        number: i64::MIN,
        small: Some(-1),
        truth: true,
        ratio: -0.5,
        at: Some("9999-12-31T23:59:59.999Z".parse().unwrap()),
        day: Some("2024-02-29".parse().unwrap()),
    };
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let of_many = record(Row::default(), 0, 0);
    let of_many = Record::derived(of_many.value, of_many.timestamp);
    let records = [record(full, 0, 41), of_many];
    owner.write(&mut sink, &records).await.unwrap();
    let rows = schema
        .reader()
        .await
        .query("select to_jsonb(t)::text from \"O'Brien\"\"; --한\" t order by number", &[])
        .await
        .unwrap();
    let json: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    for part in [
        r#""na\"me": "O'Brien\"; drop table t; --한""#,
        r#""note": """#,
        r#""number": -9223372036854775808"#,
        r#""small": -1"#,
        r#""truth": true"#,
        r#""ratio": -0.5"#,
        r#""at": "9999-12-31T23:59:59.999+00:00""#,
        r#""day": "2024-02-29""#,
        r#"--한/-9223372036854775808""#,
        r#""seen": "2024-01-15T10:30:00.041+00:00""#,
        r#""topic": "ads", "written""#,
        r#""part": 0"#,
        r#""pos": 41"#,
    ] {
        let part = part.replace("\"topic\": \"ads\", \"written\"", "\"topic\": \"ads\"");
        assert!(json[0].contains(&part), "{part} in {}", json[0]);
    }
    for part in [r#""note": null"#, r#""small": null"#, r#""at": null"#, r#""topic": null"#] {
        assert!(json[1].contains(part), "{part} in {}", json[1]);
    }
}

#[tokio::test]
async fn text_that_postgres_cannot_hold_is_a_bad_record() {
    let schema = Schema::new().await;
    let postgres = schema.options().build().unwrap();
    let insert = postgres.insert("t").text("name", |row: &Row| &row.name);
    let upsert = postgres.upsert("t").key_text("name", |row: &Row| &row.name).add("n", |_| 1);
    let both = (insert, upsert);
    let bad = record(Row { name: "a\0b".into(), ..Row::default() }, 0, 0);
    assert!(both.check(&bad).unwrap_err().reason().contains("name"));
    assert!(both.check(&record(Row::default(), 0, 0)).is_ok());
}

#[tokio::test]
async fn an_upsert_sets_adds_and_keeps_extremes_per_key() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let table =
        "create table t (name text, day date, last text, total bigint, weight double precision,
        most bigint, first timestamptz, updated timestamptz, primary key (name, day));
        insert into t values ('a', '2024-01-15', 'old', null, 1.5, 100, '2030-01-01', null)";
    postgres.create_table(table).await.unwrap();
    let mut sink = postgres
        .upsert("t")
        .key_text("name", |row: &Row| &row.name)
        .key_date("day", |_| Date::of(Timestamp::from_millis(1_705_314_600_000)))
        .set_opt_text("last", |row| row.note.as_deref())
        .add("total", |row| row.number)
        .add_double("weight", |row| row.ratio)
        .max("most", |row| row.number)
        .min_timestamp("first", |row| row.at)
        .now("updated");
    let row = |name: &str, number: i64, note: &str| Row {
        name: name.into(),
        number,
        note: Some(note.into()),
        ratio: 0.25,
        at: (number > 1).then(|| Timestamp::from_millis(number)),
        ..Row::default()
    };
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let rows = [row("a", 5, "x"), row("b", 1, "y"), row("a", 3, "z")];
    let records: Vec<_> = rows.into_iter().map(|row| record(row, 0, 0)).collect();
    let epoch = owner.epoch(&mut sink, &records);
    assert_eq!(epoch.staged[0].rows, 3, "as many as records");
    owner.commit(&epoch).await.unwrap();
    let sql = "select string_agg(concat_ws(' ', name, last, total, weight, most,
        (extract(epoch from first) * 1000)::bigint, updated is not null), '; ' order by name) from t";
    let found: String = one(&schema.reader().await, sql).await;
    assert_eq!(found, "a z 8 2 100 3 t; b y 1 0.25 1 t");
}

#[tokio::test]
async fn a_conflict_is_skipped_where_that_is_asked_for_and_an_error_elsewhere() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    postgres.create_table("create table t (name text primary key)").await.unwrap();
    let mut strict = postgres.insert("t").text("name", |row: &String| row);
    let mut lax = postgres.insert("t").text("name", |row: &String| row).on_conflict_do_nothing();
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let records = ["a", "b", "a"].map(|name| record(name.to_owned(), 0, 0));
    let error = owner.write(&mut strict, &records).await.unwrap_err();
    assert!(!error.is_transient() && !error.is_config(), "{error:?}");
    assert!(error.report().contains("t_pkey"), "{error:?}");
    owner.write(&mut lax, &records).await.unwrap();
    assert_eq!(one::<i64>(&schema.reader().await, "select count(*) from t").await, 2);
}

#[tokio::test]
async fn many_rows_of_every_size_go_in_whole() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    postgres.create_table("create table t (n bigint primary key, body text)").await.unwrap();
    let mut insert =
        postgres.insert("t").bigint("n", |row: &Row| row.number).text("body", |row| &row.name);
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let row = |number: i64| {
        let length = if number % 1000 == 0 { 200_000 } else { 10 };
        record(Row { number, name: "x".repeat(length), ..Row::default() }, 0, number)
    };
    let records: Vec<_> = (0..60_000).map(row).collect();
    owner.write(&mut insert, &records).await.unwrap();
    let reader = schema.reader().await;
    assert_eq!(one::<i64>(&reader, "select count(*) from t").await, 60_000);
    let bytes = one::<i64>(&reader, "select sum(length(body))::bigint from t").await;
    assert_eq!(bytes, 60 * 200_000 + 59_940 * 10);
    let mut upsert =
        postgres.upsert("t").key_bigint("n", |row: &Row| row.number).set_text("body", |_| "y");
    owner.write(&mut upsert, &records).await.unwrap();
    assert_eq!(one::<i64>(&reader, "select count(*) from t where body = 'y'").await, 60_000);
}

#[tokio::test]
async fn a_statement_takes_its_columns_as_arrays() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let table =
        "create table t (id text, status text); insert into t values ('a', 'ON'), ('b', 'ON')";
    postgres.create_table(table).await.unwrap();
    let sql = "update t set status = 'OFF' from unnest($1::text[], $2::bigint[]) u(id, n)
        where t.id = u.id and u.n > 1";
    let mut sink = postgres
        .statement("switch off", sql)
        .text("id", |row: &Row| &row.name)
        .bigint("n", |row| row.number);
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let row =
        |name: &str, number| record(Row { name: name.into(), number, ..Row::default() }, 0, 0);
    owner.write(&mut sink, &[row("a", 1), row("b", 2)]).await.unwrap();
    let reader = schema.reader().await;
    assert_eq!(one::<String>(&reader, "select id from t where status = 'OFF'").await, "b");
}

#[tokio::test]
async fn a_function_decides_by_the_totals_inside_the_commit() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let table = "create table spend (id text primary key, spent bigint not null);
        create table alerts (id text primary key, spent bigint not null)";
    postgres.create_table(table).await.unwrap();
    let sink = || {
        postgres.transact("spend", |tx, batch: Records<'_, (String, i64)>| {
            Box::pin(async move {
                let mut sums = std::collections::BTreeMap::<String, i64>::new();
                for (id, price) in batch.values() {
                    *sums.entry(id.clone()).or_default() += price;
                }
                let (ids, prices): (Vec<String>, Vec<i64>) = sums.into_iter().unzip();
                let totals = tx
                    .query(
                        "insert into spend as s select * from unnest($1, $2) on conflict (id)
                         do update set spent = s.spent + excluded.spent returning id, spent",
                        &[ids.into(), prices.into()],
                    )
                    .await?;
                for row in totals {
                    let (id, spent): (String, i64) = (row.get("id")?, row.get("spent")?);
                    if spent >= 100 {
                        let sql = "insert into alerts values ($1, $2) on conflict do nothing";
                        tx.execute(sql, &[id.into(), spent.into()]).await?;
                    }
                }
                Ok(())
            })
        })
    };
    let (mut one_task, mut other_task) =
        (Owner::claim(&postgres, 0, 1).await, Owner::claim(&postgres, 1, 1).await);
    let spend = |price| record(("c".to_owned(), price), 0, 0);
    let group = [
        one_task.epoch(&mut sink(), &[spend(40), spend(10)]),
        other_task.epoch(&mut sink(), &[spend(30)]),
    ];
    let job = super::schema::job();
    postgres.commit(&job, &group).await.unwrap();
    postgres.commit(&job, &group).await.unwrap();
    let reader = schema.reader().await;
    assert_eq!(one::<i64>(&reader, "select spent from spend").await, 80);
    assert_eq!(one::<i64>(&reader, "select count(*) from alerts").await, 0);
    (one_task.at, other_task.at) = (group[0].advances[0].to, group[1].advances[0].to);
    one_task.write(&mut sink(), &[spend(25)]).await.unwrap();
    other_task.write(&mut sink(), &[spend(25)]).await.unwrap();
    assert_eq!(one::<i64>(&reader, "select spent from alerts").await, 105);
}

#[tokio::test]
async fn an_error_that_a_function_hides_still_fails_the_commit() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let mut hiding = postgres.transact("hide", |tx, _: Records<'_, i64>| {
        Box::pin(async move {
            let _ = tx.execute("select 1 / 0", &[]).await;
            Ok(())
        })
    });
    let error = owner.write(&mut hiding, &[record(1, 0, 0)]).await.unwrap_err();
    assert!(error.report().contains("division by zero"), "{error:?}");
    let mut ending = postgres.transact("end", |tx, _: Records<'_, i64>| {
        Box::pin(async move { tx.execute("commit", &[]).await.map(|_| ()) })
    });
    assert!(owner.write(&mut ending, &[record(1, 0, 0)]).await.unwrap_err().is_config());
    let mut dropping = postgres.transact("drop", |tx, _: Records<'_, i64>| {
        Box::pin(async move {
            // Sent, but nobody waits for the answer.
            let mut sent = Box::pin(tx.execute("select 1 / 0", &[]));
            let _ = futures::poll!(&mut sent);
            Ok(())
        })
    });
    owner.write(&mut dropping, &[record(1, 0, 0)]).await.unwrap_err();
    let moved = "select count(*) from rtbflow_positions where next_offset is not null";
    assert_eq!(one::<i64>(&schema.reader().await, moved).await, 0);
}
