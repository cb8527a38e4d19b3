//! What an epoch keeps of the batches that its records came in.

use std::sync::Arc;

use crate::dead_letter::{DeadLetter, Original, Originals};
use crate::epoch::Epoch;
use crate::error::BadRecord;
use crate::record::{Origin, Partition};

/// Where one record in this many has rows, or fewer, they are cut out: to copy more costs more than to hold the batches.
const FEW: u64 = 64;
/// What a record that was cut out takes beside its bytes.
const BESIDE: usize = 128;

/// Single records of a partition, by their offsets.
struct CutOut(Vec<(i64, Original)>);

impl Originals for CutOut {
    fn letter(&self, partition: Partition, offset: i64, reason: BadRecord) -> Option<DeadLetter> {
        let at = self.0.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        let (_, original) = self.0.get(at)?;
        Some(DeadLetter::record(Origin::new(partition, offset), original.clone(), reason))
    }
}

impl Epoch {
    /// Keeps of its batches only the records that have rows, where those are few: nothing else can be refused any more,
    /// and the batches need not wait for the place. Returns the bytes that are kept; `None` where it keeps the batches.
    pub(crate) fn keep_what_has_rows(&mut self) -> Option<usize> {
        let origins = self.origins()?;
        let mut bytes = 0;
        let of_each = origins.chunk_by(|(one, _), (other, _)| one == other);
        let kept = of_each.filter_map(|origins| {
            let partition = origins.first()?.0;
            let cut = self.cut_out(partition, origins.iter().map(|(_, offset)| *offset));
            bytes += cut.iter().map(|(_, original)| bytes_of(original)).sum::<usize>();
            Some((partition, Arc::new(CutOut(cut)) as Arc<dyn Originals>))
        });
        self.originals = kept.collect();
        Some(bytes)
    }

    /// Where the records were read that have rows, each once and in order; `None` if they are not few.
    fn origins(&self) -> Option<Vec<(Partition, i64)>> {
        let most = usize::try_from(self.records_in / FEW).unwrap_or(usize::MAX);
        let mut origins = Vec::new();
        for staged in &self.staged {
            for origin in (0..staged.rows).filter_map(|row| staged.origin(row)) {
                origins.push((origin.partition(), origin.offset()));
                // Several sinks write the same records: only in the end is it known how many there are.
                if origins.len() > most.saturating_mul(self.staged.len()) {
                    return None;
                }
            }
        }
        origins.sort_unstable();
        origins.dedup();
        (origins.len() <= most).then_some(origins)
    }

    /// The records of a partition at these offsets, which ascend. Those of earlier epochs are not there.
    fn cut_out(
        &self,
        partition: Partition,
        offsets: impl Iterator<Item = i64>,
    ) -> Vec<(i64, Original)> {
        let of_partition = self.originals.iter().filter(|(of, _)| *of == partition);
        let mut batches = of_partition.map(|(_, batch)| batch).peekable();
        let mut advances = self.advances.iter().filter(|advance| advance.partition == partition);
        let from = advances.next().and_then(|advance| advance.from.offset);
        let mut cut = Vec::new();
        for offset in offsets {
            let reason = BadRecord::new("");
            let mut letter =
                batches.peek().and_then(|batch| batch.letter(partition, offset, reason));
            // The first batch alone may have what is before the epoch. Behind that they follow each other.
            while letter.is_none() && from.is_none_or(|from| offset >= from) {
                batches.next();
                let Some(batch) = batches.peek() else { break };
                letter = batch.letter(partition, offset, BadRecord::new(""));
            }
            cut.extend(letter.map(|letter| (offset, original(letter))));
        }
        cut
    }
}

fn original(letter: DeadLetter) -> Original {
    let DeadLetter { key, value, headers, .. } = letter;
    Original { key, value, headers }
}

fn bytes_of(Original { key, value, headers }: &Original) -> usize {
    let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let of_headers = headers.iter().map(|(name, value)| BESIDE + name.len() + length(value));
    BESIDE + length(key) + length(value) + of_headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::barrier::Gathered;
    use crate::epoch::{Advance, Position, Task};
    use crate::record::Topic;
    use crate::staged::{Place, Staged, StagedRows};

    /// A batch of these offsets.
    struct Batch(std::ops::Range<i64>);

    impl Originals for Batch {
        fn letter(&self, of: Partition, offset: i64, reason: BadRecord) -> Option<DeadLetter> {
            let original = Original::new(None, Some(vec![7; 10]), Vec::new());
            let origin = Origin::new(of, offset);
            self.0.contains(&offset).then(|| DeadLetter::record(origin, original, reason))
        }
    }

    struct Rows(Vec<Option<Origin>>);

    impl StagedRows for Rows {
        fn origin(&self, row: usize) -> Option<Origin> {
            *self.0.get(row)?
        }
    }

    fn partition(number: i32) -> Partition {
        Partition { topic: Topic::new("clicks"), number }
    }

    /// An epoch that has read 100 records or more from 50 on, in batches of which the first was begun before, with two sinks
    /// that both write the records at these offsets.
    fn epoch(offsets: &[i64]) -> Epoch {
        let from = Position { offset: Some(50), ..Position::default() };
        let to = Position { offset: Some(150), ..Position::default() };
        let advance = Advance { partition: partition(0), from, to };
        let task = Task { number: 0, of: 1 };
        let mut epoch = Epoch::new(task, vec![advance], Gathered::default());
        let origin = |offset| Some(Origin::new(partition(0), offset));
        let rows: Vec<_> = offsets.iter().map(|offset| origin(*offset)).chain([None]).collect();
        let staged = || Staged::new(Place::new("test"), rows.len(), Rows(rows.clone()));
        epoch.staged = vec![staged(), staged()];
        epoch.records_in = 25 * FEW;
        let batches = [40..80, 80..120, 120..160].map(Batch);
        epoch.originals =
            batches.map(|batch| (partition(0), Arc::new(batch) as Arc<dyn Originals>)).to_vec();
        epoch
    }

    /// Which of these are there to be cut out.
    fn found(epoch: &Epoch, offsets: &[i64]) -> Vec<i64> {
        let has = |offset: &&i64| {
            let letter = |(of, batch): &(Partition, Arc<dyn Originals>)| {
                batch.letter(*of, **offset, BadRecord::new("too long"))
            };
            epoch.originals.iter().find_map(letter).is_some_and(|letter| {
                letter.reason.reason() == "too long" && letter.value == Some(vec![7; 10])
            })
        };
        offsets.iter().filter(has).copied().collect()
    }

    #[test]
    fn what_has_a_row_can_be_cut_out_and_the_batches_are_gone() {
        // One of an earlier epoch that is nowhere, one of the batch that was begun before, and three of this epoch.
        let mut epoch = epoch(&[120, 3, 45, 119, 149]);
        assert_eq!(epoch.keep_what_has_rows(), Some(4 * (BESIDE + 10)));
        assert_eq!(epoch.originals.len(), 1);
        assert_eq!(found(&epoch, &[3, 45, 60, 119, 120, 149]), [45, 119, 120, 149]);
    }

    #[test]
    fn where_no_row_is_of_a_record_nothing_is_kept() {
        let mut epoch = epoch(&[]);
        assert_eq!((epoch.keep_what_has_rows(), epoch.originals.len()), (Some(0), 0));
    }

    #[test]
    fn where_many_records_have_rows_the_batches_are_kept() {
        let all: Vec<i64> = (50..150).collect();
        for (rows, are_few) in [(25, true), (26, false), (100, false)] {
            let mut epoch = epoch(&all[..rows]);
            assert_eq!(epoch.keep_what_has_rows().is_some(), are_few, "{rows} rows");
            assert_eq!(found(&epoch, &all[..rows]).len(), rows);
        }
    }
}
