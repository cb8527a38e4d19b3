//! How reading begins, and goes on where it stands still: claimed positions are compared with where logs begin and
//! end, and only then is anything assigned.

use std::thread;

use rtbflow::{Error, Result};
use tracing::warn;

use crate::client::native::Queue;
use crate::client::offsets::Offsets;
use crate::source::assignment::Begun;
use crate::source::mailbox::{Begin, EndOffsets, StartOffsets};
use crate::source::reader::ReaderThread;
use crate::source::watchdog::Advice;

impl ReaderThread {
    /// Takes the claimed positions and asks where the partitions begin and end now.
    pub(super) fn prepare(&mut self, begin: Begin) {
        // Claimed for tasks that were revoked meanwhile.
        let Some(assigned) = &mut self.assigned else { return };
        if assigned.prepare(begin) {
            self.lookup.watch(assigned.partitions());
            self.lookup.ask_starts(assigned.generation, assigned.offsets_to_validate());
        }
    }

    /// Notes where the partitions end, and begins to read those that wait for it.
    pub(super) fn note_ends(&mut self, ends: &EndOffsets) -> Result<()> {
        // Asked for tasks that were revoked meanwhile.
        let Some(assigned) = &self.assigned else { return Ok(()) };
        // An answer that is of an earlier assignment says nothing of where this one begins.
        if let Some(starts) = &ends.starts
            && assigned.generation == starts.generation
        {
            self.begin(starts, &ends.ends)?;
        }
        // Read after the ends were asked for: what came out meanwhile only brings a partition nearer to its end.
        let positions = self.positions()?;
        let Some(assigned) = &mut self.assigned else { return Ok(()) };
        match assigned.note_ends(ends, &positions) {
            Advice::Nothing | Advice::Forward => Ok(()),
            Advice::Assign => {
                warn!("assign all partitions again, each at its position");
                self.assign_all()
            }
            Advice::Reopen => Err(Error::transient(
                "read Kafka: librdkafka delivers no record of a partition, although it was assigned again",
            )),
        }
    }

    /// Begins to read, now that starts and ends are known; fails what was out of range.
    fn begin(&mut self, starts: &StartOffsets, ends: &Offsets) -> Result<()> {
        // Only called for what is assigned.
        let Some(assigned) = &mut self.assigned else { return Ok(()) };
        let queue = || Queue::new(&self.consumer, thread::current(), self.plan.most_records);
        let anew = self.plan.begins_anew;
        let begun = assigned.begin(starts, ends, anew, queue)?;
        let decided = assigned.fail_out_of_range(starts, ends, anew);
        // A partition without a leader has neither start nor end: it is asked for again until it has.
        if begun == Begun::Unknown || !decided {
            self.lookup.ask_starts(assigned.generation, assigned.offsets_to_validate());
        }
        match begun {
            Begun::Nothing | Begun::Unknown => Ok(()),
            Begun::All => self.assign_all(),
        }
    }

    /// Assigns every open partition where it stands, forwarded to its own queue before and after: before, so that no
    /// record goes to the consumer's queue, and after, since a partition that is assigned anew forgets it.
    fn assign_all(&self) -> Result<()> {
        // Only called for what is assigned.
        let Some(assigned) = &self.assigned else { return Ok(()) };
        let list = assigned.list().map_err(|error| self.failure("assign partitions", &error))?;
        assigned.forward();
        self.assign(&list)?;
        assigned.forward();
        Ok(())
    }
}
