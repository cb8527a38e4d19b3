//! Postgres dies, freezes, ends sessions, and refuses.

use std::time::Duration;

use super::{Fault, Scene};
use crate::Fallible;

const LOCKED: Duration = Duration::from_secs(6);
const BEHIND: Duration = Duration::from_secs(2);
const TABLES: &[&str] = &[
    "advertiser_balances",
    "balance_ledger",
    "conversion_results",
    "budget_alerts",
    "rtbflow_positions",
    "campaigns",
];
const TERMINATE: &str =
    "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'pipeline'";

pub(super) async fn begin(fault: Fault, scene: &mut Scene<'_>) -> Fallible {
    match fault {
        Fault::PostgresImmediate => scene.world.postgres.stop_immediately().await,
        Fault::PostgresFull => scene.world.postgres.fill_disk()?,
        Fault::PostgresFrozen => scene.world.postgres.signal_all("STOP"),
        Fault::Terminated => {
            let admin = scene.world.postgres.admin().await?;
            for _ in 0..5 {
                admin.execute(TERMINATE, &[]).await?;
                scene.fleet.wait(Duration::from_millis(500)).await?;
            }
        }
        Fault::TableLocked => {
            let mut admin = scene.world.postgres.admin().await?;
            let table = scene.dice.pick(TABLES);
            let lock = admin.transaction().await?;
            lock.batch_execute(&format!("lock table {table} in access exclusive mode")).await?;
            scene.fleet.wait(LOCKED).await?;
            lock.rollback().await?;
        }
        Fault::RightsTaken => {
            scene.fleet.may_be_refused = true;
            let admin = scene.world.postgres.admin().await?;
            admin
                .batch_execute("revoke insert, update on all tables in schema public from pipeline")
                .await?;
        }
        Fault::FailedOver => scene.world.fail_over(BEHIND).await?,
        _ => {
            if let Some(front) = &mut scene.world.front {
                front.again().await?;
            }
        }
    }
    Ok(())
}

pub(super) async fn end(fault: Fault, scene: &mut Scene<'_>) -> Fallible {
    match fault {
        Fault::PostgresImmediate => scene.world.postgres.start().await,
        Fault::PostgresFull => scene.world.postgres.empty_disk().await,
        Fault::PostgresFrozen => {
            scene.world.postgres.signal_all("CONT");
            Ok(())
        }
        _ => {
            let admin = scene.world.postgres.admin().await?;
            admin
                .batch_execute("grant insert, update on all tables in schema public to pipeline")
                .await?;
            Ok(())
        }
    }
}
