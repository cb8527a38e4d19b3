//! Partials that were merged before they travel, and the records that each was merged of.

use redis::Cmd;
use serde_json::{Map, Value};

/// What a sink that merges has staged.
pub(crate) struct Merges {
    /// What is wrong with the sink: nothing of it is merged.
    pub(crate) wrong: Option<String>,
    /// The arguments of `merge_layout`; see `commit.lua`.
    pub(crate) layout: Vec<String>,
    pub(crate) adds: Vec<&'static str>,
    pub(crate) sets: Vec<&'static str>,
    pub(crate) merged: Vec<Merged>,
}

/// The partials of one key, merged since the last barrier.
pub(crate) struct Merged {
    pub(crate) key: String,
    pub(crate) newest: String,
    /// What they come to.
    total: Part,
    /// What each record brings, once there are several.
    parts: Vec<Part>,
}

/// What one record brings.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) row: usize,
    /// Wider than what Redis takes: what does not fit is refused, and not cut.
    pub(crate) amounts: Vec<i128>,
    pub(crate) values: Vec<String>,
}

impl Merges {
    /// Says to the script what the merges that follow are made of.
    pub(crate) fn prelude(&self, command: &mut Cmd) {
        command.arg("merge_layout").arg(self.layout.len()).arg(&self.layout);
    }

    /// What a row does, for whoever reads a dead letter: its key, and all of it.
    pub(crate) fn describe(&self, row: usize) -> (Option<String>, Value) {
        for merged in &self.merged {
            // The row is of another key.
            let Some(part) = merged.each().find(|part| part.row == row) else { continue };
            let adds = self.adds.iter().zip(&part.amounts);
            // In range, since it was merged; a `Value` holds no number of more than 64 bits.
            let adds = adds.map(|(name, amount)| (*name, i64::try_from(*amount).ok().into()));
            let sets = self.sets.iter().zip(&part.values);
            let sets = sets.map(|(name, value)| (*name, Value::from(value.as_str())));
            let fields: Map<String, Value> =
                adds.chain(sets).map(|(name, value)| (name.to_owned(), value)).collect();
            return (Some(merged.key.clone()), Value::Object(fields));
        }
        // Whoever asks has the row of this batch.
        (None, Value::Null)
    }
}

impl Merged {
    pub(crate) fn new(key: String, newest: String, first: Part) -> Self {
        Self { key, newest, total: first, parts: Vec::new() }
    }

    /// Adds what another record brings; gives it back if one of the sums does not fit 64 bits.
    pub(crate) fn add(&mut self, part: Part) -> Option<Part> {
        let sums = self.total.amounts.iter().zip(&part.amounts);
        let sums = sums.map(|(sum, more)| sum.checked_add(*more).filter(|sum| fits(*sum)));
        let Some(sums) = sums.collect::<Option<Vec<_>>>() else { return Some(part) };
        // The first record is one of several from now on.
        if self.parts.is_empty() {
            self.parts.push(self.total.clone());
        }
        self.total.amounts = sums;
        self.total.values.clone_from(&part.values);
        self.parts.push(part);
        None
    }

    fn each(&self) -> impl DoubleEndedIterator<Item = &Part> {
        let alone = self.parts.is_empty().then_some(&self.total);
        alone.into_iter().chain(&self.parts)
    }

    /// The row of each record.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> {
        self.each().map(|part| part.row)
    }

    /// The amounts of these rows; `None` if one does not fit 64 bits.
    pub(crate) fn sums(&self, is_wanted: impl Fn(usize) -> bool) -> Option<Vec<i64>> {
        let mut sums = vec![0_i128; self.total.amounts.len()];
        for part in self.each().filter(|part| is_wanted(part.row)) {
            for (sum, amount) in sums.iter_mut().zip(&part.amounts) {
                *sum = sum.checked_add(*amount)?;
            }
        }
        sums.into_iter().map(|sum| i64::try_from(sum).ok()).collect()
    }

    /// Adds the merge of these rows to the command; `None` if a sum does not fit.
    pub(crate) fn write(&self, is_wanted: impl Fn(usize) -> bool, command: &mut Cmd) -> Option<()> {
        let sums = self.sums(&is_wanted)?;
        // Of a field that each record sets the last one stays.
        let last = self.each().rev().find(|part| is_wanted(part.row))?;
        command.arg("merge_hash").arg(2 + sums.len() + last.values.len());
        command.arg(&self.key).arg(&self.newest).arg(sums).arg(&last.values);
        Some(())
    }
}

/// Whether Redis can hold a sum.
fn fits(sum: i128) -> bool {
    i64::try_from(sum).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(row: usize, amount: i128) -> Part {
        Part { row, amounts: vec![amount], values: vec![row.to_string()] }
    }

    #[test]
    fn what_does_not_fit_64_bits_is_given_back_and_never_cut() {
        let most = i128::from(i64::MAX);
        let mut merged = Merged::new("k".to_owned(), String::new(), part(0, most - 1));
        assert!(merged.add(part(1, 1)).is_none());
        assert_eq!(merged.add(part(2, 1)).map(|part| part.row), Some(2));
        assert_eq!(merged.sums(|_| true), Some(vec![i64::MAX]));
        assert_eq!(merged.sums(|row| row == 1), Some(vec![1]));
        let beyond = Merged::new("k".to_owned(), String::new(), part(0, most + 1));
        assert_eq!(beyond.sums(|_| true), None);
        assert_eq!(beyond.write(|_| true, &mut Cmd::new()), None);
    }
}
