//! Reads the money in Postgres: some of it while it moves, all of it for the proof.

use std::collections::HashMap;

use rtbflow::{Error, Result, Timestamp};
use rtbflow_examples::generator::Charge;
use rtbflow_examples::topics::SystemTopic;
use tokio_postgres::{Client, NoTls};

use crate::progress::{PartitionPosition, Positions};
use crate::traffic::Stored;
use crate::view::grouped;

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
        let positions = "select partition, coalesce(next_offset, 0), event_time_ms \
                         from rtbflow_positions where job = $1 and topic = $2";
        let topic = SystemTopic::AdEvents.name();
        let rows = self.client.query(positions, &[&group, &topic]).await.map_err(failed)?;
        rows.iter()
            .map(|row| {
                let event_time = row.try_get::<_, Option<i64>>(2)?.map(Timestamp::from_millis);
                Ok((row.try_get(0)?, PartitionPosition { next: row.try_get(1)?, event_time }))
            })
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    /// Compares every charge that was sent with its row in the ledger, and the balances with their sum.
    pub(crate) async fn prove(&self, charges: &HashMap<Stored, Charge>) -> Result<Proof> {
        let mut proof = Proof { clicks: charges.len(), ..Proof::default() };
        proof.prices = charges.values().map(|charge| charge.amount).sum();
        if !self.has_tables().await? {
            proof.missing = charges.len();
            return Ok(proof);
        }
        let rows = "select partition, \"offset\", advertiser_id, amount from balance_ledger where topic = $1";
        let rows =
            self.client.query(rows, &[&SystemTopic::AdEvents.name()]).await.map_err(failed)?;
        let mut found = 0;
        for row in &rows {
            let at: Stored = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
            let advertiser_id: &str = row.try_get(2).map_err(failed)?;
            let amount: i64 = row.try_get(3).map_err(failed)?;
            match charges.get(&at) {
                None => proof.unknown += 1,
                Some(charge) => {
                    found += 1;
                    let agrees = charge.advertiser_id == advertiser_id && charge.amount == -amount;
                    proof.wrong += usize::from(!agrees);
                }
            }
        }
        proof.missing = charges.len() - found;
        let sums = "select coalesce(sum(balance), 0)::bigint, coalesce(sum(charged), 0)::bigint, \
                    count(*) filter (where balance <> charged) \
                    from (select coalesce(balance, 0) as balance, coalesce(charged, 0) as charged \
                          from advertiser_balances full join \
                          (select advertiser_id, sum(amount)::bigint as charged \
                           from balance_ledger group by 1) as ledger using (advertiser_id)) as both_sides";
        let sums = self.client.query_one(sums, &[]).await.map_err(failed)?;
        proof.balances = sums.try_get(0).map_err(failed)?;
        proof.ledger = sums.try_get(1).map_err(failed)?;
        let unequal: i64 = sums.try_get(2).map_err(failed)?;
        proof.unequal = usize::try_from(unequal).unwrap_or(usize::MAX);
        Ok(proof)
    }
}

/// The money, added up from both ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Clicks that were sent and stored.
    clicks: usize,
    /// The sum of their prices.
    prices: i64,
    /// Clicks without a row in the ledger.
    missing: usize,
    /// Rows with another price or advertiser than the click.
    wrong: usize,
    /// Rows for records that were not sent by us.
    unknown: usize,
    /// The sum of all balances.
    balances: i64,
    /// The sum of the ledger.
    ledger: i64,
    /// Advertisers whose balance is not the sum of their ledger.
    unequal: usize,
}

impl Proof {
    /// Whether every won is where it belongs.
    pub(crate) fn holds(&self) -> bool {
        self.missing == 0
            && self.wrong == 0
            && self.unequal == 0
            && self.balances == self.ledger
            && (self.unknown > 0 || self.balances == -self.prices)
    }

    /// What was found, for the terminal.
    pub(crate) fn text(&self) -> String {
        let Self { clicks, prices, missing, wrong, unknown, balances, ledger, unequal } = self;
        let verdict = if self.holds() { "the money is right" } else { "THE MONEY IS WRONG" };
        let others = match unknown {
            0 => String::new(),
            others => format!("  {others} rows are for records that somebody else sent\n"),
        };
        format!(
            "\nproof, record by record\n  {clicks} clicks were sent for {} won; {missing} have no row in the ledger, \
             {wrong} a wrong one\n{others}  the ledger adds up to {} won and the balances to {} won; \
             {unequal} advertisers differ\n  {verdict}\n",
            grouped(*prices),
            grouped(*ledger),
            grouped(*balances)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_fails_for_each_kind_of_error() {
        let good = Proof { clicks: 2, prices: 30, balances: -30, ledger: -30, ..Proof::default() };
        assert!(good.holds() && good.text().contains("the money is right"));
        for bad in [
            Proof { missing: 1, ..good.clone() },
            Proof { wrong: 1, ..good.clone() },
            Proof { unequal: 1, ..good.clone() },
            Proof { balances: -29, ..good.clone() },
            Proof { balances: -29, ledger: -29, ..good.clone() },
        ] {
            assert!(!bad.holds() && bad.text().contains("WRONG"), "{bad:?}");
        }
    }
}
