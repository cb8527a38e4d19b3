//! Brokers die, freeze and are restarted.

use super::{Fault, Scene};
use crate::Fallible;
use crate::pipelines::Kind;

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

pub(super) async fn begin(fault: Fault, scene: &mut Scene<'_>) -> Fallible {
    let all = scene.world.brokers.all();
    let any = scene.dice.index(all.len());
    let brokers = &mut scene.world.brokers;
    match fault {
        Fault::BrokerKilled => brokers.stop(any, "KILL").await?,
        Fault::BrokerFrozen => brokers.signal(any, "STOP")?,
        Fault::BrokerFull => brokers.fill_disk(any)?,
        Fault::LeadersMoved => {
            brokers.stop(any, "TERM").await?;
            brokers.start(any)?;
            brokers.recover().await?;
            brokers.elect_preferred().await?;
        }
        Fault::LeaderKilled => {
            let leader = brokers.leader("ad-events", 0).await?;
            brokers.stop(leader, "KILL").await?;
        }
        Fault::CoordinatorKilled => {
            let group = scene
                .world
                .places
                .group(scene.dice.pick(&Kind::ALL.map(Some)).unwrap_or(Kind::Balance));
            let leader = brokers.leader("__consumer_offsets", own_partition(&group)).await?;
            brokers.stop(leader, "KILL").await?;
        }
        Fault::TransactionsKilled => {
            let partition = i32::try_from(scene.dice.index(4))?;
            let leader = brokers.leader("__transaction_state", partition).await?;
            brokers.stop(leader, "KILL").await?;
        }
        Fault::TwoAway => {
            brokers.stop(any, "KILL").await?;
            brokers.stop((any + 1) % all.len(), "KILL").await?;
        }
        _ => {
            for node in all {
                brokers.stop(node, "TERM").await?;
                brokers.start(node)?;
                brokers.recover().await?;
                scene.fleet.supervise()?;
            }
        }
    }
    Ok(())
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
