//! Charges every click to its advertiser: ledger row, balance and positions in one transaction.
//!
//! No look at time and none at repeats: a click is charged when it comes. What was charged twice for one
//! intention is found later, by who looks at windows of time, and refunded.

use rtbflow::sink::Sink;
use rtbflow::{Elements, Flow, Job, Result};
use rtbflow_sinks::postgres::Postgres;

use crate::events::{AdClick, Click, ad_clicks};
use crate::launch::Launch;
use crate::options::{NoMore, Options};
use crate::pipeline::BALANCE;
use crate::process::{Outcome, Shutdown};
use crate::reset::{InPostgres, Removal};
use crate::topics::SystemTopic;

/// The tables, as they are made where they are missing.
pub const TABLES: &str = r#"
create table if not exists advertiser_balances (
    advertiser_id text primary key,
    balance bigint not null,
    updated_at timestamptz not null
);
create table if not exists balance_ledger (
    id bigserial primary key,
    advertiser_id text,
    campaign_id text,
    ad_id text,
    device_id text,
    kind text check (kind in ('CLICK_CHARGE', 'DUPLICATE_REFUND')),
    amount bigint not null,
    event_time timestamptz not null,
    topic text,
    partition int,
    "offset" bigint,
    unique (topic, partition, "offset")
);
"#;

/// How charges are taken back. Balances are locked in the order in which everybody locks them, since refunds go
/// on meanwhile.
pub const REMOVALS: &[Removal] = &[Removal {
    tables: &["balance_ledger", "advertiser_balances"],
    what: "rows CLICK_CHARGE of balance_ledger; the balances are corrected by them",
    count: "select count(*) as count from balance_ledger where kind = 'CLICK_CHARGE'",
    remove: &[
        "select from advertiser_balances b where exists (select from balance_ledger l
            where l.advertiser_id = b.advertiser_id and l.kind = 'CLICK_CHARGE')
            order by octet_length(advertiser_id), advertiser_id collate \"C\" for update",
        "with gone as (
            delete from balance_ledger where kind = 'CLICK_CHARGE' returning advertiser_id, amount
        ), sums as (
            select advertiser_id, sum(amount) as amount from gone group by advertiser_id
        )
        update advertiser_balances b set balance = b.balance - sums.amount, updated_at = now()
        from sums where sums.advertiser_id = b.advertiser_id",
        FORGET_EMPTY,
    ],
}];

/// Of the balances that a transaction has corrected, those go that are as good as none: an advertiser without a row
/// starts from 0. One that somebody's foreign key names stays, and with it all of them.
pub(crate) const FORGET_EMPTY: &str = "do $$ begin
    delete from advertiser_balances b where b.balance = 0 and b.updated_at = now()
        and not exists (select from balance_ledger l where l.advertiser_id = b.advertiser_id);
    exception when foreign_key_violation then null;
end $$";

/// What is to be charged: every click.
pub fn charges(ads: Flow<impl Elements<Value = AdClick>>) -> Flow<impl Elements<Value = Click>> {
    ads.filter_map(|ad| ad.click)
}

/// Writes a charge into the ledger and onto the balance. Balances come last: their rows are locked until
/// the commit.
fn books(postgres: &Postgres) -> impl Sink<Click> + use<> {
    let ledger = postgres
        .insert("balance_ledger")
        .text("advertiser_id", |click: &Click| &click.advertiser_id)
        .text("campaign_id", |click| &click.campaign_id)
        .text("ad_id", |click| &click.ad_id)
        .text("device_id", |click| &click.device_id)
        .text("kind", |_| "CLICK_CHARGE")
        .bigint("amount", |click| -click.actual_price)
        .event_time("event_time")
        .origin("topic", "partition", "offset");
    let balances = postgres
        .upsert("advertiser_balances")
        .key_text("advertiser_id", |click: &Click| &click.advertiser_id)
        .add("balance", |click| -click.actual_price)
        .now("updated_at");
    (ledger, balances)
}

/// Runs the pipeline.
///
/// # Errors
/// As [`Launch::run`].
pub async fn run(options: Options<NoMore>, shutdown: Shutdown) -> Result<Outcome> {
    let common = options.common;
    let launch = Launch::new(BALANCE, &common)?;
    let creates = common.create_tables;
    let postgres = common.to_postgres()?.build()?;
    if launch.is_reset() {
        return launch.reset(InPostgres::new(&postgres, REMOVALS)).await;
    }
    let ads = launch
        .source(SystemTopic::AdEvents, ad_clicks())
        .event_time(|ad| ad.timestamp, common.out_of_orderness);
    // It does not look at time: none is too far ahead.
    let job = Job::new(&common.group).source(ads).anchor(postgres.clone()).max_ahead(None);
    let job = job.pipeline({
        let postgres = postgres.clone();
        move |ads| charges(ads).to(books(&postgres))
    });
    let make_tables =
        || async { if creates { postgres.create_table(TABLES).await } else { Ok(()) } };
    launch.run(job, make_tables, shutdown).await
}

#[cfg(test)]
mod tests {
    use rtbflow::Timestamp;
    use rtbflow::testing;

    use super::*;

    fn ad(price: Option<i64>) -> AdClick {
        let click = price.map(|actual_price| Click {
            device_id: "device_1".into(),
            ad_id: "ad_1".into(),
            campaign_id: "campaign_1".into(),
            advertiser_id: "advertiser_1".into(),
            product_id: "product_1".into(),
            actual_price,
        });
        AdClick { timestamp: Timestamp::from_millis(0), click }
    }

    #[test]
    fn every_click_is_charged_and_nothing_else() {
        let ads = testing::values([ad(Some(1200)), ad(None), ad(Some(0)), ad(Some(1200))]);
        let prices: Vec<_> =
            testing::run(ads, charges).iter().map(|click| click.actual_price).collect();
        assert_eq!(prices, [1200, 0, 1200]);
    }
}
