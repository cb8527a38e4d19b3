//! W2: what each campaign spends in a day of Seoul, the alerts, and the campaigns that are paused.

use std::collections::BTreeMap;

use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use tokio_postgres::Client;

use super::ads::Ads;
use super::compare;
use super::windows::{Hashes, forgive, hashes, ratio};
use crate::Fallible;
use crate::findings::Findings;
use crate::traffic::Budget;

/// A campaign's day.
type Day = (String, String);

#[derive(Debug, Default, Clone)]
struct Spent {
    total: i64,
    /// The times of its clicks.
    clicks: Vec<i64>,
}

/// The calendar day in Seoul, which has no summer time.
fn day(at_ms: i64) -> String {
    let seoul = Timestamp::from_millisecond(at_ms + 9 * 3_600_000).unwrap_or_default().to_string();
    seoul.chars().take(10).collect()
}

fn days(ads: &Ads) -> BTreeMap<Day, Spent> {
    let mut days: BTreeMap<Day, Spent> = BTreeMap::new();
    for ad in ads.all.iter().filter(|ad| ad.is_click()) {
        let spent = days.entry((ad.campaign.clone(), day(ad.at))).or_default();
        spent.total += ad.price;
        spent.clicks.push(ad.at);
    }
    days
}

/// Whether a budget has been used up to this share.
fn is_reached(spent: i64, budget: i64, percent: i64) -> bool {
    i128::from(spent) * 100 >= i128::from(budget) * i128::from(percent)
}

/// Compares.
pub(super) async fn check(
    findings: &Findings,
    (postgres, redis): (&Client, &mut MultiplexedConnection),
    ads: &Ads,
    budgets: &[Budget],
) -> Fallible {
    let days = days(ads);
    let budget_of: BTreeMap<&str, i64> = budgets
        .iter()
        .filter_map(|budget| {
            Some((budget.campaign.as_str(), budget.daily.filter(|daily| *daily > 0)?))
        })
        .collect();
    let mut expected = Hashes::new();
    let mut alerts = BTreeMap::new();
    for ((campaign, day), spent) in &days {
        let hash = expected.entry(format!("budget:{campaign}:{day}")).or_default();
        hash.insert("spent".to_owned(), spent.total.to_string());
        let Some(budget) = budget_of.get(campaign.as_str()).copied() else { continue };
        hash.insert("daily_budget".to_owned(), budget.to_string());
        hash.insert("ratio".to_owned(), ratio(spent.total, budget, 4));
        for threshold in [80, 100] {
            if is_reached(spent.total, budget, threshold) {
                alerts.insert((campaign.clone(), day.clone(), threshold), budget);
            }
        }
    }
    let mut found = hashes(redis, "budget:*").await?;
    forgive(&mut found, &expected, &["ratio"]);
    compare(findings, "W2 Redis", &found, &expected);
    check_alerts(findings, postgres, &days, &alerts).await?;
    check_campaigns(findings, postgres, budgets, &alerts).await
}

type Alerts = BTreeMap<(String, String, i64), i64>;

async fn check_alerts(
    findings: &Findings,
    postgres: &Client,
    days: &BTreeMap<Day, Spent>,
    expected: &Alerts,
) -> Fallible {
    let rows = "select campaign_id, day::text, threshold::bigint, daily_budget, spent, \
                (extract(epoch from event_time) * 1000)::bigint from budget_alerts";
    let mut found = Alerts::new();
    for row in postgres.query(rows, &[]).await? {
        let (campaign, day): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (threshold, budget): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
        let (spent, at): (i64, i64) = (row.try_get(4)?, row.try_get(5)?);
        let of = (campaign.clone(), day.clone());
        let whole = days.get(&of).cloned().unwrap_or_default();
        if !is_reached(spent, budget, threshold)
            || spent > whole.total
            || !whole.clicks.contains(&at)
        {
            findings.violation(&format!(
                "W2 budget_alerts: {of:?} at {threshold}: spent {spent} of {budget} at {at}; the whole day spent {}",
                whole.total
            ));
        }
        found.insert((campaign, day, threshold), budget);
    }
    compare(findings, "W2 budget_alerts", &found, expected);
    Ok(())
}

async fn check_campaigns(
    findings: &Findings,
    postgres: &Client,
    budgets: &[Budget],
    alerts: &Alerts,
) -> Fallible {
    let mut expected = BTreeMap::new();
    for budget in budgets {
        let is_used_up =
            alerts.keys().any(|(of, _, threshold)| *of == budget.campaign && *threshold == 100);
        let pauses = is_used_up && budget.status == "ACTIVE";
        let (status, reason) =
            if pauses { ("PAUSED", Some("DAILY_BUDGET")) } else { (budget.status, None) };
        expected.insert(budget.campaign.clone(), (status.to_owned(), reason.map(str::to_owned)));
    }
    let rows =
        postgres.query("select campaign_id, status, paused_reason from campaigns", &[]).await?;
    let found: Fallible<BTreeMap<String, (String, Option<String>)>> =
        rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)))).collect();
    compare(findings, "W2 campaigns", &found?, &expected);
    Ok(())
}
