//! The log of sliding windows: what each slice has, which windows were emitted, and how far one was.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::Chunk;
use crate::error::{Error, Result};
use crate::operators::Snapshot;
use crate::operators::window::aggregate::Merge;
use crate::operators::window::lane::Lane;
use crate::operators::window::late_policy::LatePolicy;
use crate::operators::window::parts::Part;
use crate::operators::window::sliding_logic::{SlidingLogic, VERSION};
use crate::state::{ChunkReader, ChunkWriter, Format};

/// The bucket that says which windows were emitted; no slice ends there.
const PASSED: i64 = i64::MIN;
/// The bucket that says which window is being emitted, and from which key on.
const PUTTING: i64 = i64::MIN + 1;
const NEXT: &str = "window, next key and watermark";

impl<K, T, F, L, A> SlidingLogic<K, T, F, L, A>
where
    K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static,
    T: Send + 'static,
    L: LatePolicy,
    A: Merge<T>,
{
    /// Hands over what changed.
    pub(super) fn write(&mut self, snapshot: &mut Snapshot) {
        self.slices.write(&self.format, &mut self.keys, self.changed.drain(..), snapshot);
        // Behind the last key, none has its turn.
        let next = |at| self.keys.at(at).map_or(u64::MAX, |(_, lane)| lane.arrival);
        // The end of all time is that of one run: another may go on from here.
        let watermark = |end| if self.watermark == i64::MAX { end } else { self.watermark };
        let putting = self.putting.map(|(end, at)| (end, next(at), watermark(end)));
        if self.logged_putting != putting {
            self.logged_putting = putting;
            match putting {
                Some(putting) => {
                    let mut entry = ChunkWriter::new(Format::new(VERSION, NEXT));
                    entry.put(&putting);
                    snapshot.replace(PUTTING, entry);
                }
                None => snapshot.drop_bucket(PUTTING),
            }
        }
        // The end of all time is that of one run: another may go on from here.
        if self.passed > self.logged_passed && self.passed < i64::MAX {
            self.logged_passed = self.passed;
            let mut entry = ChunkWriter::new(Format::of_watermark(VERSION));
            entry.put(&self.passed);
            snapshot.replace(PASSED, entry);
        }
    }

    /// Takes back what was handed over.
    pub(super) fn read(&mut self, chunk: &Chunk) -> Result<()> {
        if chunk.bucket == PASSED {
            return self.read_passed(chunk);
        }
        if chunk.bucket == PUTTING {
            self.logged_putting =
                ChunkReader::open(chunk, Format::new(VERSION, NEXT))?.only_entry()?;
            return Ok(());
        }
        let mut entries = ChunkReader::open(chunk, self.format.clone())?;
        let end = chunk.bucket;
        while let Some((key, arrival, state, unseen_count)) =
            entries.next_entry::<(K, u64, A::State, u32)>()?
        {
            let (_, lane) = self.keys.entry(key, || Lane::new(arrival));
            let lane = lane.ok_or_else(|| Error::broken("a stored key was not added"))?;
            let (part, is_new) = lane.parts.entry(end, 0, || self.aggregate.empty());
            let part = part.ok_or_else(|| Error::broken("a stored slice was not added"))?;
            self.slices.restored(end, is_new);
            *part = Part { unseen_count, logged: true, ..Part::new(end, state) };
        }
        Ok(())
    }

    fn read_passed(&mut self, chunk: &Chunk) -> Result<()> {
        let passed = ChunkReader::open(chunk, Format::of_watermark(VERSION))?.only_entry()?;
        // A chunk without an entry, which none writes, says nothing.
        if let Some(passed) = passed {
            (self.passed, self.logged_passed, self.watermark) = (passed, passed, passed);
        }
        Ok(())
    }

    /// The last chunk was read: the keys stand in order of arrival again, and what was being emitted goes on.
    pub(super) fn resume(&mut self) {
        let mut lanes: Vec<(K, Lane<A::State>)> = self.keys.take().collect();
        lanes.sort_by_key(|(_, lane)| lane.arrival);
        for (key, mut lane) in lanes {
            self.arrivals = self.arrivals.max(lane.arrival);
            lane.unseen_count = 0;
            for part in lane.parts.iter_mut() {
                self.early.restored(&mut part.unseen_count);
                lane.unseen_count = lane.unseen_count.saturating_add(part.unseen_count);
                let first = part.end.max(self.passed.saturating_add(1));
                let end = self.grid.end_from(first);
                if self.grid.start_of(end) < part.end {
                    self.due = self.due.min(end);
                }
            }
            lane.parts.settle(self.passed);
            self.keys.insert_new(key, lane);
        }
        self.resume_putting();
    }

    /// What was being emitted is due: it goes on there, by the watermark that made it due. By a lower one less would be
    /// forgotten, and what is forgotten counts for no early result.
    fn resume_putting(&mut self) {
        let Some((end, arrival, watermark)) = self.logged_putting else { return };
        let next = self.keys.iter().position(|(_, lane)| lane.arrival >= arrival);
        // Where there is none, all keys have had their turn.
        let next = next.unwrap_or(self.keys.len());
        self.putting = Some((end, next));
        self.watermark = watermark;
        // The keys before it have had their turn.
        let gone = self.gone_by(end);
        self.forget_of(next, gone);
    }
}
