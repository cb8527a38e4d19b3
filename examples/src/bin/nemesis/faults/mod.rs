//! The faults: each begins, holds for a while, and ends.

mod broker;
mod instance;
mod line;
mod postgres;
mod redis;

use std::time::Duration;

use rtbflow_examples::generator::Dice;

use crate::Fallible;
use crate::findings::Findings;
use crate::fleet::Fleet;
use crate::servers::World;
use crate::topology::Topology;

use broker::OfBrokers;
pub(crate) use instance::{OfInstances, clock_file};
use line::{OfLines, To};
use postgres::OfPostgres;
use redis::OfRedis;

/// A kind of fault, by what it befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Instances(OfInstances),
    Postgres(OfPostgres),
    Redis(OfRedis),
    Line(OfLines, To),
    Brokers(OfBrokers),
}

/// All that faults touch.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) dice: &'a mut Dice,
    pub(crate) findings: &'a Findings,
}

/// For how long a fault holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) time: Duration,
    /// Whether the pipelines can go on meanwhile.
    pub(crate) goes_on: bool,
}

impl Hold {
    const fn seconds(seconds: u64) -> Self {
        Self { time: Duration::from_secs(seconds), goes_on: false }
    }

    const fn going_on(self) -> Self {
        Self { goes_on: true, ..self }
    }
}

use Fault::{Brokers, Instances, Line, Postgres, Redis};

/// All of them, by their names in the report and on the command line.
const ALL: &[(Fault, &str)] = &[
    (Instances(OfInstances::Killed), "instances killed"),
    (Instances(OfInstances::Frozen), "instances frozen past their session"),
    (Instances(OfInstances::Storm), "rebalance storm"),
    (Instances(OfInstances::Scaled), "scaled to 1, to 5 and to 2"),
    (Instances(OfInstances::Restarted), "instances restarted one by one"),
    (Instances(OfInstances::ClockJumps), "clock jumps by an hour"),
    (Postgres(OfPostgres::Immediate), "Postgres stopped -m immediate"),
    (Postgres(OfPostgres::Frozen), "Postgres frozen"),
    (Postgres(OfPostgres::Full), "disk full under Postgres"),
    (Postgres(OfPostgres::Terminated), "backends terminated"),
    (Postgres(OfPostgres::Locked), "table locked"),
    (Postgres(OfPostgres::RightsTaken), "rights taken and given back"),
    (Postgres(OfPostgres::Promoted), "standby promoted"),
    (Postgres(OfPostgres::FrontKilled), "pooler killed"),
    (Redis(OfRedis::Killed), "Redis killed"),
    (Redis(OfRedis::Frozen), "Redis frozen"),
    (Redis(OfRedis::Full), "Redis OOM"),
    (Redis(OfRedis::ReadOnly), "Redis READONLY"),
    (Redis(OfRedis::RightsTaken), "Redis NOPERM"),
    (Redis(OfRedis::Busy), "Redis BUSY"),
    (Redis(OfRedis::Flushed), "script cache flushed"),
    (Redis(OfRedis::ClientsKilled), "Redis clients killed"),
    (Redis(OfRedis::Promoted), "replica promoted by Sentinel"),
    (Line(OfLines::Cut, To::Postgres), "Postgres connections cut"),
    (Line(OfLines::Cut, To::Redis), "Redis connections cut"),
    (Line(OfLines::Cut, To::Kafka), "Kafka connections cut"),
    (Line(OfLines::Slow, To::Postgres), "Postgres line slow"),
    (Line(OfLines::Slow, To::Redis), "Redis line slow"),
    (Line(OfLines::Slow, To::Kafka), "Kafka line slow"),
    (Line(OfLines::HalfOpen, To::Postgres), "Postgres half-open"),
    (Line(OfLines::HalfOpen, To::Redis), "Redis half-open"),
    (Line(OfLines::HalfOpen, To::Kafka), "Kafka half-open"),
    (Line(OfLines::Swallowed, To::Postgres), "answers to COMMIT swallowed"),
    (Line(OfLines::Swallowed, To::Redis), "answers to EVALSHA swallowed"),
    (Line(OfLines::Swallowed, To::Kafka), "answers to EndTxn swallowed"),
    (Brokers(OfBrokers::Killed), "broker killed"),
    (Brokers(OfBrokers::Frozen), "broker frozen"),
    (Brokers(OfBrokers::Full), "disk full under Kafka"),
    (Brokers(OfBrokers::Rolled), "brokers restarted one by one"),
    (Brokers(OfBrokers::LeadersMoved), "leaders moved"),
    (Brokers(OfBrokers::LeaderKilled), "partition leader killed"),
    (Brokers(OfBrokers::CoordinatorKilled), "group coordinator killed"),
    (Brokers(OfBrokers::TransactionsKilled), "transaction coordinator killed"),
    (Brokers(OfBrokers::TwoAway), "two of three brokers away"),
];

impl Fault {
    /// Its name in the report and on the command line.
    pub(crate) fn name(self) -> &'static str {
        ALL.iter().find(|(fault, _)| *fault == self).map_or("", |(_, name)| name)
    }

    /// The fault of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        ALL.iter().find(|(_, of)| *of == name).map(|(fault, _)| *fault)
    }

    /// All names.
    pub(crate) fn names() -> Vec<&'static str> {
        ALL.iter().map(|(_, name)| *name).collect()
    }

    /// All that can be done on a topology.
    pub(crate) fn of(topology: Topology) -> Vec<Self> {
        ALL.iter().map(|(fault, _)| *fault).filter(|fault| fault.fits(topology)).collect()
    }

    fn fits(self, topology: Topology) -> bool {
        match self {
            Instances(_) => true,
            Postgres(fault) => fault.fits(topology),
            Redis(fault) => fault.fits(topology),
            // Three brokers name each other, and would all have to be behind lines.
            Line(_, to) => to != To::Kafka || !topology.has_cluster(),
            Brokers(fault) => fault.fits(topology),
        }
    }

    /// For how long it holds.
    pub(crate) fn hold(self) -> Hold {
        match self {
            Instances(fault) => fault.hold(),
            Postgres(_) | Redis(_) | Line(..) => Hold::seconds(6),
            Brokers(fault) => fault.hold(),
        }
    }

    /// Begins.
    pub(crate) async fn begin(self, scene: &mut Scene<'_>) -> Fallible {
        match self {
            Instances(fault) => fault.begin(scene).await,
            Postgres(fault) => fault.begin(scene).await,
            Redis(fault) => fault.begin(scene).await,
            Line(fault, to) => fault.begin(to, scene).await,
            Brokers(fault) => fault.begin(scene).await,
        }
    }

    /// Ends; all is well again, but for what the pipelines have to make up for.
    pub(crate) async fn end(self, scene: &mut Scene<'_>) -> Fallible {
        match self {
            Instances(_) => scene.fleet.thaw(),
            Postgres(fault) => fault.end(scene).await?,
            Redis(fault) => fault.end(scene).await?,
            Line(..) => line::mend(scene),
            Brokers(_) => scene.world.brokers.recover().await?,
        }
        Ok(())
    }
}
