//! The epoch that a barrier has gathered: its positions, and what may have to be cut out of its batches.

use crate::barrier::Gathered;
use crate::broken::spoiler;
use crate::epoch::{Advance, Epoch};
use crate::error::{Error, Result};
use crate::job::intake::Standing;
use crate::job::task::TaskLoop;
use crate::job::task::work::TaskPartition;
use crate::log::Log;
use crate::position::Position;
use crate::source::Batch;

impl<B: Batch> TaskLoop<B> {
    /// The epoch, if its barrier has passed the whole chain and there is anything in it.
    pub(super) fn gathered(&mut self) -> Result<Option<Epoch>> {
        // No barrier is under way.
        let Some(gathering) = self.work.gathering.take() else { return Ok(None) };
        match gathering.finish()? {
            Err(open) => {
                self.work.gathering = Some(open);
                Ok(None)
            }
            Ok(gathered) => {
                self.activity.passed();
                self.build(gathered)
            }
        }
    }

    fn build(&mut self, mut gathered: Gathered) -> Result<Option<Epoch>> {
        self.work.moves.join(&mut gathered.chunks, self.work.progress.closed);
        let (standings, (records_in, skipped)) = self.mailbox.take_standings();
        if standings.len() != self.inputs.len() {
            return Err(Error::broken("a barrier has passed that does not say where it was sent"));
        }
        // Before batches are released: those that end with this epoch are among them.
        let originals = self.inputs.iter().flat_map(TaskPartition::originals).collect();
        let released = self.release(&standings);
        let advances = self.advances(&standings);
        // An epoch that changes nothing would cost a commit for nothing: the next one goes on from the same positions.
        if records_in == 0 && is_idle(&gathered) && !advances.iter().any(has_moved) {
            return Ok(None);
        }
        for (input, advance) in self.inputs.iter_mut().zip(&advances) {
            input.position = advance.to;
        }
        let mut epoch = Epoch::new(self.task, advances, gathered);
        (epoch.originals, epoch.records_in, epoch.skipped) = (originals, records_in, skipped);
        epoch.cut_dead_letters();
        // Behind the dead letters that were cut out of them.
        self.work.held.send(epoch.keep_what_has_rows().unwrap_or(released));
        self.measures.epoch(&epoch, &standings, self.work.progress.watermark);
        // What is found while an epoch is built is found behind the last poll of the chain.
        spoiler().map_or(Ok(Some(epoch)), Err)
    }

    /// Drops the batches that were wholly taken before the barrier. One of which a part is still to be taken belongs
    /// to this epoch and to the next. Returns their bytes.
    fn release(&mut self, standings: &[Standing]) -> usize {
        let mut released = 0;
        for (input, standing) in self.inputs.iter_mut().zip(standings) {
            while input.released < standing.consumed
                && let Some(batch) = input.kept.pop_front()
            {
                input.released += 1;
                released += batch.bytes();
            }
        }
        self.work.held.end(released);
        released
    }

    /// From where to where each partition goes.
    fn advances(&self, standings: &[Standing]) -> Vec<Advance> {
        let advance = |(input, standing): (&TaskPartition<B>, &Standing)| {
            let from = input.position;
            let to = Position {
                offset: standing.offset,
                event_time: standing.event_time,
                commit: from.commit + 1,
                owner: from.owner,
                log: standing.log,
            };
            Advance { partition: input.partition, from, to }
        };
        self.inputs.iter().zip(standings).map(advance).collect()
    }
}

/// Whether nothing was made before the barrier.
fn is_idle(gathered: &Gathered) -> bool {
    let changed = !gathered.chunks.is_empty() || !gathered.staged.is_empty();
    !changed && gathered.rejects.is_empty() && gathered.refused.is_empty()
}

/// Whether an advance has to be committed though nothing was read.
fn has_moved(Advance { from, to, .. }: &Advance) -> bool {
    // What is never handed over at the end of a partition is passed as well: left standing before it, the position
    // would fall below the beginning of the log one day. And a position that does not name its log takes that on.
    let topic_id = |log: Log| log.topic_id;
    from.offset.is_some()
        && (from.offset != to.offset || from.log.map(topic_id) != to.log.map(topic_id))
}
