//! Pays every refund to its advertiser, and none twice: ledger row, balance and positions in one transaction.
//!
//! Whoever finds that clicks were repeated sends one refund for a device, an ad and a window. Should it come
//! twice, be it that its sender was killed between two Kafka transactions or that somebody reads the topic
//! again, the second must not be paid. Its twin may have come days ago, or by another partition, so the answer
//! is in the database alone: there each refund that was paid has a row in `rtbflow_refunds`, which has room for
//! one. What is found there already is left out, and accounted for as a duplicate.
//!
//! ```console
//! $ compensation-worker --kafka localhost:9092 --postgres postgres://localhost/rtb --create-tables
//! ```

use futures::future::BoxFuture;
use rtbflow::barrier::Class;
use rtbflow::sink::Sink;
use rtbflow::{Elements, Flow, Job, Record, Result};
use rtbflow_sinks::postgres::{Postgres, Records, Transaction, Value};

use crate::balance;
use crate::events::{Refund, refunds};
use crate::launch::Launch;
use crate::options::{NoMore, Options};
use crate::pipeline::COMPENSATION;
use crate::process::{Outcome, Shutdown};
use crate::reset::{InPostgres, Removal};
use crate::topics::SystemTopic;

/// Which refunds were paid, and by which record: as lasting as the ledger.
pub const TABLE: &str = r#"
create table if not exists rtbflow_refunds (
    id bytea primary key,
    topic text collate "C" not null,
    partition int not null,
    "offset" bigint not null
);
"#;

/// How refunds are taken back, in the order in which everybody locks. Those that were paid are remembered in a
/// table of their own, which goes as well: they are to be paid again.
pub const REMOVALS: &[Removal] = &[
    Removal {
        tables: &["rtbflow_refunds"],
        what: "refunds that rtbflow_refunds remembers as paid",
        count: "select count(*) as count from rtbflow_refunds",
        remove: &["delete from rtbflow_refunds"],
    },
    Removal {
        tables: &["balance_ledger", "advertiser_balances"],
        what: "rows DUPLICATE_REFUND of balance_ledger; the balances are corrected by them",
        count: "select count(*) as count from balance_ledger where kind = 'DUPLICATE_REFUND'",
        remove: &[
            "select from advertiser_balances b where exists (select from balance_ledger l
                where l.advertiser_id = b.advertiser_id and l.kind = 'DUPLICATE_REFUND')
                order by octet_length(advertiser_id), advertiser_id collate \"C\" for update",
            "with gone as (
                delete from balance_ledger where kind = 'DUPLICATE_REFUND' returning advertiser_id, amount
            ), sums as (
                select advertiser_id, sum(amount) as amount from gone group by advertiser_id
            )
            update advertiser_balances b set balance = b.balance - sums.amount, updated_at = now()
            from sums where sums.advertiser_id = b.advertiser_id",
            balance::FORGET_EMPTY,
        ],
    },
];

/// What is to be paid: every refund. Which of them were paid before, only the place knows.
pub fn payments(
    refunds: Flow<impl Elements<Value = Refund>>,
) -> Flow<impl Elements<Value = Refund>> {
    refunds
}

const PAY: &str = include_str!("refund.sql");
/// `sha256` is as old.
const OLDEST_SERVER: u32 = 11;

/// The parameters of [`PAY`].
fn columns<'a>(refunds: impl Iterator<Item = &'a Record<Refund>> + Clone) -> [Value; 9] {
    let text = |of: fn(&Refund) -> &str| Value::array(refunds.clone().map(|r| of(&r.value)));
    let origins = || refunds.clone().map(|refund| refund.origin);
    [
        text(|refund| &refund.advertiser_id),
        text(|refund| &refund.campaign_id),
        text(|refund| &refund.ad_id),
        text(|refund| &refund.device_id),
        Value::array(refunds.clone().map(|refund| refund.value.timestamp)),
        Value::array(refunds.clone().map(|refund| refund.value.amount)),
        Value::array(origins().map(|at| at.map(|at| at.topic()))),
        Value::array(origins().map(|at| at.map(|at| at.partition().number))),
        Value::array(origins().map(|at| at.map(|at| at.offset()))),
    ]
}

/// Pays the refunds that were not paid before. Of two for the same clicks the first offset of its partition
/// wins; between partitions, whichever is committed first.
fn pay<'a>(tx: &'a Transaction<'a>, refunds: Records<'a, Refund>) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        let paid_before = tx.query(PAY, &columns(refunds.iter())).await?;
        let mut numbered = (1_i64..).zip(refunds.iter());
        for row in paid_before {
            let number: i64 = row.get("number")?;
            if let Some((_, repeat)) = numbered.find(|(at, _)| *at == number) {
                tx.account(repeat, Class::Duplicate);
            }
        }
        Ok(())
    })
}

/// Pays each refund once.
pub fn paid_once(postgres: &Postgres) -> impl Sink<Refund> + use<> {
    postgres
        .transact("pay refunds", pay)
        .runs(PAY, &columns(std::iter::empty()))
        .oldest_server(OLDEST_SERVER)
}

/// Runs the pipeline.
///
/// # Errors
/// As [`Launch::run`].
pub async fn run(options: Options<NoMore>, shutdown: Shutdown) -> Result<Outcome> {
    let common = options.common;
    let launch = Launch::new(COMPENSATION, &common)?;
    let creates = common.create_tables;
    let postgres = common.to_postgres()?.build()?;
    if launch.is_reset() {
        return launch.reset(InPostgres::new(&postgres, REMOVALS)).await;
    }
    let compensations = launch
        .source(SystemTopic::CompensationEvents, refunds())
        .event_time(|refund| refund.timestamp, common.out_of_orderness);
    // It does not look at time: none is too far ahead.
    let job =
        Job::new(&common.group).source(compensations).anchor(postgres.clone()).max_ahead(None);
    let job = job.pipeline({
        let postgres = postgres.clone();
        move |refunds| payments(refunds).to(paid_once(&postgres))
    });
    let make_tables = || async {
        if creates {
            postgres.create_table(&[balance::TABLES, TABLE].concat()).await?;
        }
        Ok(())
    };
    launch.run(job, make_tables, shutdown).await
}

#[cfg(test)]
mod tests {
    use rtbflow::Timestamp;
    use rtbflow::epoch::Memory;
    use rtbflow::source::MemorySource;

    use super::*;

    fn refund(device: &str, window_end: i64, advertiser: &str, amount: i64) -> Refund {
        Refund {
            timestamp: Timestamp::from_millis(window_end),
            advertiser_id: advertiser.into(),
            campaign_id: "campaign_1".into(),
            ad_id: "ad_1".into(),
            device_id: device.into(),
            amount,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_refund_is_paid_once_and_its_repeats_are_counted() {
        let place = Memory::new();
        let paid = place.collected::<Refund>();
        let sent = vec![
            refund("device_1", 300_000, "a", 2400),
            refund("device_2", 300_000, "a", 0),
            // The same clicks, whatever else it says; other clicks; and once more.
            refund("device_1", 300_000, "b", 99),
            refund("device_1", 600_000, "b", 700),
            refund("device_2", 300_000, "a", 0),
        ];
        let job = Job::new("refunds")
            .source(MemorySource::new("compensation-events", vec![sent]))
            .anchor(place.clone())
            .pipeline({
                let paid = paid.clone();
                move |refunds| payments(refunds).to(paid.sink().distinct(Refund::repeats))
            });
        let report = job.until_end(true).run_until(std::future::pending()).await.unwrap();
        let paid = paid.values();
        let paid: Vec<_> = paid.iter().map(|paid| (&*paid.advertiser_id, paid.amount)).collect();
        assert_eq!(paid, [("a", 2400), ("a", 0), ("b", 700)]);
        assert_eq!((report.decoded, report.duplicates, report.records_out), (3, 2, 3));
    }
}
