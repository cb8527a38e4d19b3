//! Where a partition stands, and the checksum of its row in `rtbflow_positions`: a bit that has changed would be another
//! position.
//!
//! What a claim changes is only mixed in, bit by bit, so that a claim is one statement, and what was damaged before it is
//! damaged behind it.

use rtbflow::barrier::Tally;
use rtbflow::epoch::Position;
use rtbflow::{Partition, Timestamp};

/// Where one partition stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) position: Position,
    /// How those of its records ended that the last commit found not to be used for a result.
    pub(crate) found: Tally,
    /// Where it stood when it was claimed last: only the number of commits and the owner.
    pub(crate) claimed_at: Option<Position>,
}

/// FNV-1a: each step can be undone, so that another bit is another checksum.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The checksum of where a partition stands.
pub(crate) fn checksum(partition: Partition, standing: &Standing) -> i64 {
    let Standing { position, found, claimed_at } = standing;
    let Position { offset, event_time, commit, owner, log } = *position;
    let Tally { filtered, late, duplicates, dead_lettered } = *found;
    let counts = [filtered, late, duplicates, dead_lettered];
    let event_time = event_time.map(Timestamp::as_millis);
    let log = log.map(|log| (log.topic_id.bits(), log.leader_epoch));
    let hash = hash(&format!("{partition} {offset:?} {event_time:?} {counts:?} {log:?}"));
    let claimed = claimed_at.unwrap_or_default();
    (hash ^ commit ^ owner ^ claimed.commit ^ claimed.owner).cast_signed()
}

/// The checksum of a partition that is claimed for the first time.
pub(crate) fn first_checksum(partition: Partition, owner: u64) -> i64 {
    let position = Position { commit: 1, owner, ..Position::default() };
    checksum(partition, &Standing { position, found: Tally::NONE, claimed_at: None })
}

#[cfg(test)]
mod tests {
    use rtbflow::Topic;
    use rtbflow::epoch::{Log, TopicId};

    use super::*;

    /// It is stored: it must be the same in all builds.
    #[test]
    fn a_checksum_stays_what_it_is() {
        let partition = Partition::new(Topic::new("ads"), 3);
        assert_eq!(first_checksum(partition, 7), FIRST);
        let log = Some(Log { topic_id: TopicId::new(5), leader_epoch: Some(3) });
        let event_time = Some(Timestamp::from_millis(-1));
        let position = Position { offset: Some(9), event_time, commit: 2, owner: 5, log };
        let found = Tally { late: 1, ..Tally::NONE };
        let standing = Standing { position, found, claimed_at: Some(position) };
        assert_eq!(checksum(partition, &standing), WHOLE);
    }

    const FIRST: i64 = 2_157_539_579_167_575_775;
    const WHOLE: i64 = -2_110_141_904_810_654_174;
}
