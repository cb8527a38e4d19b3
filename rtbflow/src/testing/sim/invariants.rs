//! What must hold after every single step of the place, and not only in the end.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::log::TopicId;
use crate::position::{JobName, Position};
use crate::record::Partition;
use crate::testing::sim::dead_letters::{Letter, Letters};
use crate::testing::sim::log::SimLog;
use crate::testing::sim::place::Store;
use crate::testing::sim::scenario::Always;
use crate::testing::sim::steps::{Accounts, accounted};
use crate::testing::sim::truth::Truth;

/// What is looked at.
pub(crate) struct Invariants<T, S: Store> {
    pub(crate) job: JobName,
    pub(crate) log: SimLog<T>,
    pub(crate) store: S,
    pub(crate) truth: Truth,
    pub(crate) letters: Letters,
    pub(crate) accounts: Accounts,
    /// The rows that may come, and how often; `None` where nobody knows.
    pub(crate) expected: Option<BTreeMap<S::Row, u64>>,
    pub(crate) always: Option<Arc<Always<S::Row>>>,
}

/// What was seen by now.
struct Before<R> {
    rows: usize,
    /// Those that have come, and how often.
    found: BTreeMap<R, u64>,
    /// How far each partition is committed, and how many records of its log are below that.
    at: BTreeMap<Partition, (Position, u64)>,
    /// Records below all positions, those included that were read of logs that are gone.
    records: u64,
}

impl<R> Default for Before<R> {
    fn default() -> Self {
        Self { rows: 0, found: BTreeMap::new(), at: BTreeMap::new(), records: 0 }
    }
}

impl<T, S> Invariants<T, S>
where
    T: Clone + Send + Sync + 'static,
    S: Store,
{
    /// Looks at each step from now on. The place may go back: then all is looked at anew.
    pub(crate) fn look(
        self,
    ) -> impl FnMut(Option<&[Partition]>) -> Result<(), String> + Send + 'static {
        let mut before = Before::default();
        move |partitions| {
            let positions = match partitions {
                None => {
                    before = Before::default();
                    self.store.positions(&self.job)
                }
                Some(partitions) => self.store.positions_of(&self.job, partitions),
            };
            for (partition, at) in positions {
                self.moved(&mut before, partition, at)?;
            }
            self.accounts_hold(before.records)?;
            self.rows(&mut before)
        }
    }

    /// As many records have ended as the positions say were read, and nobody says that he has done more.
    fn accounts_hold(&self, read: u64) -> Result<(), String> {
        let ended = self.truth.ended().records;
        if read != ended {
            return Err(format!("positions say that {read} records were read, but {ended} ended"));
        }
        match (accounted(&self.accounts), self.truth.applied()) {
            (said, applied) if said > applied => {
                Err(format!("{said} records are accounted for, but {applied} were applied"))
            }
            _ => Ok(()),
        }
    }

    /// A position is where the log has been read to, in the right log, and its dead letters were sent before.
    fn moved(
        &self,
        before: &mut Before<S::Row>,
        partition: Partition,
        at: Position,
    ) -> Result<(), String> {
        let log = self.log_of(partition, &at)?;
        let offset = at.offset.unwrap_or(0);
        let (was, counted) = before.at.get(&partition).copied().unwrap_or_default();
        let same = was.log.is_none() || topic_id(&was) == topic_id(&at);
        let below = log.below(partition, offset);
        // What was read of a log that is gone stays read.
        before.records = before.records + below - if same { counted } else { 0 };
        before.at.insert(partition, (at, below));
        let from = if same { was.offset.unwrap_or(0) } else { 0 };
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bad = log.bad_below(partition, from, offset);
        match bad.find(|offset| !letters.contains_key(&Letter::Record(partition, *offset))) {
            Some(lost) => Err(format!(
                "{partition} is committed past {lost}, and its dead letter was not sent"
            )),
            None => Ok(()),
        }
    }

    /// The log that a position is of, which has the leader's term that it names and reaches as far.
    fn log_of(&self, partition: Partition, at: &Position) -> Result<&SimLog<T>, String> {
        let known = topic_id(at);
        let is_first = known.is_none() || known == self.log.topic_id(partition);
        let log = self.log.generation(usize::from(!is_first));
        if known.is_some() && known != log.topic_id(partition) {
            return Err(format!("{partition} stands at {at:?}, in a log that never was"));
        }
        let offset = at.offset.unwrap_or(0);
        let last = log.last_below(partition, offset).and_then(|last| log.term(partition, last));
        let (said, end) = (at.log.and_then(|log| log.leader_epoch), log.end(partition));
        if said.is_some_and(|said| Some(said) < last) || offset > end {
            return Err(format!(
                "{partition} stands at {at:?}, but its term is {last:?} and its end {end}"
            ));
        }
        Ok(log)
    }

    /// Each row is one of those that an uninterrupted run makes.
    fn rows(&self, before: &mut Before<S::Row>) -> Result<(), String> {
        if let Some(expected) = &self.expected {
            for row in self.store.rows_from(before.rows) {
                before.rows += 1;
                let most = expected.get(&row).copied().unwrap_or(0);
                let count = before.found.get(&row).copied().unwrap_or(0) + 1;
                if count > most {
                    let more = count - most;
                    return Err(format!("a row differs: {row:?} is there {more} times too often"));
                }
                before.found.insert(row, count);
            }
        }
        match &self.always {
            Some(holds) => {
                holds(&self.store.rows()).map_err(|what| format!("the invariant is broken: {what}"))
            }
            None => Ok(()),
        }
    }
}

fn topic_id(position: &Position) -> Option<TopicId> {
    position.log.map(|log| log.topic_id)
}
