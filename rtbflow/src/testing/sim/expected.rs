//! What an uninterrupted run makes, and what may be left beside it of a log that is gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Partition;
use crate::testing::sim::dead_letters::Letter;
use crate::testing::sim::truth::Ended;

/// What an uninterrupted run makes.
pub(super) struct Expected<R> {
    /// In order.
    pub(super) rows: Vec<R>,
    /// Rows and dead letters of a log that is gone, which may have come before.
    pub(super) gone: BTreeMap<R, u64>,
    pub(super) gone_letters: BTreeSet<Letter>,
    pub(super) letters: BTreeSet<Letter>,
    pub(super) offsets: BTreeMap<Partition, i64>,
    /// How records end; `None` where nobody knows.
    pub(super) ended: Option<Ended>,
}

impl<R: Ord + Clone> Expected<R> {
    /// What was read of another log before this one stays.
    pub(super) fn may_come_of(&mut self, other: Self) {
        self.gone = counts(&other.rows);
        self.gone_letters = other.letters;
        self.ended = None;
    }

    /// Leaves out what has come of a log that is gone.
    pub(super) fn without_gone(&self, mut rows: Vec<R>) -> Vec<R> {
        let mut gone = self.gone.clone();
        rows.retain(|row| match gone.get_mut(row) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        });
        rows
    }
}

pub(super) fn counts<R: Ord + Clone>(rows: &[R]) -> BTreeMap<R, u64> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(row.clone()).or_default() += 1;
    }
    counts
}
