//! Increments of many instances at once: no circle of locks, and money that adds up at every moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use rtbflow::Record;
use rtbflow::epoch::{Anchor, Epoch, Verdict};
use rtbflow::sink::Sink;
use rtbflow_sinks::postgres::Postgres;

use super::schema::{Owner, Schema, job, one, record};

const TABLES: &str =
    "create table ledger (id bigserial primary key, advertiser text, amount bigint,
        topic text, partition int, \"offset\" bigint, unique (topic, partition, \"offset\"));
    create table balances (advertiser text primary key, balance bigint, updated_at timestamptz);
    insert into balances select 'a' || n, 1000000, now() from generate_series(0, 9) n";

struct Charge {
    advertiser: String,
    price: i64,
}

fn sinks(postgres: &Postgres) -> impl Sink<Charge> + use<> {
    let ledger = postgres
        .insert("ledger")
        .text("advertiser", |charge: &Charge| &charge.advertiser)
        .bigint("amount", |charge| -charge.price)
        .origin("topic", "partition", "offset");
    let balances = postgres
        .upsert("balances")
        .key_text("advertiser", |charge: &Charge| &charge.advertiser)
        .add("balance", |charge| -charge.price)
        .now("updated_at");
    (ledger, balances)
}

/// Rows whose balance is not opening + Σ ledger, in one look.
const ASTRAY: &str = "select count(*) from balances b where balance <>
    case when substr(advertiser, 2)::int < 10 then 1000000 else 0 end
    + (select coalesce(sum(amount), 0) from ledger l where l.advertiser = b.advertiser)";

/// Charges that touch the advertisers in an order of the instance's own.
fn charges(instance: i64, from: i64) -> Vec<Record<Charge>> {
    (from..from + 300)
        .map(|offset| {
            let advertiser = format!("a{}", (offset * (2 * instance + 3) + instance * 7) % 20);
            record(
                Charge { advertiser, price: offset % 13 },
                i32::try_from(instance).unwrap(),
                offset,
            )
        })
        .collect()
}

async fn instance(schema: &Schema, number: u32) {
    let postgres = schema.options().build().unwrap();
    let mut owner = Owner::claim(&postgres, number, u64::from(number) + 1).await;
    let mut sink = sinks(&postgres);
    for _ in 0..25 {
        let records = charges(number.into(), owner.at.offset.unwrap_or(0));
        // A deadlock would be a transient error: none is expected at all.
        owner.write(&mut sink, &records).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balance_is_opening_and_ledger_at_every_moment() {
    let schema = Schema::new().await;
    schema.place().await.create_table(TABLES).await.unwrap();
    let done = AtomicBool::new(false);
    let reader = schema.reader().await;
    let read = async {
        let mut looks = 0;
        while !done.load(Ordering::SeqCst) {
            assert_eq!(one::<i64>(&reader, ASTRAY).await, 0);
            looks += 1;
        }
        looks
    };
    let write = async {
        join_all((0..4).map(|number| instance(&schema, number))).await;
        done.store(true, Ordering::SeqCst);
    };
    let (looks, ()) = tokio::join!(read, write);
    assert!(looks > 0);
    assert_eq!(one::<i64>(&reader, ASTRAY).await, 0);
    assert_eq!(one::<i64>(&reader, "select count(*) from ledger").await, 4 * 25 * 300);
}

#[tokio::test]
async fn a_group_in_which_one_epoch_is_fenced_commits_the_others() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    postgres.create_table(TABLES).await.unwrap();
    let mut epochs: Vec<Epoch> = Vec::new();
    let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
    for number in 0..4 {
        let owner = Owner::claim(&postgres, number, 1).await;
        epochs.push(owner.epoch(&mut sinks(&postgres), &charges(number.into(), 0)));
        expected.insert(number.into(), 300);
    }
    Owner::claim(&postgres, 2, 99).await;
    expected.remove(&2);
    let verdicts = postgres.commit(&job(), &epochs).await.unwrap();
    let fenced = [Verdict::COMMITTED, Verdict::COMMITTED, Verdict::Fenced, Verdict::COMMITTED];
    assert_eq!(verdicts, fenced);
    assert_eq!(postgres.commit(&job(), &epochs).await.unwrap(), fenced);
    let reader = schema.reader().await;
    let rows = reader
        .query("select partition::bigint, count(*) from ledger group by 1", &[])
        .await
        .unwrap();
    let found: BTreeMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, expected);
    assert_eq!(one::<i64>(&reader, ASTRAY).await, 0);
}
