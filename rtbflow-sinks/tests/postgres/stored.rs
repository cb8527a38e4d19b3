//! What an earlier build has stored in Postgres half-way is gone on with, as if nothing had happened.

#[path = "../../../rtbflow/tests/stored_state/five_operators.rs"]
mod five_operators;
#[path = "../../../rtbflow/tests/stored_state/fixtures.rs"]
mod fixtures;

use rtbflow_sinks::postgres::{Insert, Postgres};
use tokio_postgres::Client;

use self::five_operators::{OPERATORS, in_one_go, run_half, run_rest};
use crate::schema::Schema;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres/stored");
const JOB: &str = "five-operators";
const TABLES: [&str; 3] = ["rtbflow_positions", "rtbflow_state", "results"];

/// A table as it was made.
const MADE: &str = "select format('create table %I (%s, primary key (%s))', $1::text, string_agg(
        format('%I %s%s%s', attname, format_type(atttypid, atttypmod),
            case when collname = 'C' then ' collate \"C\"' else '' end,
            case when attnotnull then ' not null' else '' end
            || coalesce(' default ' || pg_get_expr(adbin, adrelid), '')), ', ' order by attnum),
        string_agg(quote_ident(attname), ', ' order by array_position(indkey::smallint[], attnum))
            filter (where attnum = any(indkey)))
    from pg_attribute
    left join pg_collation on pg_collation.oid = attcollation
    left join pg_attrdef on adrelid = attrelid and adnum = attnum
    join pg_index on indrelid = attrelid and indisprimary
    where attrelid = to_regclass($1::text) and attnum > 0 and not attisdropped";
/// The values of a row, as a statement has them.
const VALUES: &str = "select string_agg(format('quote_nullable(%I::text)', attname), ' || '', '' || ' order by attnum)
    from pg_attribute where attrelid = to_regclass($1::text) and attnum > 0 and not attisdropped";

/// All that lies in the place, as statements.
async fn dump(reader: &Client) -> String {
    let mut dump = String::new();
    for table in TABLES {
        let text =
            async |sql: &str| -> String { reader.query_one(sql, &[&table]).await.unwrap().get(0) };
        dump += &format!("{};\n", text(MADE).await);
        let rows = format!("select {} as row from {table} order by 1", text(VALUES).await);
        for row in reader.query(&rows, &[]).await.unwrap() {
            dump += &format!("insert into {table} values ({});\n", row.get::<_, String>(0));
        }
    }
    dump
}

/// A schema in which all that lies that was stored.
async fn loaded(dump: &str) -> Schema {
    let schema = Schema::new().await;
    schema.reader().await.batch_execute(dump).await.unwrap();
    schema
}

fn place(schema: &Schema) -> Postgres {
    schema.options().build().unwrap()
}

fn results(place: &Postgres) -> impl Fn() -> Insert<String> + Clone + use<> {
    let place = place.clone();
    move || place.insert("results").text("result", |result: &String| result)
}

async fn go_on(schema: &Schema) -> rtbflow::Result<Vec<String>> {
    let place = place(schema);
    let sink = results(&place);
    run_rest((JOB, place), sink).await?;
    let rows = schema.reader().await.query("select result from results", &[]).await.unwrap();
    let mut results: Vec<_> = rows.iter().map(|row| row.get(0)).collect();
    results.sort_unstable();
    Ok(results)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_build_has_stored_goes_on() {
    let expected = in_one_go().await;
    for (build, dump) in fixtures::stored(FOLDER) {
        let schema = loaded(&dump).await;
        assert_eq!(go_on(&schema).await.unwrap(), expected, "{build}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_build_stores_goes_on() {
    let schema = Schema::new().await;
    let place = place(&schema);
    let table = "create table results (result text primary key)";
    place.create_table(table).await.unwrap();
    let sink = results(&place);
    run_half((JOB, place), sink).await;
    let dump = dump(&schema.reader().await).await;
    fixtures::store(FOLDER, ("sql", "--"), &dump);
    assert_eq!(go_on(&loaded(&dump).await).await.unwrap(), in_one_go().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_state_of_which_a_byte_has_changed_is_refused() {
    for (_, dump) in fixtures::stored(FOLDER) {
        for operator in OPERATORS {
            let quoted = format!("'{operator}'");
            let spoilt = fixtures::spoilt(&dump, &["insert into rtbflow_state", &quoted]);
            let report = go_on(&loaded(&spoilt).await).await.unwrap_err().report();
            assert!(report.contains(operator), "{report}");
        }
    }
}
