//! Reads the money in Postgres: some of it while it moves, all of it for the proof.

use rtbflow::{Error, Result, Timestamp};
use rtbflow_examples::generator::Budget;
use rtbflow_examples::topics::SystemTopic;
use tokio_postgres::{Client, NoTls};

use crate::progress::{PartitionPosition, Positions};
use crate::proof::{Books, Repeated, Row};
use crate::traffic::Stored;

/// A reader of balances and ledger.
pub(crate) struct Ledger {
    client: Client,
}

fn failed(error: tokio_postgres::Error) -> Error {
    Error::transient("read the ledger in Postgres").because(error)
}

impl Ledger {
    /// Connects, and makes the schema that the URL names, so that the tables of the demonstration stand
    /// apart from others.
    pub(crate) async fn open(url: &str, schema: Option<&str>) -> Result<Self> {
        let connect = tokio_postgres::connect(url, NoTls).await;
        let (client, connection) = connect.map_err(|error| {
            Error::transient("connect to Postgres for the proof").because(error)
        })?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "the connection to Postgres broke");
            }
        });
        if let Some(schema) = schema {
            let statement = format!("create schema if not exists {schema}");
            client.batch_execute(&statement).await.map_err(failed)?;
        }
        Ok(Self { client })
    }

    /// Whether the pipeline has made its tables.
    async fn has_tables(&self) -> Result<bool> {
        let row = self.client.query_one("select to_regclass('balance_ledger') is not null", &[]);
        row.await.and_then(|row| row.try_get(0)).map_err(failed)
    }

    /// The lowest balances, how many rows the ledger has, and the sum of all balances.
    pub(crate) async fn glance(&self, most: i64) -> Result<(Vec<(String, i64)>, (u64, i64))> {
        if !self.has_tables().await? {
            return Ok((Vec::new(), (0, 0)));
        }
        let lowest =
            "select advertiser_id, balance from advertiser_balances order by balance, 1 limit $1";
        let rows = self.client.query(lowest, &[&most]).await.map_err(failed)?;
        let balances =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>();
        let sums = "select (select count(*) from balance_ledger), \
                    (select coalesce(sum(balance), 0)::bigint from advertiser_balances)";
        let sums = self.client.query_one(sums, &[]).await.map_err(failed)?;
        let (rows, sum): (i64, i64) =
            (sums.try_get(0).map_err(failed)?, sums.try_get(1).map_err(failed)?);
        Ok((balances.map_err(failed)?, (u64::try_from(rows).unwrap_or(0), sum)))
    }

    /// The positions of a consumer group.
    pub(crate) async fn positions(&self, group: &str) -> Result<Positions> {
        let exists = "select to_regclass('rtbflow_positions') is not null";
        let row = self.client.query_one(exists, &[]).await.map_err(failed)?;
        if !row.try_get(0).map_err(failed)? {
            return Ok(Positions::new());
        }
        let positions = "select topic, partition, coalesce(next_offset, 0), event_time_ms, owner \
                         from rtbflow_positions where job = $1";
        let rows = self.client.query(positions, &[&group]).await.map_err(failed)?;
        let mut positions = Positions::new();
        for row in &rows {
            let topic: &str = row.try_get(0).map_err(failed)?;
            let event_time: Option<i64> = row.try_get(3).map_err(failed)?;
            let event_time = event_time.map(Timestamp::from_millis);
            let owner: i64 = row.try_get(4).map_err(failed)?;
            let position = PartitionPosition {
                next: row.try_get(2).map_err(failed)?,
                event_time,
                owner: Some(owner.cast_unsigned()),
            };
            if let Some(topic) = SystemTopic::named(topic) {
                positions.insert((topic, row.try_get(1).map_err(failed)?), position);
            }
        }
        Ok(positions)
    }

    /// The campaigns, in the table that the API server keeps them in.
    pub(crate) async fn announce(&self, budgets: &[Budget]) -> Result<()> {
        let table = "create table if not exists campaigns (campaign_id text primary key, \
                     advertiser_id text, daily_budget bigint, status text, paused_reason text, \
                     updated_at timestamptz)";
        self.client.batch_execute(table).await.map_err(failed)?;
        let column = |of: fn(&Budget) -> &str| budgets.iter().map(of).collect::<Vec<_>>();
        let ids = column(|budget| &budget.campaign_id);
        let advertisers = column(|budget| &budget.advertiser_id);
        let states = column(|budget| budget.status);
        let limits: Vec<i64> = budgets.iter().map(|budget| budget.daily_budget).collect();
        let rows = "insert into campaigns (campaign_id, advertiser_id, daily_budget, status, updated_at) \
                    select *, now() from unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) \
                    on conflict (campaign_id) do nothing";
        let inserted = self.client.execute(rows, &[&ids, &advertisers, &limits, &states]).await;
        inserted.map(drop).map_err(failed)
    }

    /// The books, whole.
    pub(crate) async fn books(&self) -> Result<Books> {
        let mut books = Books::default();
        if !self.has_tables().await? {
            return Ok(books);
        }
        let rows = "select topic = $1, partition, \"offset\", advertiser_id, amount, device_id, ad_id, \
                    (extract(epoch from event_time) * 1000)::bigint from balance_ledger";
        let rows =
            self.client.query(rows, &[&SystemTopic::AdEvents.name()]).await.map_err(failed)?;
        for row in &rows {
            let row: Entry = entry(row).map_err(failed)?;
            if row.is_charge {
                books.charges.insert(row.at, row.row);
            } else {
                books.refunds.push((row.repeated, row.row));
            }
        }
        let sums = "select coalesce(sum(balance), 0)::bigint, coalesce(sum(charged), 0)::bigint, \
                    count(*) filter (where balance <> charged) \
                    from (select coalesce(balance, 0) as balance, coalesce(charged, 0) as charged \
                          from advertiser_balances full join \
                          (select advertiser_id, sum(amount)::bigint as charged \
                           from balance_ledger group by 1) as ledger using (advertiser_id)) as both_sides";
        let sums = self.client.query_one(sums, &[]).await.map_err(failed)?;
        books.balances = sums.try_get(0).map_err(failed)?;
        books.ledger = sums.try_get(1).map_err(failed)?;
        let unequal: i64 = sums.try_get(2).map_err(failed)?;
        books.unequal = usize::try_from(unequal).unwrap_or(usize::MAX);
        Ok(books)
    }

    /// What the other tables hold: conversions, those that a click led to, warnings of a budget, and
    /// campaigns that were paused.
    pub(crate) async fn outcome(&self) -> Result<Conclusions> {
        let counts = "select (select count(*) from conversion_results), \
                      (select count(*) from conversion_results where attributed), \
                      (select coalesce(percentile_disc(0.5) within group (order by delay_ms), 0)::bigint \
                       from conversion_results where attributed), \
                      (select count(*) from budget_alerts where threshold = 80), \
                      (select count(*) from budget_alerts where threshold = 100), \
                      (select count(*) from campaigns where paused_reason = 'DAILY_BUDGET')";
        let row = self.client.query_one(counts, &[]).await.map_err(failed)?;
        let number = |index| row.try_get::<_, i64>(index).map_err(failed);
        Ok(Conclusions {
            conversions: number(0)?,
            attributed: number(1)?,
            delay_ms: number(2)?,
            warned: number(3)?,
            exhausted: number(4)?,
            paused: number(5)?,
        })
    }
}

/// What the tables beside the ledger hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Conclusions {
    pub(crate) conversions: i64,
    pub(crate) attributed: i64,
    /// The median time from click to conversion.
    pub(crate) delay_ms: i64,
    pub(crate) warned: i64,
    pub(crate) exhausted: i64,
    pub(crate) paused: i64,
}

/// A row of the ledger, and what it stands for.
struct Entry {
    is_charge: bool,
    at: Stored,
    repeated: Repeated,
    row: Row,
}

fn entry(row: &tokio_postgres::Row) -> std::result::Result<Entry, tokio_postgres::Error> {
    let end = Timestamp::from_millis(row.try_get(7)?);
    Ok(Entry {
        is_charge: row.try_get(0)?,
        at: (row.try_get(1)?, row.try_get(2)?),
        repeated: (row.try_get(5)?, row.try_get(6)?, end),
        row: Row { advertiser_id: row.try_get(3)?, amount: row.try_get(4)? },
    })
}
