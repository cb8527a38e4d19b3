//! What W1 writes, as a reader of Postgres sees it: a schema of a test's own.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::stage::{address, connect, postgres, until};
use crate::traffic::Sent;

/// Advertisers whose balance is not the sum of their ledger, in one look.
const WRONG: &str = "select count(*) from
    (select advertiser_id, sum(amount) as booked from balance_ledger group by advertiser_id) booked
    full join advertiser_balances using (advertiser_id)
    where booked is null or balance is null or booked <> balance";
/// The pause between two looks of a watch.
const LOOK_EVERY: Duration = Duration::from_millis(30);

pub(crate) struct Ledger {
    /// The consumer group of whoever writes it.
    pub(crate) group: String,
    schema: String,
    reader: Client,
}

impl Ledger {
    pub(crate) async fn new(schema: &str) -> Self {
        connect(&postgres()).await.batch_execute(&format!("create schema {schema}")).await.unwrap();
        let url = url(schema);
        let reader = connect(&url).await;
        Self { group: format!("{schema}-w1"), schema: schema.to_owned(), reader }
    }

    /// The URL with this schema.
    pub(crate) fn url(&self) -> String {
        url(&self.schema)
    }

    /// The URL with this schema, by another `host:port`.
    pub(crate) fn url_by(&self, other: &str) -> String {
        self.url().replacen(&address(&postgres()), other, 1)
    }

    /// The next offset of each partition that is known; none before the tables are there.
    pub(crate) async fn positions(&self) -> BTreeMap<i32, i64> {
        let sql = "select partition, next_offset from rtbflow_positions
            where job = $1 and next_offset is not null";
        let rows = self.reader.query(sql, &[&self.group]).await.unwrap_or_default();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Waits until everything below these offsets is committed.
    pub(crate) async fn until_read(&self, ends: &BTreeMap<i32, i64>) {
        until("W1 reads on", async || behind(&self.positions().await, ends)).await;
    }

    /// The tables of the schema.
    async fn tables(&self) -> Vec<String> {
        let sql =
            "select tablename from pg_tables where schemaname = $1 and tablename not like 'old_%'";
        let rows = self.reader.query(sql, &[&self.schema]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Keeps all tables as they are now, for [`fall_back`](Self::fall_back).
    pub(crate) async fn remember(&self) {
        let copy = |table: &String| format!("create table old_{table} as table {table};");
        let copies: String = self.tables().await.iter().map(copy).collect();
        let at_once = format!("begin isolation level repeatable read; {copies} commit");
        self.reader.batch_execute(&at_once).await.unwrap();
    }

    /// From one moment to the next all tables are as they were, as where a standby takes over that was behind.
    pub(crate) async fn fall_back(&self) {
        let tables = self.tables().await;
        let back = |table: &String| {
            format!("insert into {table} overriding system value table old_{table};")
        };
        let back: String = tables.iter().map(back).collect();
        let at_once = format!("begin; truncate {}; {back} commit", tables.join(", "));
        self.reader.batch_execute(&at_once).await.unwrap();
    }

    pub(crate) async fn rows(&self) -> i64 {
        let sql = "select count(*) from balance_ledger";
        self.reader.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn balances(&self) -> BTreeMap<String, i64> {
        let sql = "select advertiser_id, balance from advertiser_balances";
        let rows = self.reader.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Checks that every click was charged once, and nothing else.
    pub(crate) async fn is_exact(&self, sent: &Sent) {
        assert_eq!(self.rows().await, sent.clicks, "ledger rows and clicks");
        let wrong: i64 = self.reader.query_one(WRONG, &[]).await.unwrap().get(0);
        assert_eq!(wrong, 0, "advertisers whose balance is not the sum of their ledger");
        let charges: BTreeMap<String, i64> =
            sent.charges.iter().map(|(who, amount)| (who.clone(), -amount)).collect();
        assert_eq!(self.balances().await, charges);
    }

    /// Looks at the balances all the time.
    pub(crate) async fn watch(&self) -> Watch {
        let reader = connect(&self.url()).await;
        let (stop, mut stopped) = oneshot::channel();
        let looking = tokio::spawn(async move {
            let mut looks = 0;
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                // The tables come with the first worker.
                if let Ok(row) = reader.query_one(WRONG, &[]).await {
                    let wrong: i64 = row.get(0);
                    assert_eq!(
                        wrong, 0,
                        "balances that are not the sum of their ledger, in mid-run"
                    );
                    looks += 1;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            looks
        });
        Watch { stop, looking }
    }
}

/// A reader in a loop.
pub(crate) struct Watch {
    stop: oneshot::Sender<()>,
    looking: JoinHandle<u64>,
}

impl Watch {
    /// Checks that it saw nothing wrong.
    pub(crate) async fn was_never_wrong(self) {
        // It may have ended already, having seen something wrong.
        let _ = self.stop.send(());
        let looks = self.looking.await.unwrap();
        assert!(looks > 10, "only {looks} looks at the balances");
    }
}

/// What is missing from positions to reach these ends.
pub(crate) fn behind(
    positions: &BTreeMap<i32, i64>,
    ends: &BTreeMap<i32, i64>,
) -> Result<(), Vec<(i32, i64)>> {
    let lag = |(partition, end): (&i32, &i64)| {
        let lag = end - positions.get(partition).copied().unwrap_or(0);
        (lag > 0).then_some((*partition, lag))
    };
    let behind: Vec<_> = ends.iter().filter_map(lag).collect();
    if behind.is_empty() { Ok(()) } else { Err(behind) }
}

fn url(schema: &str) -> String {
    let url = postgres();
    let behind = if url.contains('?') { '&' } else { '?' };
    format!("{url}{behind}options=-c%20search_path%3D{schema}")
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let drop = format!("drop schema {} cascade", self.schema);
        let dropped = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { connect(&postgres()).await.batch_execute(&drop).await })
        })
        .join();
        // A test that is failing already says more.
        if !std::thread::panicking() {
            dropped.unwrap().unwrap();
        }
    }
}
