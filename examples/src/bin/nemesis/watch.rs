//! Looks all the time whether balances are what their ledger says: opening balance and the sum of all rows.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::Fallible;
use crate::findings::Findings;
use crate::positions::Primaries;
use crate::servers::connect_postgres;

const LOOK_EVERY: Duration = Duration::from_millis(150);
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// The nemesis's own table of opening balances: beside it no advertiser had anything.
pub(crate) const OPENINGS: &str = "create table if not exists nemesis_openings \
     (advertiser_id text primary key, balance bigint not null)";

const WRONG: &str = "select coalesce(b.advertiser_id, l.advertiser_id) as advertiser, \
     coalesce(b.balance, 0) as balance, coalesce(o.balance, 0) as opening, coalesce(l.amount, 0) as amount \
     from advertiser_balances b \
     full join (select advertiser_id, sum(amount)::bigint as amount from balance_ledger group by 1) l \
     using (advertiser_id) left join nemesis_openings o \
     on o.advertiser_id = coalesce(b.advertiser_id, l.advertiser_id) \
     where coalesce(b.balance, 0) <> coalesce(o.balance, 0) + coalesce(l.amount, 0)";

/// A reader in a loop.
#[derive(Debug)]
pub(crate) struct Watch(AbortHandle);

impl Watch {
    /// Begins to look.
    pub(crate) fn begin(primaries: Primaries, findings: Findings) -> Self {
        let looking = tokio::spawn(async move {
            loop {
                // That the server is away is for others to notice.
                let _ = timeout(LONGEST_ANSWER, look(&primaries, &findings)).await;
                sleep(LOOK_EVERY).await;
            }
        });
        Self(looking.abort_handle())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Looks, by one connection, until it breaks.
async fn look(primaries: &Primaries, findings: &Findings) -> Fallible {
    let url = primaries.postgres();
    let client = connect_postgres(&url).await?;
    while primaries.postgres() == url {
        for row in client.query(WRONG, &[]).await? {
            let (advertiser, balance): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            let (opening, amount): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
            findings.violation(&format!(
                "in mid-run {advertiser} has {balance}, with an opening balance of {opening} and a ledger of {amount}"
            ));
        }
        findings.count("looks at the balances", 1);
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}
