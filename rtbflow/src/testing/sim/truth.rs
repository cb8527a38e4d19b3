//! How far was really committed, and as what, whatever anybody says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::barrier::Tally;
use crate::epoch::Epoch;
use crate::log::TopicId;
use crate::position::Position;
use crate::record::Partition;
use crate::testing::sim::Chance;

/// The positions of the place as they were last seen there, and how the records ended that were read up to
/// them. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth(Arc<Mutex<Seen>>);

/// What was seen in the place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    positions: BTreeMap<Partition, Position>,
    ended: Ended,
    /// Records of all epochs that were ever applied, those included that the place has lost since.
    applied: u64,
    /// Of those, records of epochs whose owner was answered that they are fenced, and cannot know that they were applied:
    /// the place remembers of each partition only where it was claimed last.
    disowned: u64,
    /// The epochs that were applied: their first partition, and how it was marked.
    marks: BTreeSet<(Partition, u64, u64)>,
    /// Whether the place has ever become what it was before.
    went_back: bool,
}

/// How the records of all epochs ended that were applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) records: u64,
    skipped: u64,
    tally: Tally,
    results_refused: u64,
}

impl Truth {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An epoch was applied, for the first time.
    pub(crate) fn count(&self, epoch: &Epoch, found: Tally) {
        let mut seen = self.seen();
        seen.applied += epoch.records_in;
        seen.marks.extend(mark(epoch));
        let ended = &mut seen.ended;
        ended.records += epoch.records_in;
        ended.skipped += epoch.skipped;
        ended.tally.merge(epoch.tally);
        ended.tally.merge(found);
        ended.results_refused += epoch.results_refused;
    }

    /// Somebody is answered that his epoch is fenced.
    pub(crate) fn fence(&self, epoch: &Epoch) {
        let mut seen = self.seen();
        if mark(epoch).is_some_and(|mark| seen.marks.remove(&mark)) {
            seen.disowned += epoch.records_in;
        }
    }

    /// How the records ended.
    pub(crate) fn ended(&self) -> Ended {
        self.seen().ended
    }

    /// Records of all epochs that were ever applied.
    pub(crate) fn applied(&self) -> u64 {
        self.seen().applied
    }

    /// Whether the place has ever become what it was before.
    pub(crate) fn went_back(&self) -> bool {
        self.seen().went_back
    }

    /// Of those, the ones that their owner cannot know of.
    pub(crate) fn disowned(&self) -> u64 {
        self.seen().disowned
    }

    /// How far a partition is committed.
    pub(crate) fn position(&self, partition: Partition) -> Position {
        self.seen().positions.get(&partition).copied().unwrap_or_default()
    }

    /// What is seen now.
    pub(crate) fn keep(&self) -> Seen {
        self.seen().clone()
    }

    /// The place is what it was when this was seen.
    pub(crate) fn put_back(&self, older: Seen) {
        let mut seen = self.seen();
        let applied = seen.applied;
        *seen = Seen { applied, went_back: true, ..older };
    }

    /// Takes in what the place holds. Positions never go back in the same log.
    pub(crate) fn see(&self, positions: BTreeMap<Partition, Position>, chance: &Chance) {
        let mut seen = self.seen();
        for (partition, is) in positions {
            let was = seen.positions.insert(partition, is).unwrap_or_default();
            let another = topic(&was).is_some() && topic(&was) != topic(&is);
            let back = is.offset < was.offset || is.commit < was.commit;
            if !another && (back || is.event_time < was.event_time) {
                chance.violated(format!("{partition} went from {was:?} back to {is:?}"));
            }
        }
    }

    /// Somebody says how much was committed.
    pub(crate) fn hear(&self, positions: &[(Partition, Position)], chance: &Chance) {
        let seen = self.seen();
        if seen.went_back {
            return; // He may speak of what the place has lost since.
        }
        for (partition, said) in positions {
            let is = seen.positions.get(partition).copied().unwrap_or_default();
            if topic(said) == topic(&is) && said.offset > is.offset {
                chance.violated(format!(
                    "{partition} was said to be committed up to {:?}, but only {:?} is",
                    said.offset, is.offset
                ));
            }
        }
    }
}

/// What the place knows an epoch by.
fn mark(epoch: &Epoch) -> Option<(Partition, u64, u64)> {
    epoch.advances.first().map(|step| (step.partition, step.to.commit, step.to.owner))
}

fn topic(position: &Position) -> Option<TopicId> {
    position.log.map(|log| log.topic_id)
}
