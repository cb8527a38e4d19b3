//! W1 and W3: every row of the ledger, and every balance.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::ads::Ads;
use super::refunds::Payments;
use super::{At, compare};
use crate::Fallible;
use crate::findings::Findings;
use crate::traffic::at_text;

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) kind: &'static str,
    pub(super) amount: i64,
    pub(super) at: String,
    pub(super) advertiser: String,
    pub(super) campaign: String,
    pub(super) ad: String,
    pub(super) device: String,
}

const LEDGER: &str = "select topic, partition, \"offset\", kind, amount, \
     (extract(epoch from event_time) * 1000000)::bigint, advertiser_id, campaign_id, ad_id, device_id \
     from balance_ledger";

async fn ledger(postgres: &Client) -> Fallible<BTreeMap<At, Row>> {
    let mut rows = BTreeMap::new();
    for row in postgres.query(LEDGER, &[]).await? {
        let kind: &str = row.try_get(3)?;
        let found = Row {
            kind: match kind {
                "CLICK_CHARGE" => "CLICK_CHARGE",
                "DUPLICATE_REFUND" => "DUPLICATE_REFUND",
                _ => "another kind",
            },
            amount: row.try_get(4)?,
            at: at_text(row.try_get(5)?),
            advertiser: row.try_get(6)?,
            campaign: row.try_get(7)?,
            ad: row.try_get(8)?,
            device: row.try_get(9)?,
        };
        rows.insert((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?), found);
    }
    Ok(rows)
}

async fn balances(postgres: &Client, table: &str) -> Fallible<BTreeMap<String, i64>> {
    let rows = postgres.query(&format!("select advertiser_id, balance from {table}"), &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Compares.
pub(super) async fn check(
    findings: &Findings,
    postgres: &Client,
    ads: &Ads,
    payments: &Payments,
) -> Fallible {
    let mut expected = payments.rows.clone();
    for ad in ads.all.iter().filter(|ad| ad.is_click()) {
        let row = Row {
            kind: "CLICK_CHARGE",
            amount: -ad.price,
            at: at_text(ad.at * 1_000),
            advertiser: ad.advertiser.clone(),
            campaign: ad.campaign.clone(),
            ad: ad.ad.clone(),
            device: ad.device.clone(),
        };
        expected.insert(Ads::at(ad), row);
    }
    let mut sums = balances(postgres, "nemesis_openings").await?;
    for row in expected.values() {
        *sums.entry(row.advertiser.clone()).or_default() += row.amount;
    }
    compare(findings, "W1 and W3 balance_ledger", &ledger(postgres).await?, &expected);
    compare(
        findings,
        "W1 and W3 advertiser_balances",
        &balances(postgres, "advertiser_balances").await?,
        &sums,
    );
    Ok(())
}
