//! The faults: each begins, holds for a while, and ends.

mod broker;
mod instance;
mod line;
mod postgres;
mod redis;

pub(crate) use instance::clock_file;

use std::time::Duration;

use rtbflow_examples::generator::Dice;

use crate::Fallible;
use crate::findings::Findings;
use crate::fleet::Fleet;
use crate::servers::World;
use crate::topology::Topology;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    // Of instances.
    Killed,
    Frozen,
    Storm,
    Scaled,
    Restarted,
    ClockJumps,
    // Of Postgres.
    PostgresFull,
    PostgresImmediate,
    PostgresFrozen,
    Terminated,
    TableLocked,
    RightsTaken,
    FailedOver,
    PoolerRestarted,
    // Of Redis.
    RedisKilled,
    RedisFrozen,
    RedisFull,
    RedisReadOnly,
    RedisRights,
    RedisBusy,
    ScriptsFlushed,
    RedisClientsKilled,
    Promoted,
    // Of the lines.
    PostgresCut,
    RedisCut,
    KafkaCut,
    PostgresSlow,
    RedisSlow,
    PostgresHalfOpen,
    RedisHalfOpen,
    KafkaHalfOpen,
    CommitSwallowed,
    EvalSwallowed,
    EndSwallowed,
    // Of brokers.
    BrokerKilled,
    BrokerFrozen,
    BrokersRolled,
    BrokerFull,
    LeadersMoved,
    LeaderKilled,
    CoordinatorKilled,
    TransactionsKilled,
    TwoAway,
}

/// All that faults touch.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) dice: &'a mut Dice,
    pub(crate) findings: &'a Findings,
}

impl Fault {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Killed, "instances killed"),
        (Self::Frozen, "instances frozen past their session"),
        (Self::Storm, "rebalance storm"),
        (Self::Scaled, "scaled 1, 5, 2"),
        (Self::Restarted, "instances restarted one by one"),
        (Self::ClockJumps, "clock jumps by an hour"),
        (Self::PostgresFull, "disk full under Postgres"),
        (Self::PostgresImmediate, "Postgres stopped -m immediate"),
        (Self::PostgresFrozen, "Postgres frozen"),
        (Self::Terminated, "backends terminated"),
        (Self::TableLocked, "table locked"),
        (Self::RightsTaken, "rights taken and given back"),
        (Self::FailedOver, "standby promoted"),
        (Self::PoolerRestarted, "pooler killed"),
        (Self::RedisKilled, "Redis killed"),
        (Self::RedisFrozen, "Redis frozen"),
        (Self::RedisFull, "Redis OOM"),
        (Self::RedisReadOnly, "Redis READONLY"),
        (Self::RedisRights, "Redis NOPERM"),
        (Self::RedisBusy, "Redis BUSY"),
        (Self::ScriptsFlushed, "script cache flushed"),
        (Self::RedisClientsKilled, "Redis clients killed"),
        (Self::Promoted, "replica promoted by Sentinel"),
        (Self::PostgresCut, "Postgres connections cut"),
        (Self::RedisCut, "Redis connections cut"),
        (Self::KafkaCut, "Kafka connections cut"),
        (Self::PostgresSlow, "Postgres line slow"),
        (Self::RedisSlow, "Redis line slow"),
        (Self::PostgresHalfOpen, "Postgres half-open"),
        (Self::RedisHalfOpen, "Redis half-open"),
        (Self::KafkaHalfOpen, "Kafka half-open"),
        (Self::CommitSwallowed, "answers to COMMIT swallowed"),
        (Self::EvalSwallowed, "answers to EVALSHA swallowed"),
        (Self::EndSwallowed, "answers to EndTxn swallowed"),
        (Self::BrokerKilled, "broker killed"),
        (Self::BrokerFrozen, "broker frozen"),
        (Self::BrokersRolled, "brokers restarted one by one"),
        (Self::BrokerFull, "disk full under Kafka"),
        (Self::LeadersMoved, "leaders moved"),
        (Self::LeaderKilled, "partition leader killed"),
        (Self::CoordinatorKilled, "group coordinator killed"),
        (Self::TransactionsKilled, "transaction coordinator killed"),
        (Self::TwoAway, "two of three brokers away"),
    ];

    /// Its name in the report and on the command line.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(fault, _)| *fault == self).map_or("", |(_, name)| name)
    }

    /// The fault of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, of)| *of == name).map(|(fault, _)| *fault)
    }

    /// All names.
    pub(crate) fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|(_, name)| *name).collect()
    }

    /// All that can be done on a topology.
    pub(crate) fn of(topology: Topology) -> Vec<Self> {
        Self::ALL.iter().map(|(fault, _)| *fault).filter(|fault| fault.fits(topology)).collect()
    }

    fn fits(self, topology: Topology) -> bool {
        match self {
            Self::KafkaCut | Self::KafkaHalfOpen | Self::EndSwallowed => !topology.has_cluster(),
            Self::LeaderKilled | Self::CoordinatorKilled | Self::TransactionsKilled => {
                topology.has_cluster()
            }
            Self::TwoAway | Self::BrokersRolled | Self::LeadersMoved => topology.has_cluster(),
            Self::PostgresFull => topology == Topology::One,
            Self::FailedOver => topology.has_standby(),
            Self::PoolerRestarted => {
                matches!(topology, Topology::Session | Topology::Transaction | Topology::Haproxy)
            }
            Self::Promoted => topology == Topology::Sentinel,
            // Sentinel would see to them.
            Self::RedisKilled | Self::RedisFrozen | Self::RedisReadOnly | Self::RedisBusy => {
                topology != Topology::Sentinel
            }
            _ => true,
        }
    }

    /// For how long it holds, and whether the pipelines can go on meanwhile.
    pub(crate) fn holds(self) -> (Duration, bool) {
        let (seconds, goes_on) = match self {
            Self::BrokerKilled | Self::BrokerFrozen => (8, false),
            Self::LeaderKilled | Self::CoordinatorKilled | Self::TransactionsKilled => (36, true),
            Self::TwoAway => (15, false),
            Self::Frozen => (10, true),
            Self::ClockJumps => (1, true),
            _ => (6, false),
        };
        (Duration::from_secs(seconds), goes_on)
    }

    /// Begins.
    pub(crate) async fn begin(self, scene: &mut Scene<'_>) -> Fallible {
        match self {
            Self::Killed
            | Self::Frozen
            | Self::Storm
            | Self::Scaled
            | Self::Restarted
            | Self::ClockJumps => instance::begin(self, scene).await,
            Self::PostgresImmediate
            | Self::PostgresFull
            | Self::PostgresFrozen
            | Self::Terminated
            | Self::TableLocked
            | Self::RightsTaken
            | Self::FailedOver
            | Self::PoolerRestarted => postgres::begin(self, scene).await,
            Self::RedisKilled
            | Self::RedisFrozen
            | Self::RedisFull
            | Self::RedisReadOnly
            | Self::RedisRights
            | Self::RedisBusy
            | Self::ScriptsFlushed
            | Self::RedisClientsKilled
            | Self::Promoted => redis::begin(self, scene).await,
            Self::BrokerKilled
            | Self::BrokerFrozen
            | Self::BrokersRolled
            | Self::BrokerFull
            | Self::LeadersMoved
            | Self::LeaderKilled
            | Self::CoordinatorKilled
            | Self::TransactionsKilled
            | Self::TwoAway => broker::begin(self, scene).await,
            _ => line::begin(self, scene).await,
        }
    }

    /// Ends; all is well again, but for what the pipelines have to make up for.
    pub(crate) async fn end(self, scene: &mut Scene<'_>) -> Fallible {
        match self {
            Self::Frozen => instance::end(scene),
            Self::PostgresImmediate
            | Self::PostgresFull
            | Self::PostgresFrozen
            | Self::RightsTaken => postgres::end(self, scene).await,
            Self::RedisKilled
            | Self::RedisFrozen
            | Self::RedisFull
            | Self::RedisReadOnly
            | Self::RedisRights => redis::end(self, scene).await,
            Self::BrokerKilled
            | Self::BrokerFrozen
            | Self::BrokersRolled
            | Self::BrokerFull
            | Self::LeadersMoved
            | Self::LeaderKilled
            | Self::CoordinatorKilled
            | Self::TransactionsKilled
            | Self::TwoAway => scene.world.brokers.recover().await,
            _ => line::mend(scene),
        }
    }
}
