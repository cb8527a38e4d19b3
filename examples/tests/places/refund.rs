//! Refunds in Postgres: each once, whatever brings it again.

use std::time::Duration;

use futures::future::join_all;
use rtbflow::job::Report;
use rtbflow::source::MemorySource;
use rtbflow::{Job, Timestamp};
use rtbflow_examples::events::Refund;
use rtbflow_examples::{balance, refund};
use rtbflow_sinks::postgres::Postgres;

use crate::schema::Schema;

const BOOKED: &str = "select advertiser_id, sum(amount), count(*) from balance_ledger
    where kind = 'DUPLICATE_REFUND' group by 1 order by 1";
const BALANCES: &str = "select advertiser_id, balance, (select count(*) from balance_ledger l
    where l.advertiser_id = b.advertiser_id) from advertiser_balances b order by 1";

/// The refund number `n`, which determines for which clicks it is, how much, and for whom.
fn refund(n: i64) -> Refund {
    Refund {
        timestamp: Timestamp::from_millis(300_000 * (1 + n % 2)),
        advertiser_id: format!("{}{}", "long ".repeat(usize::try_from(n % 3).unwrap()), n % 7)
            .into(),
        campaign_id: "campaign_1".into(),
        ad_id: format!("ad_{}", n % 5).into(),
        // Longer than any key that an index takes.
        device_id: format!("{n}{}", "device".repeat(if n % 11 == 0 { 2_000 } else { 1 })).into(),
        amount: n * 100,
    }
}

async fn prepare(postgres: &Postgres) {
    postgres.create_table(&[balance::TABLES, refund::TABLE].concat()).await.unwrap();
}

/// Pays what these partitions hold, by an instance of its own.
async fn pay(postgres: Postgres, name: &str, partitions: Vec<Vec<Refund>>) -> Report {
    Job::new(name)
        .source(MemorySource::new(name, partitions))
        .anchor(postgres.clone())
        .pipeline(move |refunds| refund::payments(refunds).to(refund::paid_once(&postgres)))
        .commit_interval(Duration::from_millis(5))
        .until_end(true)
        .run_until(std::future::pending())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_is_paid_once_whoever_sends_it_again_and_by_which_partition() {
    let schema = Schema::new("refund").await;
    prepare(&schema.place()).await;
    // Four instances at once; each refund comes thrice: twice in one partition, once in the next.
    let all: Vec<Refund> = (0..300).map(refund).collect();
    let instances = (0..4_usize).map(|number| {
        let own = all.iter().skip(number * 75).take(75).cloned();
        let others = all.iter().skip((number + 1) % 4 * 75).take(75).rev().cloned();
        let partition: Vec<Refund> = own.clone().chain(others).chain(own).collect();
        let place = schema.place();
        async move { pay(place, &format!("refunds-{number}"), vec![partition]).await }
    });
    let reports = join_all(instances).await;
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    assert_eq!((sum(|r| r.decoded), sum(|r| r.duplicates), sum(|r| r.pending)), (300, 600, 0));
    assert_eq!(sum(|r| r.records_out), 300);
    let in_disorder = (schema.rows(BOOKED).await, schema.rows(BALANCES).await);
    assert_eq!(in_disorder.0, in_disorder.1);

    let calm = Schema::new("refund_calm").await;
    prepare(&calm.place()).await;
    assert_eq!(pay(calm.place(), "refunds", vec![all]).await.duplicates, 0);
    assert_eq!(in_disorder, (calm.rows(BOOKED).await, calm.rows(BALANCES).await));
    schema.clean().await;
    calm.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_refunds_for_the_same_clicks_the_first_offset_wins() {
    let schema = Schema::new("refund_first").await;
    prepare(&schema.place()).await;
    let with = |amount| Refund { amount, ..refund(1) };
    let report = pay(schema.place(), "first", vec![vec![with(7), with(8), with(9)]]).await;
    assert_eq!((report.decoded, report.duplicates), (1, 2));
    assert_eq!(schema.rows("select amount, \"offset\" from balance_ledger").await, ["(7,0)"]);
    // The topic is read again from its beginning, under another name.
    let report = pay(schema.place(), "again", vec![vec![with(9), with(8)]]).await;
    assert_eq!((report.decoded, report.duplicates, report.records_out), (0, 2, 0));
    assert_eq!(schema.rows("select balance from advertiser_balances").await, ["(7)"]);
    schema.clean().await;
}
