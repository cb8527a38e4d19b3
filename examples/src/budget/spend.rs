//! Adds what is spent to the days of its campaigns and acts on the totals, inside the commit's transaction.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use rtbflow::{Result, Timestamp};
use rtbflow_sinks::postgres::{Date, Records, Transaction, Value};

use super::Spend;
use crate::reset::Removal;

/// The tables, as they are made where they are missing.
///
/// `rtbflow_budgets` holds the budget that the days of a campaign were last held against; its rows are what
/// everybody locks, in one order. A day's version rises with each change. It begins with the clock, so
/// that it rises also from a database that was lost to the one that replaces it.
pub const TABLES: &str = "
create table if not exists budget_alerts (
    campaign_id text,
    day date,
    threshold int,
    spent bigint,
    daily_budget bigint,
    event_time timestamptz,
    primary key (campaign_id, day, threshold)
);
create table if not exists rtbflow_budgets (
    campaign_id text primary key,
    daily_budget bigint
);
create table if not exists rtbflow_budget_days (
    campaign_id text,
    day date,
    spent bigint not null,
    newest_click timestamptz not null,
    version bigint not null,
    published bigint not null default 0,
    updated_at timestamptz not null,
    primary key (campaign_id, day)
);
create index if not exists rtbflow_budget_days_unpublished
    on rtbflow_budget_days (campaign_id, day) where published < version;
";

/// How all of it is taken back. A campaign that was paused here is active again; it is paused once more if the
/// clicks that are read again use its budget up.
pub(super) const REMOVALS: &[Removal] = &[
    Removal {
        tables: &["campaigns", "budget_alerts", "rtbflow_budgets"],
        what: "campaigns that were paused for their budget: they are ACTIVE again until it is found used up again",
        count: PAUSED,
        remove: &[
            "select from rtbflow_budgets order by campaign_id collate \"C\" for update",
            "update campaigns c set status = 'ACTIVE', paused_reason = null, updated_at = now()
                where c.status = 'PAUSED' and c.paused_reason = 'DAILY_BUDGET' and exists (
                    select from budget_alerts a where a.campaign_id = c.campaign_id and a.threshold = 100)",
        ],
    },
    Removal {
        tables: &["budget_alerts"],
        what: "rows of budget_alerts",
        count: "select count(*) as count from budget_alerts",
        remove: &["delete from budget_alerts"],
    },
    Removal {
        tables: &["rtbflow_budget_days", "rtbflow_budgets"],
        what: "days of campaigns in rtbflow_budget_days",
        count: "select count(*) as count from rtbflow_budget_days",
        remove: &["delete from rtbflow_budget_days", "delete from rtbflow_budgets"],
    },
];

const PAUSED: &str = "
select count(*) as count from campaigns c
where c.status = 'PAUSED' and c.paused_reason = 'DAILY_BUDGET' and exists (
    select from budget_alerts a where a.campaign_id = c.campaign_id and a.threshold = 100)";

const ENTER: &str = "
insert into rtbflow_budgets (campaign_id) select * from unnest($1::text[]) on conflict do nothing";

/// Whoever changes the days or the budget of a campaign holds its row until the commit.
const LOCK: &str = "
select campaign_id from rtbflow_budgets where campaign_id = any($1::text[])
order by campaign_id collate \"C\" for update";

const ADD: &str = "
insert into rtbflow_budget_days as d (campaign_id, day, spent, newest_click, version, updated_at)
select campaign_id, day, sum(price)::bigint, max(at),
    (extract(epoch from clock_timestamp()) * 1e6)::bigint, clock_timestamp()
from unnest($1::text[], $2::date[], $3::bigint[], $4::timestamptz[]) as u(campaign_id, day, price, at)
group by campaign_id, day
on conflict (campaign_id, day) do update set
    spent = d.spent + excluded.spent,
    newest_click = greatest(d.newest_click, excluded.newest_click),
    version = greatest(d.version + 1, excluded.version),
    updated_at = excluded.updated_at";

/// Looks at the days that were added to and, where a campaign's budget has changed, at all its days.
const THRESHOLDS: &str = "
with budget as (
    select b.campaign_id, c.daily_budget, b.daily_budget is distinct from c.daily_budget as changed
    from rtbflow_budgets b left join campaigns c on c.campaign_id = b.campaign_id
    where b.campaign_id = any($1::text[])
), noted as (
    update rtbflow_budgets b set daily_budget = budget.daily_budget
    from budget where budget.changed and b.campaign_id = budget.campaign_id
), unpublished as (
    update rtbflow_budget_days d set
        version = greatest(d.version + 1, (extract(epoch from clock_timestamp()) * 1e6)::bigint),
        updated_at = clock_timestamp()
    from budget where budget.changed and d.campaign_id = budget.campaign_id
), touched as (
    select distinct campaign_id, day from unnest($1::text[], $2::date[]) as u(campaign_id, day)
), looked_at as (
    select d.*, budget.daily_budget
    from budget join rtbflow_budget_days d on d.campaign_id = budget.campaign_id
    where budget.changed
    union all
    select d.*, budget.daily_budget
    from touched join rtbflow_budget_days d on d.campaign_id = touched.campaign_id and d.day = touched.day
        join budget on budget.campaign_id = d.campaign_id
    where not budget.changed
), alert as (
    insert into budget_alerts (campaign_id, day, threshold, spent, daily_budget, event_time)
    select campaign_id, day, threshold, spent, daily_budget, newest_click
    from looked_at cross join (values (80), (100)) as t(threshold)
    where daily_budget > 0 and spent::numeric * 100 >= daily_budget::numeric * threshold
    on conflict do nothing
    returning campaign_id, threshold
)
update campaigns c set status = 'PAUSED', paused_reason = 'DAILY_BUDGET', updated_at = now()
from (select distinct campaign_id from alert where threshold = 100) as used_up
where c.campaign_id = used_up.campaign_id and c.status = 'ACTIVE'";

const CHANGED: &str = "
select b.campaign_id from rtbflow_budgets b left join campaigns c on c.campaign_id = b.campaign_id
where b.daily_budget is distinct from c.daily_budget limit 1000";

/// The statements that [`book`] runs, with parameters of their types.
pub(super) fn statements() -> [(&'static str, Vec<Value>); 4] {
    let text = || Value::array::<&str>([]);
    let days = || Value::array::<Date>([]);
    let (prices, times) = (Value::array::<i64>([]), Value::array::<Timestamp>([]));
    [
        (ENTER, vec![text()]),
        (LOCK, vec![text()]),
        (ADD, vec![text(), days(), prices, times]),
        (THRESHOLDS, vec![text(), days()]),
    ]
}

/// Adds what is spent, and raises the alerts that the totals call for.
pub(super) fn book<'a>(
    tx: &'a Transaction<'a>,
    spends: Records<'a, Spend>,
) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        let campaigns: BTreeSet<&str> = spends.values().map(|spend| &*spend.campaign_id).collect();
        let campaigns = Value::array(campaigns);
        let of_each = Value::array(spends.values().map(|spend| &*spend.campaign_id));
        let days = Value::array(spends.values().map(|spend| spend.day));
        let prices = Value::array(spends.values().map(|spend| spend.price));
        let times = Value::array(spends.values().map(|spend| spend.at));
        tx.execute(ENTER, std::slice::from_ref(&campaigns)).await?;
        tx.execute(LOCK, &[campaigns]).await?;
        tx.execute(ADD, &[of_each.clone(), days.clone(), prices, times]).await?;
        tx.execute(THRESHOLDS, &[of_each, days]).await.map(drop)
    })
}

/// Looks for budgets that have changed and raises the alerts that they call for. Whether there may be more.
pub(super) fn follow_budgets<'a>(tx: &'a Transaction<'a>) -> BoxFuture<'a, Result<bool>> {
    Box::pin(async move {
        let changed = tx.query(CHANGED, &[]).await?;
        let campaigns: BTreeSet<String> =
            changed.iter().map(|row| row.get("campaign_id")).collect::<Result<_>>()?;
        let found = !campaigns.is_empty();
        if found {
            let campaigns = Value::array(&campaigns);
            let no_days = Value::array::<Date>([]);
            tx.execute(LOCK, std::slice::from_ref(&campaigns)).await?;
            tx.execute(THRESHOLDS, &[campaigns, no_days]).await?;
        }
        Ok(found)
    })
}
