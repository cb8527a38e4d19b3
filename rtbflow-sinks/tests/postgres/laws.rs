//! The laws that every anchor keeps, and what this one adds to them.

use futures::future::join_all;
use rtbflow::Record;
use rtbflow::barrier::Class;
use rtbflow::epoch::Anchor;
use rtbflow::sink::{Sink, Staged};
use rtbflow::testing::laws::{self, AnchorUnderTest};
use rtbflow_sinks::postgres::{Postgres, Records};
use tokio_postgres::Client;

use super::schema::{Schema, job, one, record};

/// The table that the laws write to.
pub(crate) const NUMBERS: &str = "create table if not exists numbers (value bigint)";

/// A place as the laws see it.
pub(crate) struct Place {
    pub(crate) postgres: Postgres,
    pub(crate) reader: Client,
}

impl AnchorUnderTest for Place {
    type Anchor = Postgres;
    const TELLS_FORMER_OWNERS: bool = true;

    fn anchor(&self) -> Postgres {
        self.postgres.with_own_connections()
    }

    fn stage(&self, value: i64) -> Staged {
        let mut sink = self.postgres.insert("numbers").bigint("value", |value: &i64| *value);
        let mut staged = Vec::new();
        sink.write(&record(value, 0, 0));
        sink.stage(&mut staged);
        staged.remove(0)
    }

    fn stage_distinct(&self, record: &Record<i64>) -> Option<Staged> {
        let mut sink = self.postgres.transact("distinct", |tx, batch: Records<'_, i64>| {
            Box::pin(async move {
                for record in batch.iter() {
                    let sql = "insert into numbers select $1 where not exists
                        (select from numbers where value = $1)";
                    if tx.execute(sql, &[record.value.into()]).await? == 0 {
                        tx.account(record, Class::Duplicate);
                    }
                }
                Ok(())
            })
        });
        let mut staged = Vec::new();
        sink.write(record);
        sink.stage(&mut staged);
        staged.pop()
    }

    async fn total(&self) -> i64 {
        one(&self.reader, "select coalesce(sum(value), 0)::bigint from numbers").await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_anchor_keeps_the_laws() {
    let schema = Schema::new().await;
    let postgres = schema.place().await;
    postgres.create_table(NUMBERS).await.unwrap();
    laws::anchor(&Place { postgres, reader: schema.reader().await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_instances_may_start_at_once() {
    let schema = Schema::new().await;
    let own = "create table if not exists own (a int); create index if not exists own_a on own (a)";
    let instances = (0..16).map(|_| async {
        let postgres = schema.options().build().unwrap();
        postgres.prepare(&job()).await?;
        postgres.create_table(own).await
    });
    for outcome in join_all(instances).await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn missing_tables_are_not_made_unless_asked_for() {
    let schema = Schema::new().await;
    let postgres = schema.options().create_tables(false).build().unwrap();
    let error = postgres.prepare(&job()).await.unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("Options::create_tables(true)"),
        "{error:?}"
    );
    schema.place().await;
    postgres.prepare(&job()).await.unwrap();
}
