//! Postgres dies, freezes, ends sessions, and refuses.

use std::time::Duration;

use super::Scene;
use crate::Fallible;
use crate::topology::Topology;

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
const TAKE: &str = "revoke insert, update on all tables in schema public from pipeline";
const GIVE: &str = "grant insert, update on all tables in schema public to pipeline; \
     revoke insert on campaigns from pipeline";
const TERMINATE: &str =
    "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'pipeline'";

/// What befalls Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfPostgres {
    /// As `pg_ctl stop -m immediate` does.
    Immediate,
    /// The server with all its processes.
    Frozen,
    /// Its disk is full.
    Full,
    /// All sessions of the pipelines, again and again.
    Terminated,
    /// Nobody gets at one of the tables.
    Locked,
    /// The pipelines' role may write nothing.
    RightsTaken,
    /// The primary is lost.
    Promoted,
    /// The pooler, or the load balancer, dies and comes back.
    FrontKilled,
}

impl OfPostgres {
    pub(super) fn fits(self, topology: Topology) -> bool {
        match self {
            Self::Full => topology == Topology::One,
            Self::Promoted => topology.has_standby(),
            Self::FrontKilled => {
                matches!(topology, Topology::Session | Topology::Transaction | Topology::Haproxy)
            }
            Self::Immediate
            | Self::Frozen
            | Self::Terminated
            | Self::Locked
            | Self::RightsTaken => true,
        }
    }

    pub(super) async fn begin(self, scene: &mut Scene<'_>) -> Fallible {
        match self {
            Self::Immediate => scene.world.postgres.stop_immediately().await,
            Self::Frozen => scene.world.postgres.signal_all("STOP"),
            Self::Full => scene.world.postgres.fill_disk()?,
            Self::Terminated => {
                let admin = scene.world.postgres.admin().await?;
                for _ in 0..5 {
                    admin.execute(TERMINATE, &[]).await?;
                    scene.fleet.wait(Duration::from_millis(500)).await?;
                }
            }
            Self::Locked => {
                let mut admin = scene.world.postgres.admin().await?;
                let table = scene.dice.pick(TABLES);
                let lock = admin.transaction().await?;
                lock.batch_execute(&format!("lock table {table} in access exclusive mode")).await?;
                scene.fleet.wait(LOCKED).await?;
                lock.rollback().await?;
            }
            Self::RightsTaken => {
                scene.fleet.may_be_refused = true;
                scene.world.postgres.admin().await?.batch_execute(TAKE).await?;
            }
            Self::Promoted => scene.world.fail_over(BEHIND).await?,
            Self::FrontKilled => {
                if let Some(front) = &mut scene.world.front {
                    front.again().await?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn end(self, scene: &mut Scene<'_>) -> Fallible {
        match self {
            Self::Immediate => scene.world.postgres.start().await?,
            Self::Frozen => scene.world.postgres.signal_all("CONT"),
            Self::Full => scene.world.postgres.empty_disk().await?,
            Self::RightsTaken => scene.world.postgres.admin().await?.batch_execute(GIVE).await?,
            // It is over already.
            Self::Terminated | Self::Locked | Self::Promoted | Self::FrontKilled => {}
        }
        Ok(())
    }
}
