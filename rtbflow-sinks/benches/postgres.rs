//! Durable debits a second: balance, ledger and positions in one commit, beside a hand-written loop
//! that writes the same rows.
//!
//! `RTBFLOW_TEST_POSTGRES=postgres://… cargo bench -p rtbflow-sinks --bench postgres`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may stop at any error")]

use std::collections::BTreeMap;

use rtbflow::barrier::Gathered;
use rtbflow::epoch::{Advance, Anchor, Claim, Epoch, JobName, Position, Task, Verdict};
use rtbflow::sink::Sink;
use rtbflow::{Clock, Origin, Partition, Record, SystemClock, Timestamp, Topic};
use rtbflow_sinks::postgres::Postgres;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

const TABLES: &str = "
    create table advertiser_balances (advertiser_id text primary key, balance bigint not null,
        updated_at timestamptz not null);
    create table balance_ledger (id bigserial primary key, advertiser_id text, campaign_id text,
        ad_id text, device_id text,
        kind text check (kind in ('CLICK_CHARGE', 'DUPLICATE_REFUND')), amount bigint not null,
        event_time timestamptz not null, topic text, partition int, \"offset\" bigint,
        unique (topic, partition, \"offset\"))";

const ROUNDS: usize = 3;
const TASKS: u32 = 8;

struct Charge {
    advertiser_id: String,
    campaign_id: String,
    ad_id: String,
    device_id: String,
    price: i64,
}

fn charge(n: i64) -> Charge {
    Charge {
        advertiser_id: format!("advertiser_{}", n % 997),
        campaign_id: format!("campaign_{}", n % 2_999),
        ad_id: format!("ad_{}", n % 8_999),
        device_id: format!("device-{:08x}", n.wrapping_mul(2_654_435_761) & 0xffff_ffff),
        price: n % 2_000,
    }
}

/// What one commit takes: this many records, spread over the tasks.
fn records(from: i64, count: i64) -> Vec<Vec<Record<Charge>>> {
    let topic = Topic::new("ad-events");
    let mut tasks: Vec<Vec<Record<Charge>>> = (0..TASKS).map(|_| Vec::new()).collect();
    for n in from..from + count {
        let task = usize::try_from(n).unwrap() % tasks.len();
        let partition = Partition::new(topic, i32::try_from(task).unwrap());
        let timestamp = Timestamp::from_millis(1_705_314_600_000 + n);
        let origin = Origin::new(partition, n);
        tasks.get_mut(task).unwrap().push(Record::read(charge(n), timestamp, origin));
    }
    tasks
}

fn sinks(postgres: &Postgres) -> impl Sink<Charge> + use<> {
    let ledger = postgres
        .insert("balance_ledger")
        .text("advertiser_id", |charge: &Charge| &charge.advertiser_id)
        .text("campaign_id", |charge| &charge.campaign_id)
        .text("ad_id", |charge| &charge.ad_id)
        .text("device_id", |charge| &charge.device_id)
        .text("kind", |_| "CLICK_CHARGE")
        .bigint("amount", |charge| -charge.price)
        .event_time("event_time")
        .origin("topic", "partition", "offset");
    let balances = postgres
        .upsert("advertiser_balances")
        .key_text("advertiser_id", |charge: &Charge| &charge.advertiser_id)
        .add("balance", |charge| -charge.price)
        .now("updated_at");
    (ledger, balances)
}

struct TaskSide<S> {
    sink: S,
    task: Task,
    partition: Partition,
    at: Position,
}

async fn by_rtbflow(postgres: &Postgres, commits: i64, rows: i64) {
    let job = JobName::new("bench").unwrap();
    postgres.prepare(&job).await.unwrap();
    let mut sides = Vec::new();
    for number in 0..TASKS {
        let task = Task { number, of: TASKS };
        let partition = Partition::new(Topic::new("ad-events"), i32::try_from(number).unwrap());
        let claim = Claim::new(task, vec![partition], 1);
        let at = *postgres.claim(&job, &claim).await.unwrap().first().unwrap();
        sides.push(TaskSide { sink: sinks(postgres), task, partition, at });
    }
    for commit in 0..commits {
        let mut epochs = Vec::new();
        for (side, records) in sides.iter_mut().zip(records(commit * rows, rows)) {
            for record in &records {
                side.sink.check(record).unwrap();
                side.sink.write(record);
            }
            let offset = records.last().and_then(|record| record.origin).map(|at| at.offset() + 1);
            let to = Position { offset, commit: side.at.commit + 1, ..side.at };
            let advance = Advance::new(side.partition, side.at, to);
            let mut epoch = Epoch::new(side.task, vec![advance], Gathered::default());
            side.sink.stage(&mut epoch.staged);
            side.at = to;
            epochs.push(epoch);
        }
        let verdicts = postgres.commit(&job, &epochs).await.unwrap();
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::COMMITTED));
    }
}

const BY_HAND_LEDGER: &str =
    "insert into balance_ledger (advertiser_id, campaign_id, ad_id, device_id,
        kind, amount, event_time, topic, partition, \"offset\")
    select a, b, c, d, 'CLICK_CHARGE', e, to_timestamp(f / 1000.0), g, h, i
    from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) as u(a, b, c, d, e, f, g, h, i)";
const BY_HAND_BALANCES: &str = "insert into advertiser_balances as t select a, b, now()
    from unnest($1, $2) u(a, b) on conflict (advertiser_id) do update
    set balance = t.balance + excluded.balance, updated_at = now()";
const BY_HAND_POSITIONS: &str = "insert into positions select * from unnest($1, $2)
    on conflict (partition) do update set \"offset\" = excluded.\"offset\"";

/// The same by hand: arrays gathered by a loop, the best statements known, one transaction.
async fn by_hand(client: &Client, commits: i64, rows: i64) {
    let positions = "create table positions (partition int primary key, \"offset\" bigint)";
    client.batch_execute(positions).await.unwrap();
    for commit in 0..commits {
        let records: Vec<_> = records(commit * rows, rows).into_iter().flatten().collect();
        client.batch_execute("begin").await.unwrap();
        ledger_by_hand(client, &records).await;
        balances_by_hand(client, &records).await;
        client.batch_execute("commit").await.unwrap();
    }
}

async fn ledger_by_hand(client: &Client, records: &[Record<Charge>]) {
    let text = |of: fn(&Charge) -> &str| -> Vec<&str> {
        records.iter().map(|record| of(&record.value)).collect()
    };
    let number = |of: fn(&Record<Charge>) -> i64| -> Vec<i64> { records.iter().map(of).collect() };
    let at = |record: &Record<Charge>| record.origin.unwrap();
    let partitions: Vec<i32> = records.iter().map(|r| at(r).partition().number).collect();
    let topics: Vec<&str> = records.iter().map(|record| at(record).topic()).collect();
    client
        .execute_typed(
            BY_HAND_LEDGER,
            &[
                (&text(|charge| &charge.advertiser_id), Type::TEXT_ARRAY),
                (&text(|charge| &charge.campaign_id), Type::TEXT_ARRAY),
                (&text(|charge| &charge.ad_id), Type::TEXT_ARRAY),
                (&text(|charge| &charge.device_id), Type::TEXT_ARRAY),
                (&number(|record| -record.value.price), Type::INT8_ARRAY),
                (&number(|record| record.timestamp.as_millis()), Type::INT8_ARRAY),
                (&topics, Type::TEXT_ARRAY),
                (&partitions, Type::INT4_ARRAY),
                (&number(|record| record.origin.unwrap().offset()), Type::INT8_ARRAY),
            ],
        )
        .await
        .unwrap();
}

async fn balances_by_hand(client: &Client, records: &[Record<Charge>]) {
    let mut balances = BTreeMap::<&str, i64>::new();
    let mut ends = BTreeMap::<i32, i64>::new();
    for record in records {
        *balances.entry(&record.value.advertiser_id).or_default() -= record.value.price;
        let origin = record.origin.unwrap();
        ends.insert(origin.partition().number, origin.offset() + 1);
    }
    let (keys, sums): (Vec<&str>, Vec<i64>) = balances.into_iter().unzip();
    let (moved, offsets): (Vec<i32>, Vec<i64>) = ends.into_iter().unzip();
    let balances = [(&keys as _, Type::TEXT_ARRAY), (&sums as _, Type::INT8_ARRAY)];
    client.execute_typed(BY_HAND_BALANCES, &balances).await.unwrap();
    let positions = [(&moved as _, Type::INT4_ARRAY), (&offsets as _, Type::INT8_ARRAY)];
    client.execute_typed(BY_HAND_POSITIONS, &positions).await.unwrap();
}

async fn fresh(client: &Client, schema: &str) {
    let make = format!("drop schema if exists {schema} cascade; create schema {schema}; {TABLES}");
    client.batch_execute(&make).await.unwrap();
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url =
        std::env::var("RTBFLOW_TEST_POSTGRES").expect("RTBFLOW_TEST_POSTGRES: a server's URL");
    let schema = format!("rtbflow_bench_{}", std::process::id());
    let url = format!("{url}?options=-c%20search_path%3D{schema}");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    for (commits, rows) in [(20, 10_000), (100, 1_000), (200, 100)] {
        let (mut best_ours, mut best_by_hand) = (0, 0);
        for _ in 0..ROUNDS {
            fresh(&client, &schema).await;
            let postgres = Postgres::connect_to(&url).build().unwrap();
            let begun = SystemClock.now();
            by_rtbflow(&postgres, commits, rows).await;
            best_ours = best_ours.max(rate(commits * rows, begun));
            fresh(&client, &schema).await;
            let begun = SystemClock.now();
            by_hand(&client, commits, rows).await;
            best_by_hand = best_by_hand.max(rate(commits * rows, begun));
        }
        println!(
            "{commits:>4} commits of {rows:>6} debits: rtbflow {best_ours:>7} debits/s, \
             by hand {best_by_hand:>7} debits/s"
        );
    }
    client.batch_execute(&format!("drop schema {schema} cascade")).await.unwrap();
}

/// Debits a second since `begun`.
fn rate(count: i64, begun: Timestamp) -> u128 {
    let ms = SystemClock.now().since(begun).as_millis().max(1);
    u128::try_from(count).unwrap_or_default() * 1000 / ms
}
