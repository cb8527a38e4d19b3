//! Takes out of epochs what their place refuses, and makes dead letters of it.

use std::collections::BTreeMap;

use crate::barrier::{Class, Reject};
use crate::broken::spoiler;
use crate::dead_letter::DeadLetter;
use crate::epoch::Epoch;
use crate::error::Refusal;
use crate::error::{BadRecord, Error, Result};
use crate::record::Origin;
use crate::refused_result::RefusedResult;

impl Epoch {
    /// Cuts the records that are to be dead letters out of the batches they came in; each once. What was read
    /// in an earlier epoch stays to be read again.
    pub(crate) fn cut_dead_letters(&mut self) {
        let mut rejects = std::mem::take(&mut self.unread);
        rejects.sort_by_key(|reject| (reject.origin.partition(), reject.origin.offset()));
        rejects.dedup_by_key(|reject| (reject.origin.partition(), reject.origin.offset()));
        for reject in rejects {
            match self.cut(&reject) {
                Some(letter) => self.dead_letters.push(letter),
                None => self.unread.push(reject),
            }
        }
    }

    fn cut(&self, Reject { origin, reason }: &Reject) -> Option<DeadLetter> {
        let (partition, offset) = (origin.partition(), origin.offset());
        let mut batches = self.originals.iter().filter(|(of, _)| *of == partition);
        batches.find_map(|(_, batch)| batch.letter(partition, offset, reason.clone()))
    }

    /// A result that was read nowhere could not be written: it becomes a dead letter, whole, at the position
    /// of the last record that was read before it.
    pub(crate) fn refuse_result(&mut self, result: RefusedResult, reason: BadRecord) {
        self.results_refused += 1;
        let reason = BadRecord::new(format!("a result was refused: {}", reason.reason()));
        let Some(origin) = self.last_read() else {
            return Error::broken("an epoch with results is of no partition").spoil_epoch();
        };
        self.samples.refused(origin, reason.reason());
        self.samples.bad(origin, reason.reason());
        self.dead_letters.push(DeadLetter::result(origin, result, reason));
    }

    /// The last record that the task has read, of the partition that is furthest in event time.
    fn last_read(&self) -> Option<Origin> {
        let last = self.advances.iter().max_by_key(|advance| {
            (advance.to.offset > advance.from.offset, advance.to.event_time, advance.to.offset)
        })?;
        // Where nothing was read yet, the beginning.
        let offset = last.to.offset.map_or(0, |next| next.saturating_sub(1).max(0));
        Some(Origin::new(last.partition, offset).shared())
    }
}

/// Leaves refused rows out of their epochs, and with them every other row of the same records: a record is used
/// whole or not at all. Each becomes a dead letter of its epoch.
///
/// # Errors
/// If no row is left out by it: then the place refuses what it was not given, and would do so for ever.
pub(crate) fn refuse(epochs: &mut [Epoch], refusals: &[Refusal]) -> Result<()> {
    let mut left_out = 0;
    for (number, epoch) in epochs.iter_mut().enumerate() {
        left_out += refuse_rows(epoch, refusals.iter().filter(|refusal| refusal.epoch == number));
    }
    if let Some(error) = spoiler() {
        return Err(error);
    }
    match left_out {
        0 => Err(Error::permanent(
            "leave out what the place refused: it names no row that it was given, and would refuse the same \
             again; this is a fault of the place's `Anchor` or `Writer`",
        )),
        _ => Ok(()),
    }
}

/// Leaves out the rows of one epoch. Returns how many, with those of the same records.
fn refuse_rows<'a>(epoch: &mut Epoch, refusals: impl Iterator<Item = &'a Refusal>) -> usize {
    let mut left_out = 0;
    let mut records: BTreeMap<Origin, BadRecord> = BTreeMap::new();
    for refusal in refusals {
        // A batch that the epoch does not have: if the place names nothing else, that is its fault.
        let Some(staged) = epoch.staged.get_mut(refusal.staged) else { continue };
        match staged.origin(refusal.row) {
            Some(origin) => {
                records.entry(origin).or_insert_with(|| refusal.reason.clone());
            }
            None if staged.refuse(refusal.row) => {
                left_out += 1;
                let result = staged.result(refusal.row);
                epoch.refuse_result(result, refusal.reason.clone());
            }
            // Left out already, or none of the batch.
            None => {}
        }
    }
    left_out + refuse_records(epoch, &records)
}

/// Leaves out all rows of these records. Returns how many rows.
fn refuse_records(epoch: &mut Epoch, records: &BTreeMap<Origin, BadRecord>) -> usize {
    if records.is_empty() {
        return 0;
    }
    let mut left_out = 0;
    for staged in &mut epoch.staged {
        for row in 0..staged.rows {
            let refused = staged.origin(row).is_some_and(|origin| records.contains_key(&origin));
            left_out += usize::from(refused && staged.refuse(row));
        }
    }
    for (origin, reason) in records {
        // One of several records made of the one that was read: that one stays decoded.
        match origin.is_accountable() {
            true => epoch.tally.add(Class::DeadLettered, 1),
            false => epoch.results_refused += 1,
        }
        epoch.samples.bad(*origin, reason.reason());
        epoch.samples.bad(*origin, reason.reason());
        epoch.unread.push(Reject { origin: *origin, reason: reason.clone() });
    }
    epoch.cut_dead_letters();
    left_out
}
