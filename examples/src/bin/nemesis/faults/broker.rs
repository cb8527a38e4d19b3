//! Brokers die, freeze and are restarted.

use super::{Hold, Scene};
use crate::Fallible;
use crate::pipelines::Kind;
use crate::topology::Topology;

/// Of the brokers' own topics, as they were set up.
const OWN_PARTITIONS: i32 = 4;

/// As Java hashes a text, by which the brokers find the coordinator.
fn java_hash(text: &str) -> i32 {
    text.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)))
}

/// The partition of one of the brokers' own topics that a name belongs to.
fn own_partition(name: &str) -> i32 {
    (java_hash(name) & i32::MAX) % OWN_PARTITIONS
}

/// What befalls brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfBrokers {
    /// Any of them, which comes back.
    Killed,
    /// Any of them does nothing.
    Frozen,
    /// Any of them can write no more, and dies of it.
    Full,
    /// All of them, in order, one after the other.
    Rolled,
    /// One is restarted, and leads again what it led before.
    LeadersMoved,
    /// The one that leads a partition.
    LeaderKilled,
    /// The one that coordinates a pipeline's group.
    CoordinatorKilled,
    /// One that coordinates transactions.
    TransactionsKilled,
    /// Too few are left to take a record.
    TwoAway,
}

impl OfBrokers {
    pub(super) fn fits(self, topology: Topology) -> bool {
        match self {
            Self::Killed | Self::Frozen | Self::Full => true,
            Self::Rolled
            | Self::LeadersMoved
            | Self::LeaderKilled
            | Self::CoordinatorKilled
            | Self::TransactionsKilled
            | Self::TwoAway => topology.has_cluster(),
        }
    }

    pub(super) fn hold(self) -> Hold {
        match self {
            Self::LeaderKilled | Self::CoordinatorKilled | Self::TransactionsKilled => {
                Hold::seconds(36).going_on()
            }
            Self::TwoAway => Hold::seconds(15),
            Self::Killed | Self::Frozen | Self::Full => Hold::seconds(8),
            Self::Rolled | Self::LeadersMoved => Hold::seconds(1),
        }
    }

    pub(super) async fn begin(self, scene: &mut Scene<'_>) -> Fallible {
        let all = scene.world.brokers.all();
        let any = scene.dice.index(all.len());
        let brokers = &mut scene.world.brokers;
        match self {
            Self::Killed => brokers.stop(any, "KILL").await,
            Self::Frozen => brokers.signal(any, "STOP"),
            Self::Full => brokers.fill_disk(any),
            Self::Rolled => {
                for node in all {
                    again(node, scene).await?;
                }
                Ok(())
            }
            Self::LeadersMoved => {
                again(any, scene).await?;
                scene.world.brokers.elect_preferred().await
            }
            Self::LeaderKilled => {
                let leader = brokers.leader("ad-events", 0).await?;
                brokers.stop(leader, "KILL").await
            }
            Self::CoordinatorKilled => {
                let kind = Kind::ALL.get(scene.dice.index(Kind::ALL.len())).copied();
                let group = scene.world.places.group(kind.unwrap_or(Kind::Balance));
                let leader = brokers.leader("__consumer_offsets", own_partition(&group)).await?;
                brokers.stop(leader, "KILL").await
            }
            Self::TransactionsKilled => {
                let partition = i32::try_from(scene.dice.index(4))?;
                let leader = brokers.leader("__transaction_state", partition).await?;
                brokers.stop(leader, "KILL").await
            }
            Self::TwoAway => {
                brokers.stop(any, "KILL").await?;
                brokers.stop((any + 1) % all.len(), "KILL").await
            }
        }
    }
}

/// Ends a broker in order, and starts it.
async fn again(node: usize, scene: &mut Scene<'_>) -> Fallible {
    scene.world.brokers.stop(node, "TERM").await?;
    scene.world.brokers.start(node)?;
    scene.world.brokers.recover().await?;
    scene.fleet.supervise()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hashed_as_java_does() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("hello"), 99_162_322);
        assert_eq!(java_hash("worker-balance-processor"), java_hash("worker-balance-processor"));
        assert!((0..OWN_PARTITIONS).contains(&own_partition("flink-performance-aggregator")));
    }
}
